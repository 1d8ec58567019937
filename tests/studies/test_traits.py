"""What tissue is like, on discs of known size, and what predicts transfer."""

import dataclasses

import numpy as np
import pytest
import tissue

from micronet_jax.studies import traits


def test_discs_of_a_known_size_density_and_stain():
  samples = [tissue.dots(f"p{i}", size=128, nuclei=8) for i in range(3)]
  found = traits.describe_traits(samples)
  # Discs of radius 6 pixels at 0.25 microns; 8 on a square of 32 microns.
  assert found["size"] == pytest.approx(3.0, abs=0.5)
  assert found["density"] == pytest.approx(8 / 0.032**2, rel=1e-3)
  red, green, blue = found["stain"]
  assert green > red > blue * 0.5
  coarser = [dataclasses.replace(sample, mpp=0.5) for sample in samples]
  twice = traits.describe_traits(coarser)
  assert twice["size"] == pytest.approx(2 * found["size"], abs=0.75)
  assert twice["density"] == pytest.approx(found["density"] / 4, rel=1e-3)


def test_differences_are_the_same_both_ways():
  one = {"stain": [0.1, 0.2, 0.2], "size": 5.0, "density": 1000.0}
  other = {"stain": [0.1, 0.5, 0.6], "size": 10.0, "density": 250.0}
  expected = {"stain": pytest.approx(0.5), "size": 2.0, "density": pytest.approx(4.0)}
  assert (
    traits.measure_apart(one, other) == traits.measure_apart(other, one) == expected
  )
  assert set(traits.measure_apart(one, one).values()) == {0.0, 1.0}


def test_what_predicts_transfer_is_found_and_what_does_not_is_not():
  names, rng = [f"o{i:02}" for i in range(12)], np.random.default_rng(0)
  sizes = rng.uniform(4, 12, 12)
  draw = {name: rng.uniform(0.1, 1, 3).tolist() for name in names}
  organs = {
    name: {"stain": draw[name], "size": size, "density": 100 * rng.uniform(1, 9)}
    for name, size in zip(names, sizes, strict=True)
  }
  apart = np.abs(np.log2(sizes[:, None] / sizes))
  easy = rng.uniform(-0.2, 0.2, 12)  # what is easy to test on is no merit of a network
  found = traits.predict_transfer(names, 0.7 - 0.1 * apart + easy, organs)
  assert found["size"].rho < -0.8
  assert found["size"].high < -0.6
  for other in ("stain", "density"):
    assert abs(found[other].rho) < 0.4
    assert found[other].low < 0 < found[other].high
  assert len(found["size"].gain) == 12 * 11
  figure = traits.draw_transfer(names, 0.7 - 0.1 * apart, found)
  heat, *beside = figure.axes
  assert len(beside) == 1 + len(traits.TRAITS)  # the scale too
  shown = [label.get_text() for label in heat.get_xticklabels()]
  assert sorted(shown) == names
  assert shown == [label.get_text() for label in heat.get_yticklabels()]


def test_organs_that_are_alike_are_neighbours():
  # Two kinds, mixed up: within a kind networks do well.
  kinds = np.array([0, 1, 0, 1, 1, 0])
  matrix = np.where(kinds[:, None] == kinds, 0.8, 0.4)
  matrix = matrix + np.random.default_rng(0).uniform(0, 0.01, (6, 6))
  order = kinds[traits.order_alike(matrix)]
  assert np.abs(np.diff(order)).sum() == 1
