"""Pictures, arrays and PIL images behind one reader, and what is no image."""

import os

import numpy as np
import PIL.Image
import pytest
from pyramids import RGB, assert_reads, assert_refused

from micronet_jax.errors import InputError
from micronet_jax.imaging.decoding import read_image
from micronet_jax.imaging.opening import is_image, open_image, tell_unread

# --- pictures, arrays, PIL images ----------------------------------------------------


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
    (np.dstack([RGB, np.zeros(RGB.shape[:2], np.uint8)]), RGB),
    (RGB / 255 * (1 + 1e-6), RGB),
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
    (np.moveaxis(RGB, -1, 0), r"channels first.*np\.moveaxis\(image, 0, -1\)"),
    (RGB[None, :, :, 0], "channels first"),
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


def test_tensors():
  torch = pytest.importorskip("torch")
  tensor = torch.tensor(RGB / 255)
  with open_image(tensor) as reader:
    assert_reads(reader, 0, RGB, count=3)
  tensor.requires_grad_()
  assert_refused(tensor, r"image\.detach\(\)\.cpu\(\)\.numpy\(\)")


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


# --- what is no image ----------------------------------------------------------------


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
   ("a.webp", True), ("a.JP2", True), ("a.jpe", True), ("a.JFIF", True),
   ("a.jpx", True), ("a.gif", False),
   ("a.csv", False), ("png", False), ("._a.svs", False), ("a.tif.part", False)],
)  # fmt: skip
def test_is_image(name, expected):
  assert is_image(name) is expected


@pytest.mark.parametrize(
  ("ending", "kind"), [("jpe", "JPEG"), ("JFIF", "JPEG"), ("jpx", "JPEG2000")]
)
def test_rare_endings_of_kinds_that_are_read(tmp_path, ending, kind):
  path = tmp_path / f"a.{ending}"
  PIL.Image.fromarray(RGB).save(path, kind)
  with open_image(path) as reader:
    assert reader.levels[0] == RGB.shape[:2]


def test_what_looks_like_an_image_is_counted_and_named(tmp_path):
  for name in (
    *("a.png", "b.jpe", "c.csv", "d.geojson", "e.json", "f.txt", "g.zip", "h.xml"),
    *(".i.gif", "j", "k.pdf", "l.py", "m.h5", "gif"),
  ):
    (tmp_path / name).touch()
  (tmp_path / "folder.gif").mkdir()
  (tmp_path / "near.png").symlink_to(tmp_path / "a.png")
  (tmp_path / "gone.csv").symlink_to(tmp_path / "nowhere.csv")
  (tmp_path / ".gone.png").symlink_to(tmp_path / "nowhere.png")
  assert tell_unread(tmp_path.iterdir()) == ""
  (tmp_path / "gone.TIF").symlink_to(tmp_path / "nowhere.tif")
  (tmp_path / "p.GIF").touch()
  told = "file(s) that look like images are not read: gone.TIF (a dead link)"
  assert tell_unread(tmp_path.iterdir()) == f"2 {told}, p.GIF"
  for name in ("q.vsi", "r.heic", "s.psd"):
    (tmp_path / name).touch()
  names = [str(path) for path in tmp_path.iterdir()]
  assert tell_unread(names) == f"5 {told}, p.GIF, q.vsi and 2 more"
