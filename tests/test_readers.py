"""Boxes of images and slides against the arrays they were written from."""

import concurrent.futures
import os
import re
import sys

import numpy as np
import PIL.Image
import pytest
import scipy.ndimage
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from micronet_jax.errors import InputError
from micronet_jax.imaging import slides, thumbnails, tiffs
from micronet_jax.imaging.decoding import read_image
from micronet_jax.imaging.opening import is_image, open_image
from micronet_jax.imaging.thumbnails import thumbnail
from micronet_jax.imaging.tiffs import TiffReader, _Kept

RGB = np.random.default_rng(0).integers(0, 256, (157, 211, 3), dtype=np.uint8)
HALF = RGB[::2, ::2].copy()
MANY = settings(
  max_examples=30,
  deadline=None,
  suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def assert_refused(source, pattern):
  with pytest.raises(InputError, match=pattern) as caught:
    open_image(source)
  assert_one_sentence(caught.value, source)


def assert_one_sentence(error, source):
  message = str(error)
  assert message.count(str(source) if isinstance(source, os.PathLike) else "image")
  if isinstance(source, os.PathLike):
    assert message.count(str(source)) == 1
  assert message.endswith((".", "]'."))
  assert "\n" not in message


def boxes(shape, count, seed=0):
  """Random boxes, and the four corners."""
  rng = np.random.default_rng(seed)
  height, width = shape
  yield from ((0, 0, height, width), (height - 1, width - 1, 1, 1))
  for _ in range(count):
    y, x = rng.integers(0, [height, width])
    h, w = rng.integers(1, [height - y + 1, width - x + 1])
    yield int(y), int(x), int(h), int(w)


def assert_reads(reader, level, expected, count=20):
  assert reader.levels[level] == expected.shape[:2]
  for y, x, h, w in boxes(expected.shape[:2], count):
    box = reader.read(level, y, x, h, w)
    assert box.dtype == np.uint8
    assert box.flags.writeable
    np.testing.assert_array_equal(box, expected[y : y + h, x : x + w])


def write_pyramid(path, levels, *, subifds=True, **options):
  """Writes levels as SubIFDs, or as pages marked as reduced."""
  metadata = options.pop("metadata", None)
  with tifffile.TiffWriter(path, ome=path.name.endswith(".ome.tif")) as writer:
    for i, pixels in enumerate(levels):
      first = {"subifds": len(levels) - 1 if subifds else None, "metadata": metadata}
      rest = {"subfiletype": 1, "metadata": None}
      writer.write(pixels, **options, **(rest if i else first))
  return path


# --- TIFF -----------------------------------------------------------------------------

TILED = {"tile": (32, 48), "photometric": "rgb"}
LAYOUTS = {
  "tiled": TILED,
  "tiled-deflate": {**TILED, "compression": "deflate", "predictor": True},
  "striped-lzw": {"rowsperstrip": 10, "photometric": "rgb", "compression": "lzw"},
  "one strip": {"photometric": "rgb"},
  "one strip-deflate": {"photometric": "rgb", "compression": "deflate"},
}


@pytest.mark.parametrize("subifds", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_pyramids_of_every_layout(tmp_path, layout, subifds):
  path = write_pyramid(
    tmp_path / "a.tif", [RGB, HALF], subifds=subifds, **LAYOUTS[layout]
  )
  with open_image(path) as reader:
    assert isinstance(reader, TiffReader)
    assert reader.name == str(path)
    assert reader.overviews == ()
    assert len(reader.levels) == 2
    assert_reads(reader, 0, RGB)
    assert_reads(reader, 1, HALF)


def test_jpeg_tiles_are_what_tifffile_decodes(tmp_path):
  path = write_pyramid(
    tmp_path / "a.tif", [RGB, HALF], tile=(32, 32), photometric="ycbcr",
    compression="jpeg",
  )  # fmt: skip
  with open_image(path) as reader:
    assert_reads(reader, 0, tifffile.imread(path))
    assert_reads(reader, 1, tifffile.imread(path, level=1))


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_channels_first_and_separate_planes(tmp_path, byteorder):
  planes = [np.moveaxis(level, -1, 0).copy() for level in (RGB, HALF)]
  options = {"photometric": "rgb", "planarconfig": "separate", "tile": (32, 32)}
  for compression in (None, "deflate"):
    path = tmp_path / f"{compression}.tif"
    with tifffile.TiffWriter(path, byteorder=byteorder) as writer:
      writer.write(planes[0], subifds=1, compression=compression, **options)
      writer.write(planes[1], subfiletype=1, compression=compression, **options)
    with open_image(path) as reader:
      assert_reads(reader, 0, RGB)
      assert_reads(reader, 1, HALF)


@pytest.mark.parametrize("compression", [None, "zstd"])
def test_a_page_for_each_channel(tmp_path, compression):
  planes = [np.moveaxis(level, -1, 0).copy() for level in (RGB, HALF)]
  path = write_pyramid(
    tmp_path / "a.ome.tif", planes, photometric="minisblack", tile=(32, 32),
    compression=compression, metadata={"axes": "CYX"},
  )  # fmt: skip
  with open_image(path) as reader:
    assert isinstance(reader, TiffReader)
    assert_reads(reader, 0, RGB)
    assert_reads(reader, 1, HALF)


def test_grey_alpha_bilevel_and_white_is_zero(tmp_path):
  grey = [level[:, :, 0] for level in (RGB, HALF)]
  path = write_pyramid(tmp_path / "grey.tif", grey, tile=(32, 32))
  with open_image(path) as reader:
    assert_reads(reader, 0, np.repeat(grey[0][:, :, None], 3, axis=2))
  path = write_pyramid(
    tmp_path / "white.tif", grey, tile=(32, 32), photometric="miniswhite"
  )
  with open_image(path) as reader:
    assert_reads(reader, 1, 255 - np.repeat(grey[1][:, :, None], 3, axis=2))
  bits = [level > 100 for level in grey]
  path = write_pyramid(tmp_path / "bits.tif", bits, photometric="minisblack")
  with open_image(path) as reader:
    expected = np.where(bits[0], 255, 0).astype(np.uint8)[:, :, None]
    assert_reads(reader, 0, np.repeat(expected, 3, axis=2))
  rgba = [np.dstack([level, level[:, :, 1]]) for level in (RGB, HALF)]
  path = write_pyramid(tmp_path / "rgba.tif", rgba, extrasamples="unassalpha", **TILED)
  white = PIL.Image.new("RGBA", RGB.shape[1::-1], "white")
  white.alpha_composite(PIL.Image.fromarray(rgba[0]))
  expected = np.asarray(white.convert("RGB")).astype(int)
  with open_image(path) as reader:
    whole = reader.read(0, 0, 0, *RGB.shape[:2])
    assert np.abs(whole - expected).max() <= 1
    assert_reads(reader, 0, whole)


def test_palette(tmp_path):
  colours = np.random.default_rng(1).integers(0, 256, (256, 3), dtype=np.uint8)
  table = (colours.T.astype(np.uint16) * 257).copy()
  grey = [level[:, :, 0] for level in (RGB, HALF)]
  path = write_pyramid(
    tmp_path / "a.tif", grey, tile=(32, 32), photometric="palette", colormap=table
  )
  with open_image(path) as reader:
    assert_reads(reader, 0, colours[grey[0]])
    assert_reads(reader, 1, colours[grey[1]])


@pytest.mark.parametrize("options", [{}, {"tile": (32, 32), "compression": "deflate"}])
def test_deep_pixels_have_one_scale_taken_from_the_smallest_level(tmp_path, options):
  deep = RGB.astype(np.uint16) * 16
  deep[5, 5] = 9000  # an outlier that the smaller level does not have
  small = HALF.astype(np.uint16) * 16
  path = write_pyramid(tmp_path / "a.tif", [deep, small], photometric="rgb", **options)
  top = int(small.max())
  assert top < 9000
  expected = [np.minimum(np.floor(a / top * 255 + 0.5), 255) for a in (deep, small)]
  with open_image(path) as reader:
    assert_reads(reader, 0, expected[0].astype(np.uint8))
    assert_reads(reader, 1, expected[1].astype(np.uint8))
    assert (reader.read(0, 5, 5, 1, 1) == 255).all()


def test_fractions_are_scaled_by_255_and_refused_outside(tmp_path):
  grey = RGB[:, :, 0].astype(np.float32) / 255
  path = write_pyramid(tmp_path / "a.tif", [grey, grey[::2, ::2]], tile=(32, 32))
  with open_image(path) as reader:
    assert_reads(reader, 0, np.repeat(RGB[:, :, :1], 3, axis=2))
  grey[100, 100] = np.nan
  path = write_pyramid(tmp_path / "b.tif", [grey, grey[1::2, 1::2]], tile=(32, 32))
  with open_image(path) as reader:
    reader.read(0, 0, 0, 90, 90)
    with pytest.raises(InputError, match="of which only 0 to 1") as caught:
      reader.read(0, 90, 90, 20, 20)
    assert_one_sentence(caught.value, path)


def test_a_tile_that_was_never_written_is_blank(tmp_path):
  def tiles():
    yield RGB[:32, :32].tobytes()
    yield b""
    yield RGB[32:64, :32].tobytes()
    yield RGB[32:64, 32:64].tobytes()

  with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
    writer.write(
      tiles(), shape=(64, 64, 3), dtype=np.uint8, tile=(32, 32), photometric="rgb",
      subifds=1,
    )  # fmt: skip
    writer.write(RGB[:32, :32], subfiletype=1, photometric="rgb")
  expected = RGB[:64, :64].copy()
  expected[:32, 32:] = 0
  with open_image(tmp_path / "a.tif") as reader:
    assert_reads(reader, 0, expected)


def test_large_without_levels_reads_by_regions_small_as_in_training(
  tmp_path, monkeypatch
):
  path = tmp_path / "a.tif"
  deep = RGB.astype(np.uint16) * 7
  tifffile.imwrite(path, deep, photometric="rgb", compression="lzw", rowsperstrip=8)
  with open_image(path) as reader:
    assert not isinstance(reader, TiffReader)
    assert_reads(reader, 0, read_image(path))
  monkeypatch.setattr(tiffs, "_WHOLE", 1000)
  with open_image(path) as reader:
    assert isinstance(reader, TiffReader)
    assert_reads(reader, 0, read_image(path))


def test_imagej_stores_channels_in_one_piece_with_one_page(tmp_path, monkeypatch):
  planes = np.moveaxis(RGB, -1, 0).copy()
  for truncate in (False, True):
    monkeypatch.setattr(tiffs, "_WHOLE", 1000)
    path = tmp_path / f"{truncate}.tif"
    tifffile.imwrite(
      path, planes, imagej=not truncate, metadata={"axes": "CYX"},
      truncate=truncate, photometric="minisblack",
    )  # fmt: skip
    with open_image(path) as reader:
      assert isinstance(reader, TiffReader)
      assert_reads(reader, 0, RGB)
    data = path.read_bytes()
    for whole in (0, 2**30):
      monkeypatch.setattr(tiffs, "_WHOLE", whole)
      path.write_bytes(data[: len(data) // 2])
      assert_refused(path, "cut short|do not fit its pages")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("subifds", [True, False])
@pytest.mark.parametrize("whole", [0, 2**30])
def test_cut_tiffs_are_refused(tmp_path, monkeypatch, layout, subifds, whole):
  monkeypatch.setattr(tiffs, "_WHOLE", whole)
  path = write_pyramid(
    tmp_path / "a.tif", [RGB, HALF], subifds=subifds, **LAYOUTS[layout]
  )
  data = path.read_bytes()
  for length in (3, 9, 60, len(data) // 4, len(data) // 2, len(data) - 1):
    path.write_bytes(data[:length])
    assert_refused(path, "cannot be read as an image")


def damage_last_tile(path):
  """Puts zeros where the last tile of a TIFF's first page is stored."""
  with tifffile.TiffFile(path) as tiff:
    start, length = (tiff.pages[0].dataoffsets[-1], tiff.pages[0].databytecounts[-1])
  data = bytearray(path.read_bytes())
  data[start : start + length] = bytes(length)
  path.write_bytes(data)


def test_damage_inside_a_tiff_is_said_when_it_is_read(tmp_path):
  options = {**TILED, "compression": "deflate"}
  path = write_pyramid(tmp_path / "a.tif", [RGB, HALF], **options)
  damage_last_tile(path)
  with open_image(path) as reader:
    np.testing.assert_array_equal(reader.read(0, 0, 0, 40, 40), RGB[:40, :40])
    with pytest.raises(InputError, match="cannot be read as an image") as caught:
      reader.read(0, 150, 200, 7, 11)
    assert_one_sentence(caught.value, path)


def test_stacks_and_other_channels_are_refused(tmp_path):
  for name, axes, shape in (("z", "ZYX", (5, 64, 64)), ("t", "TYX", (2, 64, 64))):
    path = tmp_path / f"{name}.ome.tif"
    levels = [np.zeros(shape, np.uint8), np.zeros((*shape[:1], 32, 32), np.uint8)]
    write_pyramid(path, levels, metadata={"axes": axes}, photometric="minisblack")
    assert_refused(path, "not one plane of colour")
  path = tmp_path / "c.ome.tif"
  levels = [np.zeros((4, 64, 64), np.uint8), np.zeros((4, 32, 32), np.uint8)]
  write_pyramid(path, levels, metadata={"axes": "CYX"}, photometric="minisblack")
  assert_refused(path, "not one plane of colour")
  path = tmp_path / "six.tif"
  levels = [np.zeros((64, 64, 6), np.uint8), np.zeros((32, 32, 6), np.uint8)]
  write_pyramid(path, levels, photometric="rgb")
  assert_refused(path, "has 6 channels")
  path = write_pyramid(
    tmp_path / "cmyk.tif",
    [np.zeros((64, 64, 4), np.uint8), np.zeros((32, 32, 4), np.uint8)],
    photometric="separated",
  )
  assert_refused(path, "SEPARATED, not grey or RGB")


@MANY
@given(st.data())
def test_any_box_of_any_level(tmp_path, data):
  path = tmp_path / "a.tif"
  if not path.exists():
    write_pyramid(path, [RGB, HALF], compression="lzw", **TILED)
  with open_image(path) as reader:
    level = data.draw(st.sampled_from([0, 1]))
    expected = (RGB, HALF)[level]
    y, x = (data.draw(st.integers(0, side - 1)) for side in expected.shape[:2])
    h = data.draw(st.integers(1, expected.shape[0] - y))
    w = data.draw(st.integers(1, expected.shape[1] - x))
    box = reader.read(level, y, x, h, w)
    np.testing.assert_array_equal(box, expected[y : y + h, x : x + w])


@pytest.mark.parametrize(
  "box", [(0, -1, 0, 5, 5), (0, 0, 0, 0, 5), (0, 150, 0, 8, 5), (2, 0, 0, 1, 1),
          (-1, 0, 0, 1, 1), (1, 0, 100, 5, 7)],
)  # fmt: skip
def test_boxes_outside_are_refused(tmp_path, box):
  path = write_pyramid(tmp_path / "a.tif", [RGB, HALF], **TILED)
  with open_image(path) as reader:
    with pytest.raises(InputError, match=r"not inside level|has no level") as caught:
      reader.read(*box)
    assert_one_sentence(caught.value, path)


def read_from_threads(reader, expected):
  def check(seed):
    for y, x, h, w in boxes(expected.shape[:2], 25, seed):
      box = reader.read(0, y, x, h, w)
      np.testing.assert_array_equal(box, expected[y : y + h, x : x + w])
    return seed

  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    assert sum(pool.map(check, range(8))) == 28


@pytest.mark.parametrize("kept", [0, 20_000, 2**20])
def test_eight_threads_read_a_tiff_at_once(tmp_path, monkeypatch, kept):
  monkeypatch.setattr(tiffs, "_KEPT", kept)
  options = {**TILED, "compression": "deflate"}
  path = write_pyramid(tmp_path / "a.tif", [RGB, HALF], **options)
  with open_image(path) as reader:
    read_from_threads(reader, RGB)


def test_only_the_tiles_touched_are_decoded_and_some_are_kept(tmp_path, monkeypatch):
  path = write_pyramid(tmp_path / "a.tif", [RGB, HALF], compression="deflate", **TILED)
  with open_image(path) as reader:
    read = []
    seek = type(reader._tiff.filehandle).seek
    monkeypatch.setattr(
      type(reader._tiff.filehandle), "seek",
      lambda self, offset, *rest: read.append(offset) or seek(self, offset, *rest),
    )  # fmt: skip
    reader.read(0, 40, 60, 40, 40)  # rows of tiles 1 and 2, columns 1 and 2
    assert len(read) == 4
    reader.read(0, 64, 96, 32, 48)
    assert len(read) == 4


def test_what_is_kept_stays_below_its_limit():
  kept = _Kept(100)
  made = []

  def make(i):
    return lambda: made.append(i) or np.full(30, i, np.uint8)

  for i in (0, 1, 2, 0, 3, 0, 1):
    assert kept.get(i, 30, make(i))[0] == i
    assert sum(piece.nbytes for piece in kept._pieces.values()) <= 100
  assert made == [0, 1, 2, 3, 1]  # 1 was the least recently used


# --- microns per pixel ----------------------------------------------------------------


def ome(tmp_path, **metadata):
  path = tmp_path / "a.ome.tif"
  tifffile.imwrite(path, RGB, metadata={"axes": "YXS", **metadata}, photometric="rgb")
  return path


def mpp_of(source):
  with open_image(source) as reader:
    return reader.mpp


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


# --- pictures, arrays, PIL images -----------------------------------------------------


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "tif"])
def test_small_files_give_what_training_sees(tmp_path, ending):
  path = tmp_path / f"a.{ending}"
  PIL.Image.fromarray(RGB).save(path)
  for source in (path, str(path)):
    with open_image(source) as reader:
      assert reader.name == str(path)
      assert_reads(reader, 0, read_image(path))


@pytest.mark.parametrize(
  ("pixels", "expected"),
  [
    (RGB, RGB),
    (RGB[:, :, 0], RGB[:, :, [0, 0, 0]]),
    (RGB[:, :, :1], RGB[:, :, [0, 0, 0]]),
    (RGB / 255, RGB),
    ((RGB / 255).astype(np.float16), RGB),
    (RGB > 99, np.where(RGB > 99, 255, 0)),
    (RGB.astype(np.uint16) * 257, RGB),
    (RGB.astype(">i8") * 3, RGB),
    (np.asfortranarray(RGB), RGB),
    (np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)]), RGB),
    (np.dstack([RGB, np.zeros(RGB.shape[:2], np.uint8)]), np.full_like(RGB, 255)),
    (np.dstack([RGB > 99, RGB[:, :, 0] >= 0]), np.where(RGB > 99, 255, 0)),
    (np.dstack([RGB / 255, np.ones(RGB.shape[:2])]), RGB),
  ],
)
def test_arrays(pixels, expected):
  before = pixels.copy()
  with open_image(pixels) as reader:
    assert reader.mpp is None
    assert reader.name == "image"
    assert_reads(reader, 0, np.asarray(expected, np.uint8), count=5)
    reader.read(0, 0, 0, 5, 5)[:] = 7
  np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize(
  ("pixels", "pattern"),
  [
    (np.full((4, 4), np.nan), "of which only 0 to 1"),
    (np.full((4, 4), np.inf), "of which only 0 to 1"),
    (RGB.astype(float), "of which only 0 to 1"),
    (np.dstack([RGB / 255, np.full(RGB.shape[:2], 255.0)]), "of which only 0 to 1"),
    (np.full((4, 4), -1), "negative value -1"),
    (np.zeros((4, 4, 5), np.uint8), "has 5 channels"),
    (np.moveaxis(RGB, -1, 0), "has 211 channels"),
    (np.zeros((0, 4, 3), np.uint8), "at least one pixel"),
    (np.zeros((4, 4, 0), np.uint8), "at least one pixel"),
    (np.zeros(4, np.uint8), "shape"),
    (np.zeros((1, 4, 4, 3), np.uint8), "shape"),
    (np.full((4, 4), None), "of type object"),
    (np.zeros((4, 4), complex), "of type complex128"),
    (np.full((4, 4), "a"), "of type <U1"),
    (None, "a path, an array or a PIL image"),
    ([[1, 2], [3, 4]], "of type list"),
  ],
)
def test_other_arrays_are_refused(pixels, pattern):
  assert_refused(pixels, pattern)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_pil_images_give_what_their_png_gives(tmp_path, mode):
  if mode == "I;16":
    image = PIL.Image.fromarray(RGB[:, :, 0].astype(np.uint16) * 200)
    assert image.mode == mode
  else:
    image = PIL.Image.fromarray(np.dstack([RGB, RGB[:, :, :1]])).convert(mode)
  image.save(tmp_path / "a.png")
  with open_image(image) as reader:
    assert_reads(reader, 0, read_image(tmp_path / "a.png"), count=5)


def test_pil_images_that_cannot_be_read(tmp_path):
  assert_refused(PIL.Image.new("CMYK", (8, 8)), "CMYK, not grey or RGB")
  assert_refused(PIL.Image.new("RGB", (0, 8)), "at least one pixel")
  path = tmp_path / "a.png"
  PIL.Image.fromarray(RGB).save(path)
  path.write_bytes(path.read_bytes()[:5000])
  with PIL.Image.open(path) as image:
    assert_refused(image, "cannot be read as an image")


# --- what is no image -----------------------------------------------------------------


def test_no_image_at_all(tmp_path):
  for ending in ("png", "tif", "svs"):
    assert_refused(tmp_path / f"none.{ending}", "No such file")
    (tmp_path / f"folder.{ending}").mkdir()
    assert_refused(tmp_path / f"folder.{ending}", "is a directory")
    (tmp_path / f"empty.{ending}").touch()
    assert_refused(tmp_path / f"empty.{ending}", "is empty")
    (tmp_path / f"text.{ending}").write_text("no image\n")
    assert_refused(tmp_path / f"text.{ending}", "no slide|not recognised")
  with pytest.raises(InputError, match="cannot be read"):
    open_image("a\0b.png")


@pytest.mark.skipif(
  not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all"
)
def test_no_permission(tmp_path):
  path = tmp_path / "a.png"
  PIL.Image.fromarray(RGB).save(path)
  path.chmod(0)
  assert_refused(path, "Permission denied")


def test_permission_denied_is_one_sentence(tmp_path, monkeypatch):
  path = tmp_path / "a.png"
  PIL.Image.fromarray(RGB).save(path)

  def denied(self, *_):
    raise PermissionError(13, "Permission denied", str(self))

  monkeypatch.setattr(type(path), "open", denied)
  assert_refused(path, "Permission denied")


@pytest.mark.parametrize(
  ("name", "expected"),
  [("a.PNG", True), ("b/a.svs", True), ("a.ome.tif", True), ("a.mrxs", True),
   ("a.csv", False), ("png", False), ("._a.svs", False), ("a.tif.part", False)],
)  # fmt: skip
def test_is_image(name, expected):
  assert is_image(name) is expected


# --- OpenSlide ------------------------------------------------------------------------

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
def test_slide_of_senseless_mpp(tmp_path, tissue, openslide, mpp):
  assert mpp_of(write_aperio(tmp_path / "a.svs", [tissue], mpp=mpp)) is None


def test_plain_tiled_tiff_is_not_read_by_openslide(tmp_path, openslide):
  path = tmp_path / "a.tif"
  tifffile.imwrite(path, RGB, tile=(64, 64), photometric="rgb")
  assert openslide.OpenSlide.detect_format(path) == "generic-tiff"
  with open_image(path) as reader:
    assert_reads(reader, 0, RGB)


def test_damage_inside_a_slide_is_said_when_it_is_read(tmp_path, tissue, openslide):
  path = write_aperio(tmp_path / "a.svs", [tissue])
  damage_last_tile(path)
  with open_image(path) as reader:
    reader.read(0, 0, 0, 100, 100)
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


def test_without_openslide(tmp_path, tissue, monkeypatch):
  monkeypatch.setitem(sys.modules, "openslide", None)
  path = write_aperio(tmp_path / "a.svs", [tissue])
  assert_refused(path, re.escape("pip install 'micronet-jax[slides]'"))
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


# --- thumbnails -----------------------------------------------------------------------


def area_mean(pixels, height, width):
  """Repeats pixels until whole ones fill each area, one axis after the other."""
  rows, columns, _ = pixels.shape
  tall = np.repeat(pixels, height, axis=0).reshape(height, rows, columns, 3)
  by_row = tall.mean(axis=1)
  wide = np.repeat(by_row, width, axis=1).reshape(height, width, columns, 3)
  return wide.mean(axis=2)


@MANY
@given(height=st.integers(1, 200), width=st.integers(1, 260))
def test_thumbnail_is_the_mean_of_areas_in_pieces(height, width):
  piece = pytest.MonkeyPatch()
  piece.setattr(thumbnails, "_ROWS", 37)
  piece.setattr(thumbnails, "_COLUMNS", 50)
  with piece.context(), open_image(RGB) as reader:
    small = thumbnail(reader, height=height, width=width)
  piece.undo()
  assert small.dtype == np.uint8
  assert small.shape == (height, width, 3)
  assert np.abs(small - area_mean(RGB, height, width)).max() <= 0.5 + 1e-4


def test_thumbnail_of_its_own_size_is_the_image():
  with open_image(RGB) as reader:
    np.testing.assert_array_equal(thumbnail(reader, height=157, width=211), RGB)


def test_thumbnail_of_the_smallest_level_that_is_large_enough(tmp_path):
  small = np.full((40, 53, 3), 7, np.uint8)
  levels = [RGB, np.full_like(HALF, 99), small]
  path = write_pyramid(tmp_path / "a.tif", levels, **TILED)
  with open_image(path) as reader:
    assert (thumbnail(reader, height=40, width=53) == 7).all()
    assert (thumbnail(reader, height=41, width=53) == 99).all()
    assert (thumbnail(reader, height=10, width=60) == 99).all()
    assert np.ptp(thumbnail(reader, height=100, width=100)) > 0
    assert thumbnail(reader, height=300, width=300).shape == (300, 300, 3)


def test_thumbnail_of_no_size():
  with open_image(RGB) as reader:
    for height, width in ((0, 5), (5, 0), (-1, 5)):
      with pytest.raises(InputError, match="at least 1"):
        thumbnail(reader, height=height, width=width)
