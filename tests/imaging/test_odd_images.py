"""Real odd files from image libraries' own tests: read right, or refused."""

import numpy as np
import PIL.Image
import pytest
from pyramids import assert_one_sentence

from micronet_jax.errors import InputError
from micronet_jax.imaging.opening import open_image

# (height, width), and microns per pixel, of what is read.
READ = {
  "highdicom/sm_image.dcm": ((50, 50), 0.499),
  "highdicom/sm_image_control.dcm": ((50, 50), 0.499),
  "highdicom/sm_image_dots.dcm": ((50, 50), 0.499),
  "highdicom/sm_image_numbers.dcm": ((50, 50), 0.499),
  "instanseg_HE_example.tif": ((1484, 1380), 0.50008),
  "large_image/grey10kx5k.tif": ((5000, 10000), None),
  "large_image/rgba_geotiff.tiff": ((600, 600), None),
  "large_image/small_la.tiff": ((1, 2), None),
  "large_image/yb10kx5k.zstd.tiff": ((5000, 10000), None),
  "openslide_python/boxes.tiff": ((250, 300), None),
  "openslide_python/boxes_0.dcm": ((16, 16), 0.499),
  "openslide_python/boxes_1.dcm": ((16, 16), 0.499),
  "openslide_python/small.svs": ((16, 16), 0.499),
  "openslide_python/😀.svs": ((16, 16), 0.499),
  "qupath/cells-1.jp2": ((261, 185), None),
  "qupath/cells-gray16.tif": ((131, 93), 0.25),
  "qupath/cells-gray8.png": ((131, 93), None),
  "qupath/cells.jpg": ((261, 185), None),
  "qupath/cells.ome.tif": ((131, 93), 0.25),
  "qupath/cells.png": ((131, 93), None),
  "qupath/cells.tif": ((131, 93), 0.25),
  **{f"large_image/test_orient{i}.tif": ((180, 120), None) for i in range(9)},
  **{
    f"large_image/test_{mode}_{bits}.png": ((64, 64), None)
    for mode in ("L", "LA", "RGB", "RGBA")
    for bits in (8, 16)
  },
}

NO_SLIDE = "no slide that OpenSlide can read"
REFUSED = {
  "highdicom/seg_image_sm_control.dcm": NO_SLIDE,
  "highdicom/seg_image_sm_control_labelmap.dcm": NO_SLIDE,
  "highdicom/seg_image_sm_control_labelmap_palette_color.dcm": NO_SLIDE,
  "highdicom/seg_image_sm_dots.dcm": NO_SLIDE,
  "highdicom/seg_image_sm_dots_tiled_full.dcm": NO_SLIDE,
  "highdicom/seg_image_sm_numbers.dcm": NO_SLIDE,
  "highdicom/sm_annotations.dcm": NO_SLIDE,
  "highdicom/sm_image_grayscale.dcm": "BitsAllocated value 16",
  "highdicom/sm_image_grayscale_reversed.dcm": "BitsAllocated value 16",
  "highdicom/sm_image_jpegls.dcm": "Unsupported transfer syntax",
  "highdicom/sm_image_jpegls_nobot.dcm": "Unsupported transfer syntax",
  "instanseg_Fluorescence_example.tif": "axes are CYX",
  "large_image/notanimage.txt": "kind is not recognised",
  "large_image/sample.geojson": "kind is not recognised",
  "large_image/sample_float32_8bit_range.zarr.zip": "kind is not recognised",
  "large_image/zero_gi.tif": "no pixels",
  "openslide_python/unopenable.tiff": "not a known COMPRESSION",
  "openslide_python/unreadable.svs": "Bogus marker length",
  "qupath/cells-2c.ome.tif": "axes are CYX",
  "qupath/cells-2t.ome.tif": "axes are TYX",
  "qupath/cells-2z.ome.tif": "axes are ZYX",
  "qupath/cells-gray32.tif": "fractions from 44 to 255, of which only 0 to 1",
  "qupath/polygon.geojson": "kind is not recognised",
}


@pytest.fixture
def odd(real_data):
  pytest.importorskip("openslide")
  return real_data / "odd-images"


def read(path):
  with open_image(path) as reader:
    return reader.read(0, 0, 0, *reader.levels[0])


def test_every_file_is_named_here(odd):
  found = {
    path.relative_to(odd).as_posix() for path in odd.rglob("*") if path.is_file()
  }
  assert found == READ.keys() | REFUSED.keys()


@pytest.mark.parametrize("name", READ)
def test_read(odd, name):
  shape, mpp = READ[name]
  with open_image(odd / name) as reader:
    assert reader.levels[0] == shape
    assert reader.mpp == (None if mpp is None else pytest.approx(mpp, rel=1e-4))


@pytest.mark.parametrize("name", REFUSED)
def test_refused(odd, name):
  with pytest.raises(InputError, match=REFUSED[name]) as caught:
    read(odd / name)
  assert_one_sentence(caught.value, odd / name)


def test_the_same_picture_in_several_formats_is_the_same(odd):
  cells = read(odd / "qupath/cells.png").astype(int)
  np.testing.assert_array_equal(read(odd / "qupath/cells.tif"), cells)
  np.testing.assert_array_equal(read(odd / "qupath/cells.ome.tif"), cells)
  grey = read(odd / "qupath/cells-gray8.png").astype(int)
  assert np.abs(read(odd / "qupath/cells-gray16.tif") - grey).max() <= 1
  assert np.abs(grey - cells.mean(2, keepdims=True)).mean() < 3
  large = read(odd / "qupath/cells.jpg").astype(int)
  assert np.abs(read(odd / "qupath/cells-1.jp2") - large).mean() < 3
  with PIL.Image.open(odd / "qupath/cells.jpg") as image:
    assert np.abs(np.asarray(image.resize((93, 131))) - cells).mean() < 8


def test_depths_and_opacity_of_ramps(odd):
  for mode in ("L", "LA", "RGB", "RGBA"):
    flat, deep = (
      read(odd / f"large_image/test_{mode}_{bits}.png").astype(int) for bits in (8, 16)
    )
    assert np.abs(flat - deep).max() <= 2
    alone = read(odd / f"large_image/test_{mode.rstrip('A')}_8.png").astype(int)
    np.testing.assert_array_equal(flat, alone)  # opacity is full


def test_orientation_is_ignored(odd):
  first = read(odd / "large_image/test_orient1.tif")
  assert (first[20, 20:100] < 9).mean() > 0.9  # the bar of the letter F
  for i in range(9):
    np.testing.assert_array_equal(read(odd / f"large_image/test_orient{i}.tif"), first)


def test_colours_at_known_places(odd):
  boxes = read(odd / "openslide_python/boxes.tiff")
  blue, white, red = boxes[150, 150], boxes[5, 5], boxes[50, 60]
  np.testing.assert_array_equal([blue, white, red],
                                [[0, 0, 255], [255] * 3, [255, 0, 0]])  # fmt: skip
  with open_image(odd / "large_image/yb10kx5k.zstd.tiff") as reader:
    assert reader.read(0, 100, 100, 1, 1)[0, 0].tolist() == [0, 0, 255]
    assert reader.read(0, 2000, 5000, 1, 1)[0, 0].tolist() == [255, 255, 0]
  with open_image(odd / "large_image/grey10kx5k.tif") as reader:
    assert reader.read(0, 100, 100, 1, 1)[0, 0].tolist() == [64] * 3
    assert reader.read(0, 2500, 5000, 1, 1)[0, 0].tolist() == [192] * 3
  fractal = read(odd / "large_image/rgba_geotiff.tiff")
  assert (fractal[0, 0] == 255).all()  # transparent
  assert (read(odd / "large_image/small_la.tiff")[0, :, 0] == [0, 255]).all()


def test_a_slide_in_aperio_s_format_and_in_dicom_is_the_same(odd):
  small = read(odd / "openslide_python/small.svs").astype(int)
  np.testing.assert_array_equal(read(odd / "openslide_python/😀.svs"), small)
  for i in (0, 1):
    assert np.abs(read(odd / f"openslide_python/boxes_{i}.dcm") - small).max() <= 3
