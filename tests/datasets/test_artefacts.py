"""What is drawn without a nucleus: of every kind, reproducible, and no organ."""

import numpy as np
import pytest

from micronet_jax.datasets import load_samples
from micronet_jax.datasets.synthetic_he.artefacts import generate_artefacts
from micronet_jax.datasets.synthetic_he.presets import ORGANS


@pytest.mark.parametrize("index", range(5))
def test_images_are_reproducible_and_show_something(index):
  image = generate_artefacts(index, size=128)
  assert (image.shape, image.dtype) == ((128, 128, 3), np.uint8)
  np.testing.assert_array_equal(image, generate_artefacts(index, size=128))
  assert not np.array_equal(image, generate_artefacts(index, size=128, seed=1))
  darkest = np.percentile(image.min(-1), 1)
  assert darkest < 200 < image.max()


def test_they_are_a_data_set_without_nuclei_and_no_organ(tmp_path):
  samples = load_samples(
    "synthetic_he", organs="artefacts", images=5, size=64, data_dir=tmp_path
  )
  assert [len(sample.centers) for sample in samples] == [0] * 5
  assert {sample.organ for sample in samples} == {"artefacts"}
  assert "artefacts" not in ORGANS
