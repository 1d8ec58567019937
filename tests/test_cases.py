"""Inputs that users of other tools had trouble with: each is right, or refused.

The files lie beside the real tissue (`real_data`), in `cases`, with a README that says
what is right. Each stands for a kind, whose tests make files of their own
(docs/reliability.md).
"""

import numpy as np
import pytest
from scipy import spatial

from micronet_jax.datasets.annotations import read_centers
from micronet_jax.errors import InputError
from micronet_jax.imaging.opening import open_image


@pytest.fixture
def cases(real_data):
  folder = real_data.parent / "cases"
  if not folder.is_dir():
    pytest.skip("no folder of cases beside the real tissue")
  return folder


@pytest.fixture
def truth(cases):
  """The 40 nuclei, (y, x)."""
  return np.loadtxt(cases / "base_points.csv", delimiter=",", skiprows=1)[:, ::-1]


ANNOTATIONS = {
  "points_in_microns.csv": "40 points in microns, at 0.25 a px",
  "outlines_and_a_rectangle.geojson": "1 outlines that hold other objects, as regions",
  "points_on_three_planes.geojson": "of 3 planes, the one of z=0, t=0;",
  "labels_background_minus_one.tif": "negative values are taken as background",
  "aperio_one_vertex_regions.xml": "",
}


@pytest.mark.parametrize("name", ANNOTATIONS)
def test_all_nuclei_and_no_others(cases, truth, caplog, name):
  centers = read_centers(cases / name, image=cases / "base.png", mpp=0.25)
  assert len(centers) == len(truth) == 40
  distance, nearest = spatial.KDTree(centers).query(truth)
  assert sorted(nearest) == list(range(40))
  assert distance.max() < 0.2  # of label maps; of the others, rounding
  if ANNOTATIONS[name]:
    assert ANNOTATIONS[name] in caplog.text
  assert len(caplog.records) == bool(ANNOTATIONS[name])


def test_arrows_are_left_out_and_counted(cases, caplog):
  assert len(read_centers(cases / "aperio_arrows.xml")) == 0
  assert "nuclei read: 0; left out: 40 arrows" in caplog.text


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("points_decimal_comma.csv", "line 2: there are 4 fields, but the header"),
    ("labels_are_classes.png", "in 13 places far apart"),
    ("labels_wrapped_at_255.png", "the label 1 in 2 places far apart"),
  ],
)
def test_what_cannot_be_meant_is_refused(cases, name, message):
  with pytest.raises(InputError, match=message) as caught:
    read_centers(cases / name, mpp=0.25)
  assert str(cases / name) in str(caught.value)
  assert "\n" not in str(caught.value)


def test_microns_without_a_resolution_are_refused(cases):
  with pytest.raises(InputError, match="nobody says how many microns"):
    read_centers(cases / "points_in_microns.csv", image=cases / "base.png")


IMAGES = {
  "fourth_channel_unspecified.tif": "which the file does not call opacity, is left out",
  "alpha_all_zero.png": "its opacity is zero everywhere, and is ignored",
  "uint16_one_hot_pixel.tif": "3 of its 196608 values, up to 65535",
  "small_image_first.tif": "holds 2 images: the one of 256 x 256 pixels is taken",
}


@pytest.mark.parametrize("name", IMAGES)
def test_the_pixels_are_those_of_the_base(cases, caplog, name):
  with open_image(cases / name) as reader, open_image(cases / "base.png") as base:
    found, expected = (each.read(0, 0, 0, 256, 256) for each in (reader, base))
  differs = (found != expected).any(-1)
  assert differs.sum() == (1 if "hot_pixel" in name else 0)
  assert IMAGES[name] in caplog.text


@pytest.mark.parametrize(
  ("name", "mpp", "said"),
  [
    ("mpp_in_description.tif", 0.502, ""),
    ("appmag_20_without_mpp.svs", 0.5, "taken as 10 / 20 = 0.5"),
    ("slide_with_bounds.scn", 0.25, ""),
  ],
)
def test_resolutions_are_read(cases, caplog, name, mpp, said):
  pytest.importorskip("openslide")
  with open_image(cases / name) as reader:
    assert reader.mpp == pytest.approx(mpp)
    assert reader.origin == ((128, 128) if name.endswith("scn") else (0, 0))
  assert said in caplog.text
  assert len(caplog.records) == bool(said)


def test_rounding_above_one_is_clipped(cases):
  with open_image(cases / "float_just_above_one.tif") as reader:
    assert reader.read(0, 0, 0, 64, 64).max() == 255
