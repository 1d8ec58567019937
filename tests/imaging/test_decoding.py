"""Images as they come from microscopes, and files that are no images."""

import io
import re

import imagecodecs
import numpy as np
import PIL.Image
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from micronet_jax.errors import InputError
from micronet_jax.imaging.decoding import read_image, read_labels

RGB = np.random.default_rng(0).integers(0, 256, (13, 17, 3), dtype=np.uint8)
MANY = settings(
  max_examples=25,
  deadline=None,
  suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def save(path, pixels, **options):
  PIL.Image.fromarray(pixels).save(path, **options)
  return path


def assert_reads(path, expected):
  image = read_image(path)
  assert image.dtype == np.uint8
  assert image.flags.c_contiguous
  np.testing.assert_array_equal(image, expected)


def assert_refused(path, reason):
  with pytest.raises(InputError, match=reason) as caught:
    read_image(path)
  message = str(caught.value)
  assert str(path) in message
  assert message.endswith(".")
  assert "\n" not in message


@pytest.mark.parametrize("ending", ["png", "bmp", "tif"])
def test_lossless_rgb_comes_back_as_it_was(tmp_path, ending):
  assert_reads(save(tmp_path / f"a.{ending}", RGB), RGB)


def test_jpeg_is_what_pillow_decodes(tmp_path):
  path = save(tmp_path / "a.jpg", RGB, quality=95)
  assert_reads(path, np.asarray(PIL.Image.open(path)))


def test_ending_does_not_matter(tmp_path):
  save(tmp_path / "a.png", RGB).rename(tmp_path / "a.tif")
  assert_reads(tmp_path / "a.tif", RGB)


@pytest.mark.parametrize("ending", ["png", "bmp", "tif"])
def test_grey_becomes_three_equal_channels(tmp_path, ending):
  grey = RGB[:, :, 0]
  expected = np.stack([grey, grey, grey], axis=-1)
  assert_reads(save(tmp_path / f"a.{ending}", grey), expected)


def test_one_pixel(tmp_path):
  for ending in ("png", "bmp"):
    assert_reads(save(tmp_path / f"a.{ending}", RGB[:1, :1]), RGB[:1, :1])
  for name, pixels in (("rgb", RGB[:1, :1]), ("grey", RGB[:1, :1, 0])):
    tifffile.imwrite(tmp_path / f"{name}.tif", pixels)
    assert read_image(tmp_path / f"{name}.tif").shape == (1, 1, 3)


def test_bilevel_is_black_and_white(tmp_path):
  bits = RGB[:, :, 0] > 127
  expected = np.repeat(np.where(bits, 255, 0)[:, :, None], 3, axis=2)
  assert_reads(save(tmp_path / "a.png", bits), expected)
  tifffile.imwrite(tmp_path / "a.tif", bits, photometric="minisblack")
  assert_reads(tmp_path / "a.tif", expected)
  tifffile.imwrite(tmp_path / "b.tif", bits, photometric="miniswhite")
  assert_reads(tmp_path / "b.tif", 255 - expected)


def test_transparent_lies_on_white(tmp_path):
  rgba = np.array([[[200, 100, 0, 255], [200, 100, 0, 0], [200, 100, 0, 51]]], np.uint8)
  expected = np.array([[[200, 100, 0], [255, 255, 255], [244, 224, 204]]])
  assert_reads(save(tmp_path / "a.png", rgba), expected)
  assert_reads(save(tmp_path / "a.tif", rgba), expected)
  assert_reads(save(tmp_path / "b.png", rgba[:, :, [0, 3]]), expected[:, :, [0, 0, 0]])


def test_palette_gives_its_colours_or_its_indices(tmp_path):
  indices = np.array([[0, 1], [2, 1]], np.uint8)
  colours = np.array([[9, 8, 7], [250, 0, 3], [0, 255, 0]], np.uint8)
  image = PIL.Image.frombytes("P", (2, 2), indices.tobytes())
  image.putpalette(colours.tobytes())
  for ending in ("png", "bmp", "tif"):
    path = tmp_path / f"a.{ending}"
    image.save(path)
    assert_reads(path, colours[indices])
    np.testing.assert_array_equal(read_labels(path), indices)


def test_palette_with_a_transparent_colour(tmp_path):
  image = PIL.Image.frombytes("P", (2, 1), b"\0\1")
  image.putpalette(bytes([9, 8, 7, 250, 0, 3]))
  image.save(tmp_path / "a.png", transparency=0)
  assert_reads(tmp_path / "a.png", [[[255, 255, 255], [250, 0, 3]]])


def deep_files(folder, pixels):
  tifffile.imwrite(folder / "a.tif", pixels)
  (folder / "a.png").write_bytes(imagecodecs.png_encode(pixels))
  return [folder / "a.tif", folder / "a.png"]


@MANY
@given(
  hnp.arrays(
    np.uint16, st.sampled_from([(5, 4), (5, 4, 3)]), elements=st.integers(0, 65535)
  )
)
def test_deep_pixels_are_scaled_to_the_largest(tmp_path, pixels):
  top = max(int(pixels.max()), 1)
  expected = [int(255 * int(v) / top + 0.5) for v in pixels.ravel()]
  for path in deep_files(tmp_path, pixels):
    image = read_image(path)
    image = image if pixels.ndim == 3 else image[:, :, 0]
    assert np.abs(image.ravel().astype(int) - expected).max() <= 1


def test_twelve_bit_camera_keeps_256_levels(tmp_path):
  pixels = np.arange(4096, dtype=np.uint16).reshape(64, 64)
  for path in deep_files(tmp_path, np.repeat(pixels[:, :, None], 3, axis=2)):
    assert len(np.unique(read_image(path))) == 256
    assert read_image(path).max() == 255


def test_deep_alpha(tmp_path):
  pixels = np.zeros((1, 3, 4), np.uint16)
  pixels[0, :, :3] = 1000
  pixels[0, :, 3] = [65535, 0, 65535]
  pixels[0, 2, :3] = 0
  for path in deep_files(tmp_path, pixels):
    assert_reads(path, [[[255] * 3, [255] * 3, [0] * 3]])


@pytest.mark.parametrize("dtype", [np.uint32, np.int16, np.int32])
def test_other_whole_numbers(tmp_path, dtype):
  pixels = np.array([[0, 1000], [2000, 500]], dtype)
  tifffile.imwrite(tmp_path / "a.tif", pixels)
  expected = np.array([[0, 128], [255, 64]])
  assert_reads(tmp_path / "a.tif", np.repeat(expected[:, :, None], 3, axis=2))


def test_fractions_from_0_to_1(tmp_path):
  tifffile.imwrite(tmp_path / "a.tif", np.array([[0, 0.2, 1]], np.float32))
  assert_reads(tmp_path / "a.tif", [[[0] * 3, [51] * 3, [255] * 3]])


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.5, 7.0])
def test_other_fractions_are_refused(tmp_path, value):
  tifffile.imwrite(tmp_path / "a.tif", np.array([[0, value]], np.float32))
  assert_refused(tmp_path / "a.tif", "of which only 0 to 1 can be read")


def test_negative_values_are_refused(tmp_path):
  tifffile.imwrite(tmp_path / "a.tif", np.array([[0, -3]], np.int16))
  assert_refused(tmp_path / "a.tif", "negative value -3")


def test_planar_and_channels_first_tiff(tmp_path):
  planes = np.moveaxis(RGB, -1, 0)
  tifffile.imwrite(
    tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate"
  )
  assert_reads(tmp_path / "a.tif", RGB)
  tifffile.imwrite(tmp_path / "b.tif", planes, imagej=True, metadata={"axes": "CYX"})
  assert_reads(tmp_path / "b.tif", RGB)


@pytest.mark.parametrize("compression", ["lzw", "deflate", "jpeg", "zstd"])
def test_compressed_and_tiled_tiff(tmp_path, compression):
  smooth = np.full((64, 48, 3), 120, np.uint8)
  smooth[20:40] += 60
  tifffile.imwrite(
    tmp_path / "a.tif", smooth, compression=compression, tile=(16, 16),
    photometric="rgb",
  )  # fmt: skip
  image = read_image(tmp_path / "a.tif")
  assert np.abs(image.astype(int) - smooth).max() <= (8 if compression == "jpeg" else 0)


def test_white_is_zero_tiff(tmp_path):
  tifffile.imwrite(tmp_path / "a.tif", RGB[:, :, 0], photometric="miniswhite")
  assert_reads(tmp_path / "a.tif", np.repeat(255 - RGB[:, :, :1], 3, axis=2))


def test_pyramid_gives_its_full_size(tmp_path):
  with tifffile.TiffWriter(tmp_path / "a.ome.tif") as writer:
    writer.write(RGB, subifds=1, photometric="rgb")
    writer.write(RGB[::2, ::2], subfiletype=1, photometric="rgb")
  assert_reads(tmp_path / "a.ome.tif", RGB)


def test_exif_orientation_is_ignored(tmp_path):
  exif = PIL.Image.Exif()
  exif[0x0112] = 6
  assert_reads(save(tmp_path / "a.png", RGB, exif=exif), RGB)
  assert read_image(save(tmp_path / "a.jpg", RGB, exif=exif)).shape == RGB.shape


def test_stacks_are_refused(tmp_path):
  tifffile.imwrite(tmp_path / "z.tif", np.zeros((5, 8, 8), np.uint8), imagej=True)
  assert_refused(tmp_path / "z.tif", "not one plane of colour")
  tifffile.imwrite(
    tmp_path / "c.tif", np.zeros((4, 8, 8), np.uint8), imagej=True,
    metadata={"axes": "CYX"},
  )  # fmt: skip
  assert_refused(tmp_path / "c.tif", "not one plane of colour")


def test_other_channels_are_refused(tmp_path):
  tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 8, 6), np.uint8), photometric="rgb")
  assert_refused(tmp_path / "a.tif", "has 6 channels")
  PIL.Image.new("CMYK", (8, 8)).save(tmp_path / "a.jpg")
  assert_refused(tmp_path / "a.jpg", "CMYK")


def test_no_image_at_all(tmp_path):
  (tmp_path / "empty.png").touch()
  assert_refused(tmp_path / "empty.png", "its kind is not recognised")
  (tmp_path / "text.jpg").write_text("no image")
  assert_refused(tmp_path / "text.jpg", "its kind is not recognised")
  (tmp_path / "folder.tif").mkdir()
  assert_refused(tmp_path / "folder.tif", "Is a directory")
  assert_refused(tmp_path / "none.tif", "No such file")


def encoded(kind):
  noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
  file = io.BytesIO()
  if kind == "png16":
    file.write(imagecodecs.png_encode(noise.astype(np.uint16) * 16))
  elif kind.startswith("tiff"):
    compression = kind.partition("-")[2] or None
    tifffile.imwrite(
      file, noise, compression=compression, rowsperstrip=16, photometric="rgb"
    )
  else:
    PIL.Image.fromarray(noise).save(file, kind)
  return file.getvalue()


KINDS = ["png", "png16", "jpeg", "bmp", "tiff", "tiff-lzw", "tiff-deflate", "tiff-jpeg"]


@pytest.mark.parametrize("kind", KINDS)
def test_cut_files_are_refused(tmp_path, kind):
  data = encoded(kind)
  path = tmp_path / "a.img"
  path.write_bytes(data)
  assert read_image(path).shape == (64, 64, 3)
  # Of a PNG the last 20 bytes are checksums and an end mark, without pixels.
  last = len(data) - 24 if kind.startswith("png") else len(data) - 1
  for length in (0, 3, 8, 26, 100, len(data) // 4, len(data) // 2, last - 40, last):
    path.write_bytes(data[:length])
    assert_refused(path, re.escape(str(path)))


@MANY
@given(data=st.binary(max_size=60), kind=st.sampled_from([b"", b"II*\0", b"\x89PNG"]))
def test_arbitrary_bytes_never_escape_as_another_error(tmp_path, data, kind):
  path = tmp_path / "a.img"
  path.write_bytes(kind + data)
  assert_refused(path, "cannot be read as an image")
