"""Microns per pixel as each kind of file states them."""

import io

import numpy as np
import PIL.Image
import pytest
import tifffile
from pyramids import RGB, mpp_of

from micronet_jax.imaging.opening import open_image


def ome(tmp_path, **metadata):
  path = tmp_path / "a.ome.tif"
  tifffile.imwrite(path, RGB, metadata={"axes": "YXS", **metadata}, photometric="rgb")
  return path


@pytest.mark.parametrize(
  ("size", "unit", "expected"),
  [(0.25, "µm", 0.25), (250, "nm", 0.25), (0.0005, "mm", 0.5), (12, "µm", None),
   (0.009, "µm", None), (5, "µm", 5.0), (0.01, "µm", 0.01),
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


def test_mpp_of_ome_is_the_mean_of_both_directions_and_needs_both(tmp_path, caplog):
  path = ome(tmp_path, PhysicalSizeX=0.25, PhysicalSizeY=0.251)
  assert mpp_of(path) == pytest.approx(0.2505)
  assert not caplog.messages
  path = ome(tmp_path, PhysicalSizeX=0.2, PhysicalSizeY=0.3)
  assert mpp_of(path) == pytest.approx(0.25)
  [said] = caplog.messages
  assert "0.2 microns wide and 0.3 high: taken as squares of 0.25" in said
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
   ("CENTIMETER", 2 * 10**6, None), ("CENTIMETER", 3 * 10**5, 1 / 30)],
)  # fmt: skip
def test_mpp_of_tiff_tags_if_a_microscope_can_have_it(
  tmp_path, unit, density, expected
):
  path = tmp_path / "a.tif"
  tifffile.imwrite(
    path, RGB, photometric="rgb", resolution=(density, density), resolutionunit=unit
  )
  assert mpp_of(path) == (None if expected is None else pytest.approx(expected))


def write(tmp_path, description, **options):
  path = tmp_path / "a.tif"
  tifffile.imwrite(
    path, RGB, description=description, metadata=None, photometric="rgb", **options
  )
  return path


APERIO = "Aperio Image Library v11.2.1\r\n211x157 [0,0 211x157] |AppMag = 20"


@pytest.mark.parametrize(
  ("description", "expected"),
  [(APERIO + "|MPP = 0.5020|ImageID = 4", 0.502), ("scan|MPP=0.25", 0.25),
   (APERIO + "|Note = MPP of 3", 0.5), ("SMPP = 0.3", None), ("MPP = ", None)],
)  # fmt: skip
def test_mpp_of_an_aperio_description(tmp_path, description, expected):
  assert mpp_of(write(tmp_path, description)) == expected


def test_the_objective_alone_says_ten_by_its_power_and_that_is_said(tmp_path, caplog):
  assert mpp_of(write(tmp_path, APERIO)) == 0.5
  assert "only that its objective is 20x: taken as 10 / 20 = 0.5" in caplog.text
  caplog.clear()
  densities = {"resolution": (40000, 40000), "resolutionunit": "CENTIMETER"}
  assert mpp_of(write(tmp_path, APERIO, **densities)) == pytest.approx(0.25)
  assert mpp_of(write(tmp_path, APERIO.replace("20", "0"))) is None
  assert mpp_of(write(tmp_path, APERIO.replace("20", "5000"))) is None
  assert not caplog.text


def test_the_objective_of_ome(tmp_path, caplog):
  path = ome(tmp_path)
  text = tifffile.tiffcomment(path)
  objectives = "".join(
    f'<Objective ID="O:{power}" NominalMagnification="{power}"/>' for power in (40, 20)
  )
  start, end = text.index("<Image "), text.index("<Pixels")
  said = f"<Instrument>{objectives}</Instrument>"
  settings = '<ObjectiveSettings ID="O:20"/>'
  for used, expected in ((settings, 0.5), ("", None)):
    new = text[:start] + said + text[start:end] + used + text[end:]
    tifffile.tiffcomment(path, new.encode())
    assert mpp_of(path) == expected
  assert "objective is 20x" in caplog.text


def test_a_size_that_no_microscope_has_is_said(tmp_path, caplog):
  assert mpp_of(write(tmp_path, "MPP = 250")) is None
  assert "says 250 microns per pixel, which is not within 0.01 to 5" in caplog.text


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


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "tif"])
def test_what_pillow_made_of_a_file_keeps_no_resolution(tmp_path, caplog, ending):
  path = tmp_path / f"a.{ending}"
  PIL.Image.fromarray(RGB).save(path, dpi=(50800, 50800))

  def opened(change=None, *arguments, source=path):
    image = PIL.Image.open(source)
    if change:
      changed = getattr(image, change)(*arguments)
      return image if change in ("thumbnail", "load", "draft") else changed
    return image

  in_memory = io.BytesIO(path.read_bytes())
  for same in (opened(), opened("load"), opened(source=in_memory)):
    assert mpp_of(same) == pytest.approx(0.5)
  with open_image(opened(source=in_memory)) as by_image, open_image(path) as by_path:
    pixels = [each.read(0, 0, 0, *RGB.shape[:2]) for each in (by_image, by_path)]
    np.testing.assert_array_equal(*pixels)
  assert not caplog.messages
  changes = [("resize", (50, 40)), ("reduce", 2), ("crop", (0, 0, 9, 9)), ("copy",)]
  changes += [("convert", "L"), ("thumbnail", (50, 50))]
  changes += [("draft", "RGB", (80, 60))] if ending == "jpg" else []
  for change in changes:
    caplog.clear()
    assert mpp_of(opened(*change)) is None
    [said] = caplog.messages
    assert "its 0.5 microns per pixel are not believed; mpp= says" in said
  caplog.clear()
  assert mpp_of(opened("thumbnail", (50, 50), source=in_memory)) is None
  with path.open("rb") as file:
    closed = opened("load", source=file)
  closed.filename = str(tmp_path / "gone")
  assert mpp_of(closed) is None
  assert len(caplog.messages) == 2
  PIL.Image.fromarray(RGB).save(path, dpi=(72, 72))
  caplog.clear()
  assert mpp_of(opened("resize", (50, 40))) is None
  assert not caplog.messages  # no microscope said that


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_pixels_that_are_no_squares_are_said(tmp_path, caplog, kind):
  path = tmp_path / f"a.{kind}"
  if kind == "png":
    PIL.Image.fromarray(RGB).save(path, dpi=(101600, 50800))
  else:
    tifffile.imwrite(
      path, RGB, photometric="rgb", resolution=(40000, 20000),
      resolutionunit="CENTIMETER",
    )  # fmt: skip
  assert mpp_of(path) == pytest.approx(0.375, rel=1e-3)
  [said] = caplog.messages
  assert "0.25 microns wide and 0.5 high" in said
