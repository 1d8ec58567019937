"""Microns per pixel as each kind of file states them."""

import PIL.Image
import pytest
import tifffile
from pyramids import RGB, mpp_of


def ome(tmp_path, **metadata):
  path = tmp_path / "a.ome.tif"
  tifffile.imwrite(path, RGB, metadata={"axes": "YXS", **metadata}, photometric="rgb")
  return path


@pytest.mark.parametrize(
  ("size", "unit", "expected"),
  [(0.25, "µm", 0.25), (250, "nm", 0.25), (0.0005, "mm", 0.5), (12, "µm", 12.0),
   (0, "µm", None), (-0.25, "µm", None), ("NaN", "µm", None), ("INF", "µm", None),
   (0.25, "pixel", None), ("wide", "µm", None)],
)  # fmt: skip
def test_mpp_of_ome(tmp_path, size, unit, expected):
  path = ome(
    tmp_path, PhysicalSizeX=0.25, PhysicalSizeXUnit="µm", PhysicalSizeY=0.25,
    PhysicalSizeYUnit="µm",
  )  # fmt: skip
  # tifffile would not write all of these.
  text = tifffile.tiffcomment(path)
  assert text.count('"0.25"') == 2
  text = text.replace('"0.25"', f'"{size}"').replace('"µm"', f'"{unit}"')
  tifffile.tiffcomment(path, text.encode())
  assert mpp_of(path) == (None if expected is None else pytest.approx(expected))


def test_mpp_of_ome_without_pixels_is_unknown(tmp_path):
  path = ome(tmp_path)
  tifffile.tiffcomment(path, b"<OME></OME>")
  assert mpp_of(path) is None


def test_mpp_of_ome_is_the_mean_of_both_directions_and_needs_both(tmp_path):
  path = ome(tmp_path, PhysicalSizeX=0.2, PhysicalSizeY=0.3)
  assert mpp_of(path) == pytest.approx(0.25)
  assert mpp_of(ome(tmp_path, PhysicalSizeX=0.2)) is None
  assert mpp_of(ome(tmp_path)) is None
  tifffile.tiffcomment(path, b"<OME><Pixels")
  assert mpp_of(path) is None


@pytest.mark.parametrize(
  ("unit", "density", "expected"),
  [("micron", 4.0, 0.25), ("um", 2.0, 0.5), ("\\u00B5m", 2.0, 0.5), ("nm", 0.004, 0.25),
   ("pixel", 4.0, None), ("micron", 0.0, None)],
)  # fmt: skip
def test_mpp_of_imagej(tmp_path, unit, density, expected):
  path = tmp_path / "a.tif"
  tifffile.imwrite(
    path, RGB[:, :, 0], imagej=True, resolution=(density, density),
    metadata={"unit": unit},
  )  # fmt: skip
  assert mpp_of(path) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
  ("unit", "density", "expected"),
  [("CENTIMETER", 40000, 0.25), ("INCH", 50800, 0.5), ("INCH", 300, None),
   ("CENTIMETER", 118, None), ("NONE", 40000, None), ("INCH", 0, None),
   ("CENTIMETER", 10**6, None)],
)  # fmt: skip
def test_mpp_of_tiff_tags_if_a_microscope_can_have_it(
  tmp_path, unit, density, expected
):
  path = tmp_path / "a.tif"
  tifffile.imwrite(
    path, RGB, photometric="rgb", resolution=(density, density), resolutionunit=unit
  )
  assert mpp_of(path) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp"])
def test_mpp_of_pictures_if_a_microscope_can_have_it(tmp_path, ending):
  path = tmp_path / f"a.{ending}"
  for dpi, expected in ((50800, 0.5), (72, None), (300, None), (0, None)):
    PIL.Image.fromarray(RGB).save(path, dpi=(dpi, dpi))
    # A PNG counts pixels per metre, a JPEG per inch: whole numbers.
    rough = None if expected is None else pytest.approx(expected, rel=1e-4)
    assert mpp_of(path) == rough
    with PIL.Image.open(path) as image:
      assert mpp_of(image) == rough
  PIL.Image.fromarray(RGB).save(path)
  assert mpp_of(path) is None
