"""Boxes of TIFFs of every layout against the arrays they were written from."""

import numpy as np
import PIL.Image
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyramids import (
  HALF,
  RGB,
  TILED,
  assert_one_sentence,
  assert_reads,
  assert_refused,
  damage_last_tile,
  read_from_threads,
  write_pyramid,
)

from micronet_jax.errors import InputError
from micronet_jax.imaging import tiffs
from micronet_jax.imaging.decoding import read_image
from micronet_jax.imaging.opening import open_image
from micronet_jax.imaging.tiffs import TiffReader, _Kept

MANY = settings(
  max_examples=30,
  deadline=None,
  suppress_health_check=[HealthCheck.function_scoped_fixture],
)

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
    box = reader.read(0, 0, 0, 90, 90)
    np.testing.assert_array_equal(box, np.repeat(RGB[:90, :90, :1], 3, axis=2))
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


def test_opening_a_tiff_decodes_no_more_than_its_first_tiles(tmp_path, monkeypatch):
  path = write_pyramid(tmp_path / "a.tif", [RGB, HALF], compression="deflate", **TILED)
  decoded = []
  decode = tiffs._Level._decode
  monkeypatch.setattr(
    tiffs._Level, "_decode", lambda *args: decoded.append(args) or decode(*args)
  )
  open_image(path).close()
  assert len(decoded) == 2  # of each level


def test_what_is_kept_stays_below_its_limit():
  kept = _Kept(100)
  made = []

  def make(i):
    return lambda: made.append(i) or np.full(30, i, np.uint8)

  for i in (0, 1, 2, 0, 3, 0, 1):
    assert kept.get(i, 30, make(i))[0] == i
    assert sum(piece.nbytes for piece in kept._pieces.values()) <= 100
  assert made == [0, 1, 2, 3, 1]  # 1 was the least recently used
