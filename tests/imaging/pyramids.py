"""Images of several levels for tests, and how boxes of them are compared."""

import concurrent.futures
import os

import numpy as np
import pytest
import tifffile

from micronet_jax.errors import InputError
from micronet_jax.imaging.opening import open_image

RGB = np.random.default_rng(0).integers(0, 256, (157, 211, 3), dtype=np.uint8)
HALF = RGB[::2, ::2].copy()


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


TILED = {"tile": (32, 48), "photometric": "rgb"}


def damage_last_tile(path):
  """Puts zeros where the last tile of a TIFF's first page is stored."""
  with tifffile.TiffFile(path) as tiff:
    start, length = (tiff.pages[0].dataoffsets[-1], tiff.pages[0].databytecounts[-1])
  data = bytearray(path.read_bytes())
  data[start : start + length] = bytes(length)
  path.write_bytes(data)


def read_from_threads(reader, expected):
  def check(seed):
    for y, x, h, w in boxes(expected.shape[:2], 25, seed):
      box = reader.read(0, y, x, h, w)
      np.testing.assert_array_equal(box, expected[y : y + h, x : x + w])
    return seed

  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    assert sum(pool.map(check, range(8))) == 28


def mpp_of(source):
  with open_image(source) as reader:
    return reader.mpp


def area_mean(pixels, height, width):
  """Repeats pixels until whole ones fill each area, one axis after the other."""
  rows, columns, _ = pixels.shape
  tall = np.repeat(pixels, height, axis=0).reshape(height, rows, columns, 3)
  by_row = tall.mean(axis=1)
  wide = np.repeat(by_row, width, axis=1).reshape(height, width, columns, 3)
  return wide.mean(axis=2)
