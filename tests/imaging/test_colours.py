"""What stored values become: scale, opacity, channels beside the colours."""

import imagecodecs
import numpy as np
import PIL.Image
import pytest
import tifffile
from pyramids import RGB, TILED, assert_reads, assert_refused, write_pyramid

from micronet_jax.imaging import tiffs
from micronet_jax.imaging.decoding import read_image
from micronet_jax.imaging.opening import open_image


def rgba(opacity):
  return np.dstack([RGB, np.broadcast_to(np.uint8(opacity), RGB.shape[:2])])


def write_tiff(path, pixels, **options):
  tifffile.imwrite(path, pixels, photometric="rgb", **options)
  return path


@pytest.mark.parametrize("whole", [0, 2**30])
@pytest.mark.parametrize("kind", ["png", "tif", "pyramid"])
def test_opacity_of_zero_everywhere_is_ignored_and_said(
  tmp_path, monkeypatch, caplog, kind, whole
):
  monkeypatch.setattr(tiffs, "_WHOLE", whole)
  path = tmp_path / "a.img"
  if kind == "png":
    PIL.Image.fromarray(rgba(0)).save(path, "png")
  elif kind == "tif":
    write_tiff(path, rgba(0), extrasamples="unassalpha")
  else:
    levels = [rgba(0), rgba(0)[::2, ::2]]
    write_pyramid(path, levels, extrasamples="unassalpha", **TILED)
  with open_image(path) as reader:
    assert_reads(reader, 0, RGB)
  np.testing.assert_array_equal(read_image(path), RGB)
  assert f"{path}: its opacity is zero everywhere" in caplog.text


def test_a_tile_of_no_opacity_stays_white_where_others_have_some(tmp_path):
  pixels = rgba(0)
  pixels[100:, :, 3] = 255
  path = write_pyramid(
    tmp_path / "a.tif", [pixels, pixels[::2, ::2]], extrasamples="unassalpha", **TILED
  )
  with open_image(path) as reader:
    assert (reader.read(0, 0, 0, 100, 211) == 255).all()
    np.testing.assert_array_equal(reader.read(0, 100, 0, 57, 211), RGB[100:])


@pytest.mark.parametrize("whole", [0, 2**30])
@pytest.mark.parametrize("extra", ["unspecified", None])
def test_a_fourth_channel_not_called_opacity_is_left_out_and_said(
  tmp_path, monkeypatch, caplog, whole, extra
):
  monkeypatch.setattr(tiffs, "_WHOLE", whole)
  path = write_tiff(tmp_path / "a.tif", rgba(9), extrasamples=extra or "unspecified")
  if extra is None:  # as if the tag were not there: of a number nobody knows
    data = bytearray(path.read_bytes())
    at = data.find((338).to_bytes(2, "little"))
    data[at : at + 2] = (65000).to_bytes(2, "little")
    path.write_bytes(data)
  with open_image(path) as reader:
    assert_reads(reader, 0, RGB)
  assert "the file does not call opacity, is left out" in caplog.text


def test_colours_multiplied_by_their_opacity(tmp_path):
  pixels = np.array([[[100, 50, 0, 128], [0, 0, 0, 0], [9, 8, 7, 255]]], np.uint8)
  path = write_tiff(tmp_path / "a.tif", pixels, extrasamples="assocalpha")
  expected = [[[227, 177, 127], [255, 255, 255], [9, 8, 7]]]
  np.testing.assert_array_equal(read_image(path), expected)


# --- scale ---------------------------------------------------------------------------


def deep(pixels, hot):
  """16 bit, with a few hot pixels."""
  values = pixels.astype(np.uint16)
  values[3:5, 7] = hot
  return values


@pytest.mark.parametrize("whole", [0, 2**30])
@pytest.mark.parametrize("kind", ["png", "tif"])
def test_a_few_odd_pixels_do_not_decide_and_are_said(
  tmp_path, monkeypatch, caplog, whole, kind
):
  monkeypatch.setattr(tiffs, "_WHOLE", whole)
  path = tmp_path / f"a.{kind}"
  pixels = deep(RGB, 65535)
  if kind == "png":
    path.write_bytes(imagecodecs.png_encode(pixels))
  else:
    write_tiff(path, pixels, tile=(32, 32))
  expected = RGB.copy()
  expected[3:5, 7] = 255
  with open_image(path) as reader:
    assert_reads(reader, 0, expected)
  assert "6 of its 99381 values, up to 65535, lie far above the others" in caplog.text
  assert "255 becomes 255" in caplog.text


def test_training_and_detection_see_the_same_deep_pixels(tmp_path):
  levels = [deep(RGB * 16.0, 65535), RGB[::2, ::2] * np.uint16(15)]
  path = write_pyramid(tmp_path / "a.tif", levels, **TILED)
  with open_image(path) as reader:
    assert_reads(reader, 0, read_image(path), count=3)


def test_tame_values_are_scaled_by_the_largest_without_a_word(caplog):
  ramp = np.arange(10_000, dtype=np.uint16).reshape(100, 100)
  with open_image(ramp) as reader:
    expected = np.rint(ramp * (255 / 9999))
    np.testing.assert_array_equal(reader.read(0, 0, 0, 100, 100)[:, :, 0], expected)
  assert not caplog.text


def test_almost_black_is_scaled_by_the_largest():
  spots = np.zeros((100, 100), np.uint16)
  spots[5, 5:8] = [100, 240, 400]
  with open_image(spots) as reader:
    np.testing.assert_array_equal(reader.read(0, 5, 5, 1, 3)[0, :, 0], [64, 153, 255])


@pytest.mark.parametrize("whole", [0, 2**30])
def test_fractions_that_overshoot_by_rounding_are_clipped(
  tmp_path, monkeypatch, caplog, whole
):
  monkeypatch.setattr(tiffs, "_WHOLE", whole)
  values = np.float32(RGB / 255)
  values[RGB == 255] = np.nextafter(np.float32(1), np.float32(2))
  values[RGB == 0] = -1e-6
  path = write_tiff(tmp_path / "a.tif", values, tile=(32, 32))
  with open_image(path) as reader:
    assert_reads(reader, 0, RGB)
  assert not caplog.text


@pytest.mark.parametrize("whole", [0, 2**30])
def test_a_few_odd_fractions_are_clipped_and_said(tmp_path, monkeypatch, caplog, whole):
  monkeypatch.setattr(tiffs, "_WHOLE", whole)
  values = np.float32(RGB / 255)
  values[3, 7] = [37, -2, 0.2]
  path = write_tiff(tmp_path / "a.tif", values, tile=(32, 32))
  expected = RGB.copy()
  expected[3, 7] = [255, 0, 51]
  with open_image(path) as reader:
    assert_reads(reader, 0, expected)
  assert "2 of its 99381 fractions lie outside 0 to 1 (-2 to 37)" in caplog.text
  values[:, :20] = 37
  write_tiff(path, values, tile=(32, 32))
  assert_refused(path, "of which only 0 to 1 can be read")


# --- palettes, white is zero, YCbCr --------------------------------------------------


def test_palette_of_8_bit_values(tmp_path):
  colours = np.random.default_rng(1).integers(0, 256, (256, 3), dtype=np.uint8)
  tifffile.imwrite(
    tmp_path / "a.tif", RGB[:, :, 0], photometric="palette",
    colormap=colours.T.astype(np.uint16),
  )  # fmt: skip
  np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), colours[RGB[:, :, 0]])


@pytest.mark.parametrize("bits", [2, 4, 12])
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_values_of_other_depths_span_black_to_white(tmp_path, bits, white_is_zero):
  values = np.arange(2**bits)
  ones = values[:, None] >> np.arange(bits)[::-1] & 1
  tifffile.imwrite(
    tmp_path / "a.tif", np.packbits(ones.ravel())[None],
    photometric="miniswhite" if white_is_zero else "minisblack",
  )  # fmt: skip
  with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as tiff:
    tiff.pages[0].tags["BitsPerSample"].overwrite(bits)
    tiff.pages[0].tags["ImageWidth"].overwrite(len(values))
  expected = np.rint(values * (255 / (2**bits - 1)))
  read = read_image(tmp_path / "a.tif")[0, :, 0]
  assert np.abs(read - (255 - expected if white_is_zero else expected)).max() <= 1


def test_white_is_zero_of_fractions_and_beside_opacity(tmp_path):
  tifffile.imwrite(
    tmp_path / "a.tif", np.float32([[0, 0.2, 1]]), photometric="miniswhite"
  )
  np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[0, :, 0], [255, 204, 0])
  pixels = np.uint8([[[0, 255], [255, 255], [255, 0]]])
  tifffile.imwrite(
    tmp_path / "b.tif", pixels, photometric="miniswhite", planarconfig="contig",
    extrasamples="unassalpha",
  )  # fmt: skip
  np.testing.assert_array_equal(read_image(tmp_path / "b.tif")[0, :, 0], [255, 0, 255])


@pytest.mark.parametrize("whole", [0, 2**30])
@pytest.mark.parametrize("compression", [None, "lzw", "zstd"])
def test_ycbcr_that_no_decoder_converts(tmp_path, monkeypatch, compression, whole):
  monkeypatch.setattr(tiffs, "_WHOLE", whole)
  stored = np.asarray(PIL.Image.fromarray(RGB).convert("YCbCr"))
  path = tmp_path / "a.tif"
  tifffile.imwrite(
    path, stored, photometric="ycbcr", compression=compression, tile=(32, 32),
    subsampling=(1, 1),
  )  # fmt: skip
  expected = PIL.Image.fromarray(stored, "YCbCr").convert("RGB")
  with open_image(path) as reader:
    box = reader.read(0, 0, 0, *RGB.shape[:2])
  assert np.abs(box - np.asarray(expected).astype(int)).max() <= 1
  narrow = (532, "2I", 6, (16, 1, 235, 1, 128, 1, 240, 1, 128, 1, 240, 1), True)
  tifffile.imwrite(
    path, stored, photometric="ycbcr", compression=compression, subsampling=(1, 1),
    extratags=[narrow],
  )  # fmt: skip
  assert_refused(path, "YCbCr of an unusual kind")


@pytest.mark.parametrize(
  ("compression", "photometric", "converted"),
  [(33003, "ycbcr", True), (33003, "rgb", True), (33005, "rgb", False),
   (34712, "ycbcr", True), (34712, "rgb", False)],
)  # fmt: skip
def test_jpeg_2000_in_tiff(tmp_path, compression, photometric, converted):
  stored = np.asarray(PIL.Image.fromarray(RGB).convert("YCbCr"))
  tifffile.imwrite(
    tmp_path / "a.tif", stored, photometric=photometric, compression=compression,
    compressionargs={"level": 0, "codecformat": "J2K"}, tile=(64, 64),
    subsampling=(1, 1) if photometric == "ycbcr" else None,
  )  # fmt: skip
  expected = stored.astype(int)
  if converted:
    expected = np.asarray(PIL.Image.fromarray(stored, "YCbCr").convert("RGB"), int)
  assert np.abs(read_image(tmp_path / "a.tif") - expected).max() <= 1


def test_pil_images_of_other_colours():
  image = PIL.Image.fromarray(RGB).convert("YCbCr")
  with open_image(image) as reader:
    assert_reads(reader, 0, np.asarray(image.convert("RGB")), count=5)
  for mode in ("CMYK", "LAB", "HSV"):
    assert_refused(PIL.Image.new(mode, (8, 8)), f"{mode}, not grey or RGB")
