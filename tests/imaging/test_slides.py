"""Boxes of slides, read by OpenSlide, against what tifffile decodes."""

import re
import sys

import numpy as np
import PIL.Image
import pytest
import scipy.ndimage
import tifffile
from pyramids import (
  HALF,
  RGB,
  TILED,
  area_mean,
  assert_one_sentence,
  assert_reads,
  assert_refused,
  damage_last_tile,
  mpp_of,
  read_from_threads,
  write_pyramid,
)

from micronet_jax.errors import InputError
from micronet_jax.imaging import slides
from micronet_jax.imaging.opening import open_image
from micronet_jax.imaging.thumbnails import thumbnail

APERIO = "Aperio Image Library v11 \r\n1x1 JPEG/RGB Q=30|AppMag = 20|MPP = {mpp}"


def write_aperio(path, levels, mpp="0.4990"):
  """An SVS as Aperio's scanners write it: level 0, a thumbnail, the other levels."""
  options = {
    "photometric": "rgb", "compression": "jpeg", "description": APERIO.format(mpp=mpp),
    "metadata": None,
  }  # fmt: skip
  with tifffile.TiffWriter(path) as writer:
    writer.write(levels[0], tile=(128, 128), **options)
    writer.write(levels[0][::8, ::8], rowsperstrip=16, **options)
    for pixels in levels[1:]:
      writer.write(pixels, tile=(128, 128), **options)
  return path


@pytest.fixture(scope="module")
def tissue():
  """uint8 `[512, 640, 3]`, smooth."""
  noise = np.random.default_rng(2).normal(size=(512, 640, 3))
  smooth = scipy.ndimage.gaussian_filter(noise, (9, 9, 0))
  return np.uint8(128 + 127 * smooth / np.abs(smooth).max())


@pytest.fixture
def openslide():
  return pytest.importorskip("openslide")


def test_slide_with_whole_downsamples(tmp_path, tissue, openslide):
  levels = [tissue, tissue[::2, ::2], tissue[::4, ::4]]
  path = write_aperio(tmp_path / "a.svs", levels)
  with open_image(path) as reader:
    assert reader.mpp == pytest.approx(0.499)
    assert reader.name == str(path)
    assert reader.overviews == ()
    for level, page in ((0, 0), (1, 2), (2, 3)):
      assert_reads(reader, level, tifffile.imread(path, key=page), count=10)
    read_from_threads(reader, tifffile.imread(path, key=0))


def test_levels_of_fractional_downsample_serve_only_for_overviews(
  tmp_path, tissue, openslide
):
  odd = tissue[:510, :638]
  quarter = area_mean(odd[:508, :636], 127, 159).astype(np.uint8)
  path = write_aperio(tmp_path / "a.svs", [odd, quarter])
  with openslide.OpenSlide(path) as slide:
    assert slide.level_downsamples[1] % 1 != 0  # (510 / 127 + 638 / 159) / 2
  with open_image(path) as reader:
    assert reader.levels == ((510, 638),)
    assert reader.overviews == ((127, 159),)
    stored = tifffile.imread(path, key=2)
    small = thumbnail(reader, height=51, width=58)
    assert np.abs(small - area_mean(stored, 51, 58)).max() <= 0.5 + 1e-4
    # Elsewhere OpenSlide may shift it by half a pixel of level 0: near, not equal.
    box = reader.read(1, 40, 30, 80, 120)
    assert np.abs(box.astype(int) - stored[40:120, 30:150]).mean() < 3


@pytest.mark.parametrize("mpp", ["0", "-0.25", "nan", "wide"])
def test_slide_of_senseless_mpp(tmp_path, tissue, openslide, mpp, caplog):
  path = write_aperio(tmp_path / "a.svs", [tissue], mpp=mpp)
  assert mpp_of(path) == 0.5  # of its objective
  assert "taken as 10 / 20 = 0.5" in caplog.text


def test_plain_tiled_tiff_is_not_read_by_openslide(tmp_path, openslide):
  path = tmp_path / "a.tif"
  tifffile.imwrite(path, RGB, tile=(64, 64), photometric="rgb")
  assert openslide.OpenSlide.detect_format(path) == "generic-tiff"
  with open_image(path) as reader:
    assert_reads(reader, 0, RGB)


def test_damage_inside_a_slide_is_said_when_it_is_read(tmp_path, tissue, openslide):
  path = write_aperio(tmp_path / "a.svs", [tissue])
  whole = tifffile.imread(path, key=0)
  damage_last_tile(path)
  with open_image(path) as reader:
    box = reader.read(0, 0, 0, 100, 100)
    np.testing.assert_array_equal(box, whole[:100, :100])
    with pytest.raises(InputError, match="cannot be read as a slide") as caught:
      reader.read(0, 500, 600, 10, 10)
    assert_one_sentence(caught.value, path)


def test_cut_slides_are_refused(tmp_path, tissue, openslide):
  path = write_aperio(tmp_path / "a.svs", [tissue, tissue[::2, ::2]])
  data = path.read_bytes()
  for share in (0.01, 0.3, 0.6, 0.9, 0.95, 0.999):
    path.write_bytes(data[: int(len(data) * share)])
    assert_refused(path, "cut short")


class FakeSlide:
  """What OpenSlide says of a slide with areas that were not scanned."""

  properties = {"openslide.background-color": "102030"}  # noqa: RUF012
  level_downsamples = (1.0, 4.0001, 8.0)
  level_dimensions = ((80, 40), (20, 10), (10, 5))
  asked: list  # of (location, level, size)

  def __init__(self, path):
    self.asked = []

  def read_region(self, *box):
    self.asked.append(box)
    rgba = np.zeros((*box[2][::-1], 4), np.uint8)
    rgba[0] = [200, 100, 0, 255]
    rgba[1] = [200, 100, 0, 51]
    return PIL.Image.fromarray(rgba)


def test_areas_not_scanned_have_the_background_colour(monkeypatch, openslide, tmp_path):
  monkeypatch.setattr(openslide, "OpenSlide", FakeSlide)
  reader = slides.SlideReader(tmp_path / "a.svs", "a.svs", openslide)
  box = reader.read(0, 0, 0, 3, 1)[:, 0]
  # 20 % of the colour on 80 % of (16, 32, 48)
  np.testing.assert_array_equal(box, [[200, 100, 0], [53, 46, 38], [16, 32, 48]])
  monkeypatch.setattr(FakeSlide, "properties", {})
  reader = slides.SlideReader(tmp_path / "a.svs", "a.svs", openslide)
  np.testing.assert_array_equal(reader.read(0, 0, 0, 3, 1)[2, 0], [255, 255, 255])


def test_boxes_of_a_slide_are_asked_for_in_pixels_of_level_0(
  monkeypatch, openslide, tmp_path
):
  monkeypatch.setattr(openslide, "OpenSlide", FakeSlide)
  reader = slides.SlideReader(tmp_path / "a.svs", "a.svs", openslide)
  assert reader.levels == ((40, 80), (5, 10))
  assert reader.overviews == ((10, 20),)
  reader.read(1, 2, 3, 2, 4)
  reader.read(2, 5, 10, 2, 4)
  assert reader._slide.asked == [((24, 16), 2, (4, 2)), ((40, 20), 1, (4, 2))]


@pytest.mark.parametrize(
  ("properties", "expected"),
  [({"openslide.objective-power": "20"}, 0.5), ({"openslide.mpp-x": "0.3"}, None),
   ({"openslide.mpp-x": "0.3", "openslide.mpp-y": "0.3"}, 0.3),
   ({"openslide.mpp-x": "250", "openslide.mpp-y": "250"}, None),
   ({"openslide.objective-power": "none"}, None)],
)  # fmt: skip
def test_resolution_of_slides(monkeypatch, openslide, tmp_path, properties, expected):
  monkeypatch.setattr(openslide, "OpenSlide", FakeSlide)
  monkeypatch.setattr(FakeSlide, "properties", properties)
  assert slides.SlideReader(tmp_path / "a.svs", "a.svs", openslide).mpp == expected


def test_origin_is_where_the_scanned_part_begins(monkeypatch, openslide, tmp_path):
  monkeypatch.setattr(openslide, "OpenSlide", FakeSlide)
  bounds = {"openslide.bounds-x": "128", "openslide.bounds-y": "64"}
  for properties, origin in ((bounds, (128, 64)), ({}, (0, 0))):
    monkeypatch.setattr(FakeSlide, "properties", properties)
    reader = slides.SlideReader(tmp_path / "a.svs", "a.svs", openslide)
    assert reader.origin == origin
  with open_image(RGB) as reader:
    assert reader.origin == (0, 0)


def test_without_openslide(tmp_path, tissue, monkeypatch):
  monkeypatch.setitem(sys.modules, "openslide", None)
  path = write_aperio(tmp_path / "a.svs", [tissue])
  assert_refused(path, re.escape("pip install -e '.[slides]' in the checkout"))
  path = write_pyramid(tmp_path / "a.tif", [RGB, HALF], **TILED)
  with open_image(path) as reader:
    assert_reads(reader, 0, RGB, count=3)


def test_real_slide_is_what_tifffile_decodes(real_data, openslide):
  path = real_data / "slides" / "CMU-1-Small-Region.svs"
  expected = tifffile.imread(path, key=0)
  with open_image(path) as reader:
    assert reader.mpp == pytest.approx(0.499)
    assert reader.levels == ((2967, 2220),)
    assert_reads(reader, 0, expected, count=5)
    small = thumbnail(reader, height=129, width=74)  # 23 x 30 pixels each
    mean = expected.reshape(129, 23, 74, 30, 3).mean((1, 3))
    assert np.abs(small - mean).max() <= 0.5 + 1e-4


def test_real_slide_cut_at_several_lengths(real_data, openslide, tmp_path):
  data = (real_data / "slides" / "CMU-1-Small-Region.svs").read_bytes()
  path = tmp_path / "a.svs"
  for length in (1, 9, 50_000, len(data) // 2, 1_400_000, len(data) - 3000):
    path.write_bytes(data[:length])
    assert_refused(path, "cut short")
  as_tiff = tmp_path / "a.tif"
  as_tiff.write_bytes(data[:1_400_000])  # level 0 is whole, the page after it is not
  assert_refused(as_tiff, "a page is missing")
  path.write_bytes(data[:-100])  # nothing of the tissue is lost
  with open_image(path) as reader:
    assert reader.levels == ((2967, 2220),)
