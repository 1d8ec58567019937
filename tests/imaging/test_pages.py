"""Which image of a TIFF is read, and TIFFs that claim what they do not hold."""

import re
import resource
import struct
import time

import numpy as np
import pytest
import tifffile
from pyramids import HALF, RGB, TILED, assert_reads, assert_refused, mpp_of

from micronet_jax.errors import InputError
from micronet_jax.imaging import tiffs
from micronet_jax.imaging.decoding import read_image
from micronet_jax.imaging.opening import open_image

SMALL = RGB[:40, :60].copy()


def write_pages(path, *images, **options):
  with tifffile.TiffWriter(path, ome=path.name.endswith(".ome.tif")) as writer:
    for image in images:
      settings = image if isinstance(image, dict) else {"data": image}
      writer.write(**{"photometric": "rgb", "metadata": None, **options, **settings})
  return path


@pytest.mark.parametrize("whole", [0, 2**30])
@pytest.mark.parametrize("order", [(SMALL, RGB, RGB[:90]), (RGB, SMALL), (HALF, RGB)])
def test_the_largest_image_is_read_and_said(
  tmp_path, monkeypatch, caplog, order, whole
):
  monkeypatch.setattr(tiffs, "_WHOLE", whole)
  path = write_pages(tmp_path / "a.tif", *order)
  with open_image(path) as reader:
    assert_reads(reader, 0, RGB)
  assert len(caplog.records) == 1
  others = [f"{len(image)} x {image.shape[1]}" for image in order if image is not RGB]
  said = f"holds {len(order)} images: the one of 157 x 211 pixels is taken, not "
  assert caplog.text.strip().endswith(f"{path} {said}" + ", ".join(others))
  np.testing.assert_array_equal(read_image(path), RGB)


def test_one_image_is_read_without_a_word(tmp_path, caplog):
  open_image(write_pages(tmp_path / "a.tif", RGB)).close()
  assert not caplog.text


def test_images_of_equal_size_the_first(tmp_path, caplog):
  path = write_pages(
    tmp_path / "a.ome.tif",
    *({"data": data, "metadata": {"axes": "YXS"}} for data in (RGB, 255 - RGB)),
  )
  with open_image(path) as reader:
    assert_reads(reader, 0, RGB, count=3)
  assert "holds 2 images" in caplog.text


@pytest.mark.parametrize("name", ["macro", "Label image", "Overview", "thumbnail"])
def test_no_macro_is_read_however_large(tmp_path, name):
  macro = {"data": RGB, "metadata": {"axes": "YXS", "Name": name}}
  scan = {"data": SMALL, "metadata": {"axes": "YXS", "Name": "Image: 1"}}
  path = write_pages(tmp_path / "a.ome.tif", macro, scan)
  with open_image(path) as reader:
    assert_reads(reader, 0, SMALL, count=3)
  path = write_pages(tmp_path / "b.ome.tif", macro)
  with open_image(path) as reader:
    assert_reads(reader, 0, RGB, count=3)


def test_an_image_beside_a_larger_stack_is_still_read(tmp_path):
  stack = np.zeros((5, 200, 300), np.uint8)
  path = write_pages(
    tmp_path / "a.ome.tif",
    {"data": SMALL, "metadata": {"axes": "YXS"}},
    {"data": stack, "metadata": {"axes": "ZYX"}, "photometric": "minisblack"},
  )
  with open_image(path) as reader:
    assert_reads(reader, 0, SMALL, count=3)


def test_resolution_is_that_of_the_image_taken(tmp_path):
  def image(data, mpp):
    sizes = {f"PhysicalSize{axis}": mpp for axis in "XY"}
    return {"data": data, "metadata": {"axes": "YXS", **sizes}}

  path = write_pages(tmp_path / "a.ome.tif", image(SMALL, 4.0), image(RGB, 0.5))
  assert mpp_of(path) == 0.5


# --- claims --------------------------------------------------------------------------


def tiff(compression, offsets, counts, *, side=20_000, rows=None):
  """A TIFF of RGB by hand, whose few bytes claim what is asked for."""
  tags = [(256, [side]), (257, [side]), (258, [8, 8, 8]), (259, [compression]),
          (262, [2]), (273, offsets), (277, [3]), (278, [rows or side]),
          (279, counts)]  # fmt: skip
  place = 8 + 2 + 12 * len(tags) + 4
  entries, behind = b"", b""
  for tag, values in tags:
    raw = struct.pack(f"<{len(values)}I", *values)
    if len(raw) > 4:
      behind, raw = behind + raw, struct.pack("<I", place + len(behind))
    entries += struct.pack("<HHI", tag, 4, len(values)) + raw
  return b"II*\0\10\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4) + behind


CLAIMS = {
  "no data": tiff(1, [0], [0]),
  "no data, deflate": tiff(8, [0], [0]),
  "no data, small": tiff(8, [0], [0], side=64),
  "one byte": tiff(1, [8], [1]),
  "a few bytes, deflate": tiff(8, [8], [50]),
  "a few bytes, LZW": tiff(5, [8], [50]),
  "a few bytes, PackBits": tiff(32773, [8], [50]),
  "one strip of 1250": tiff(8, [8], [50], rows=16),
  "one strip of 4, no data": tiff(8, [0], [0], side=64, rows=16),
  "no strip": tiff(8, [], []),
  "2^32 pixels a side": tiff(8, [8], [50], side=2**32 - 1),
  "2^32 pixels a side, no data": tiff(1, [0], [0], side=2**32 - 1),
}


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("read", [open_image, read_image])
def test_claims_are_refused_in_no_time_and_space(tmp_path, monkeypatch, claim, read):
  path = tmp_path / "a.tif"
  path.write_bytes(CLAIMS[claim])
  began = time.process_time()
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  if read is open_image:
    assert_refused(path, re.escape(str(path)))
  else:
    with pytest.raises(InputError, match="cannot be read as an image"):
      read(path)
  assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**18  # KiB
  assert time.process_time() - began < 10


def test_tiles_that_were_all_never_written_are_refused(tmp_path):
  with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
    writer.write(
      iter([b""] * 4), shape=(64, 64, 3), dtype=np.uint8, tile=(32, 32),
      photometric="rgb",
    )  # fmt: skip
  assert_refused(tmp_path / "a.tif", "pixels are missing")


def test_pages_of_a_pyramid_are_levels_not_images(tmp_path, caplog):
  with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
    writer.write(RGB, subifds=1, **TILED)
    writer.write(HALF, subfiletype=1, **TILED)
  with open_image(tmp_path / "a.tif") as reader:
    assert len(reader.levels) == 2
  assert not caplog.text
