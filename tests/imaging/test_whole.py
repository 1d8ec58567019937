"""PNG and JPEG files that hold other rows than they announce; large pictures."""

import io
import struct
import zlib

import imagecodecs
import numpy as np
import PIL.Image
import pytest
import scipy.ndimage
from pyramids import RGB, assert_reads, assert_refused

from micronet_jax.imaging import decoding
from micronet_jax.imaging.decoding import read_image
from micronet_jax.imaging.opening import open_image

SMOOTH = np.uint8(
  np.clip(scipy.ndimage.gaussian_filter(RGB.astype(float), (2, 2, 0)) * 3 - 250, 0, 255)
)


def png(pixels, height, *, colour=2, rows=None, interlaced=0):
  """A PNG by hand that announces `height` rows and holds `rows` or all `pixels`."""

  def chunk(kind, data):
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum

  header = struct.pack(">IIBBBBB", pixels.shape[1], height, 8, colour, 0, 0, interlaced)
  rows = [b"\0" + row.tobytes() for row in pixels] if rows is None else rows
  palette = chunk(b"PLTE", bytes(range(255, -1, -1)) * 3) if colour == 3 else b""
  data = zlib.compress(b"".join(rows))
  parts = chunk(b"IDAT", data[:700]) + chunk(b"IDAT", data[700:])
  start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
  return start + palette + parts + chunk(b"IEND", b"")


@pytest.mark.parametrize(("colour", "pixels"), [(2, RGB), (0, RGB[:, :, 0]),
                                                (3, RGB[:, :, 1])])  # fmt: skip
def test_png_with_missing_rows(tmp_path, colour, pixels):
  path = tmp_path / "a.png"
  path.write_bytes(png(pixels, 157, colour=colour))
  assert read_image(path).shape == RGB.shape
  for rows in (156, 100, 1):
    path.write_bytes(png(pixels[:rows], 157, colour=colour))
    assert_refused(path, "rows are missing")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (64, 57)])
def test_black_pngs_are_whole(tmp_path, mode, size):
  path = tmp_path / "a.png"
  PIL.Image.new(mode, size).save(path)
  assert read_image(path).shape == (*size[::-1], 3)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (64, 57), (57, 65)])
def test_interlaced_pngs(tmp_path, size):
  path = tmp_path / "a.png"
  pixels = RGB[: size[1], : size[0], 0].copy()
  passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2),
            (0, 1, 2, 2), (1, 0, 2, 1))  # fmt: skip
  parts = [pixels[y::down, x::across] for y, x, down, across in passes]
  rows = [b"\0" + row.tobytes() for part in parts for row in part if row.size]
  for held in (len(rows), len(rows) - 1, len(rows) // 2):
    path.write_bytes(png(pixels, size[1], colour=0, rows=rows[:held], interlaced=1))
    if held == len(rows):
      np.testing.assert_array_equal(read_image(path)[:, :, 0], pixels)
    else:
      assert_refused(path, "rows are missing" if held else "cannot be read")


def jpeg(pixels, height=None, **options):
  """A JPEG that announces `height` rows."""
  file = io.BytesIO()
  PIL.Image.fromarray(pixels).save(file, "JPEG", **options)
  data = file.getvalue()
  at = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2")) + 5
  return data if height is None else data[:at] + height.to_bytes(2) + data[at + 2 :]


OPTIONS = [
  {}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"optimize": True},
  {"restart_marker_rows": 2}, {"quality": 30},
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("pixels", [SMOOTH, SMOOTH[:, :, 0]])
def test_jpeg_of_a_wrong_height(tmp_path, options, pixels):
  path = tmp_path / "a.jpg"
  path.write_bytes(jpeg(pixels, **options))
  expected = PIL.Image.open(path).convert("RGB")
  np.testing.assert_array_equal(read_image(path), np.asarray(expected))
  for height in (80, 40, 8):
    path.write_bytes(jpeg(pixels, height, **options))
    assert_refused(path, "more rows than it says")
  for height in (200, 300, 2000):
    path.write_bytes(jpeg(pixels, height, **options))
    assert_refused(path, "rows are missing")


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("grey", [0, 127, 128, 255])
def test_jpegs_of_one_colour_are_whole(tmp_path, options, grey):
  path = tmp_path / "a.jpg"
  for height, width in ((1, 1), (7, 9), (16, 16), (33, 100), (157, 211)):
    pixels = np.full((height, width, 3), grey, np.uint8)
    path.write_bytes(jpeg(pixels, **options))
    assert_reads(open_image(path), 0, np.asarray(PIL.Image.open(path)), count=1)


def test_jpegs_with_a_thumbnail_or_with_bytes_behind_are_whole(tmp_path):
  path = tmp_path / "a.jpg"
  grey = np.full((64, 64, 3), 128, np.uint8)
  exif = b"Exif\0\0" + jpeg(RGB[:30, :30])
  for data in (jpeg(grey, exif=exif), jpeg(grey) + b"more", jpeg(grey) + jpeg(RGB)):
    path.write_bytes(data)
    np.testing.assert_array_equal(read_image(path), grey)


def test_jpegs_of_any_size_are_whole(tmp_path):
  path = tmp_path / "a.jpg"
  for height in range(1, 40, 3):
    for width in range(1, 40, 5):
      for options in OPTIONS:
        path.write_bytes(jpeg(RGB[:height, :width], **options))
        assert read_image(path).shape == (height, width, 3)


# --- other pictures ------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "jp2"])
def test_pictures_above_pillows_limit_up_to_our_own(tmp_path, monkeypatch, ending):
  path = tmp_path / f"a.{ending}"
  PIL.Image.fromarray(RGB).save(path)
  monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 1000)
  with open_image(path) as reader:
    assert reader.levels == ((157, 211),)
  monkeypatch.setattr(decoding, "MOST_PIXELS", 157 * 211 - 1)
  assert_refused(path, "157 x 211 pixels, more than the 33126")


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("ending", ["webp", "jp2", "j2k"])
def test_webp_and_jpeg_2000(tmp_path, ending, mode):
  path = tmp_path / f"a.{ending}"
  pixels = np.dstack([RGB, RGB[:, :, :1]])
  image = PIL.Image.fromarray(pixels).convert(mode)
  image.save(path, **({"lossless": True, "exact": True} if ending == "webp" else {}))
  expected = image
  if mode == "RGBA":
    expected = image.convert("RGB")
    if ending != "j2k":  # which says nothing of opacity
      expected = PIL.Image.new("RGBA", image.size, "white")
      expected.alpha_composite(image)
  with open_image(path) as reader:
    box = reader.read(0, 0, 0, *RGB.shape[:2]).astype(int)
  assert np.abs(box - np.asarray(expected.convert("RGB"))).max() <= 1
  data = path.read_bytes()
  for share in (0.1, 0.5, 0.9):
    path.write_bytes(data[: int(len(data) * share)])
    assert_refused(path, "cannot be read as an image")


def test_deep_jpeg_2000_keeps_its_levels(tmp_path):
  ramp = np.arange(4096, dtype=np.uint16).reshape(64, 64)
  pixels = np.repeat(ramp[:, :, None], 3, axis=2)
  data = imagecodecs.jpeg2k_encode(pixels, level=0, bitspersample=12, mct=False)
  (tmp_path / "a.jp2").write_bytes(data)
  assert len(np.unique(read_image(tmp_path / "a.jp2"))) == 256


def test_of_several_frames_the_first_is_read_and_said(tmp_path, caplog):
  path = tmp_path / "a.webp"
  first, second = (PIL.Image.fromarray(pixels) for pixels in (RGB, 255 - RGB))
  first.save(path, save_all=True, append_images=[second], lossless=True)
  with open_image(path) as reader:
    assert_reads(reader, 0, RGB, count=3)
  assert f"{path} holds 2 images: the first is taken" in caplog.text
