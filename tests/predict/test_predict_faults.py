"""The predict job where things go wrong: images, disks, options."""

import pathlib
import resource

import numpy as np
import PIL.Image
import pytest
import tifffile
from folders import full_disk
from predictions import (
  ALL,
  DEFAULT,
  QUARTER_MICRON,
  SHAPE,
  SLIDE,
  TILES,
  names,
  options,
  read_summary,
  write_dots,
)

from micronet_jax import figures
from micronet_jax.detection import scan as scan_module
from micronet_jax.detection.detector import load
from micronet_jax.errors import InputError
from micronet_jax.imaging.canvas import Canvas
from micronet_jax.predict import image as image_job
from micronet_jax.predict import job, listing, outputs, overlays, page, tables
from micronet_jax.predict.job import predict_images, report_failures
from micronet_jax.predict.journal import Journal

pytestmark = pytest.mark.usefixtures("detector")


def _bad_files(folder):
  """Files that cannot be searched, by what is said of them."""
  noise = np.random.default_rng(0)
  fractions = noise.random((64, 64), np.float32)
  fractions[3, 3] = np.nan
  tifffile.imwrite(folder / "nan.tif", fractions)
  tifffile.imwrite(
    folder / "five.tif",
    np.zeros((64, 64, 5), np.uint8),
    photometric="minisblack",
    planarconfig="contig",
  )
  PIL.Image.fromarray(np.zeros((64, 64, 4), np.uint8), "CMYK").save(folder / "ink.tif")
  pixels = noise.integers(0, 256, (256, 256, 3), np.uint8)
  tifffile.imwrite(folder / "cut.tif", pixels, tile=(64, 64), photometric="rgb")
  data = (folder / "cut.tif").read_bytes()
  (folder / "cut.tif").write_bytes(data[: len(data) // 2])
  (folder / "text.png").write_text("I am no image")
  (folder / "empty.jpg").write_bytes(b"")
  (folder / "folder.bmp").mkdir()
  return {
    "cut.tif": "cut short",
    "empty.jpg": "is empty",
    "five.tif": "5 channels",
    "folder.bmp": "is a directory",
    "ink.tif": "grey or RGB",
    "missing.png": "No such file",
    "nan.tif": "0 to 1",
    "text.png": "not recognised",
  }


@pytest.mark.filterwarnings("ignore:.*mode.*:DeprecationWarning")
def test_bad_images_are_reported_and_the_others_go_on(tmp_path, counted, capsys):
  bad = _bad_files(tmp_path)
  write_dots(tmp_path / "good.png", shape=(60, 90))
  rgba = np.dstack(
    [np.asarray(PIL.Image.open(tmp_path / "good.png")), 255 + 0 * _ones()]
  )
  PIL.Image.fromarray(rgba.astype(np.uint8)).save(
    tmp_path / "rgba.png", dpi=QUARTER_MICRON
  )
  images = [str(tmp_path / "*.*"), str(tmp_path / "missing.png")]
  out = tmp_path / "out"
  done = predict_images(images, out, options=options())
  failed = {pathlib.Path(each["image"]).name: each for each in done if "error" in each}
  assert failed.keys() == bad.keys()
  for name, expected in bad.items():
    message = failed[name]["error"]
    assert expected in message
    assert str(tmp_path / name) in message
    assert "\n" not in message
  good = [each for each in done if "error" not in each]
  assert good[0]["nuclei"] == good[1]["nuclei"] > 0
  assert names(out) == sorted(
    ["summary.csv", *(f"{name}{e}" for name in ("good", "rgba") for e in DEFAULT)]
  )
  lines = read_summary(out)
  assert [line["image"] for line in lines] == [each["image"] for each in done]
  assert [line["error"] for line in lines] == [each.get("error", "") for each in done]
  assert "Traceback" not in capsys.readouterr().err
  assert report_failures(done) == 1
  listed = capsys.readouterr().err.splitlines()
  assert listed[0] == f"{len(bad)} of {len(done)} images failed:"
  assert listed[1:] == [f"  {each['error']}" for each in failed.values()]
  assert report_failures(good) == 0


def _ones():
  return np.ones((60, 90, 1), int)


def test_a_slide_that_is_cut_short(tmp_path, real_data):
  whole = (real_data / "slides" / "CMU-1-Small-Region.svs").read_bytes()
  for part in (0.5, 0.99):
    (tmp_path / "cut.svs").write_bytes(whole[: int(len(whole) * part)])
    (result,) = predict_images([str(tmp_path / "cut.svs")], tmp_path / "out")
    assert "cut.svs is no slide that OpenSlide can read" in result["error"]
    assert names(tmp_path / "out") == ["summary.csv"]


@pytest.mark.parametrize(
  "error", [InputError("big.png is cut short"), RuntimeError("?")]
)
def test_a_tile_that_cannot_be_read(image, tmp_path, monkeypatch, counted, error):
  """What was found before it is kept: a drive may be back the next time."""
  write_dots(tmp_path / "next.png", shape=(60, 90))
  read = Canvas.read
  monkeypatch.setattr(scan_module, "SLIDE_PIXELS", SLIDE)

  def broken(canvas, y, x, height, width):
    if canvas.shape == SHAPE and y > 0 and height == 272:
      raise error
    return read(canvas, y, x, height, width)

  out = tmp_path / "out"
  images = [image, str(tmp_path / "next.png")]
  with monkeypatch.context() as patch:
    patch.setattr(Canvas, "read", broken)
    done = predict_images(images, out, options=options())
  assert str(error) in done[0]["error"]
  assert "error" not in done[1]
  left = {name.split("/")[0] for name in names(out)} - {"summary.csv"}
  expected = {f"next{ending}" for ending in DEFAULT}
  assert left == expected | {".big.partial"}
  counted.clear()
  assert "error" not in predict_images(images, out, options=options())[0]
  assert len(counted) == TILES // 2


def test_a_full_disk_in_the_journal(image, tmp_path, monkeypatch, counted):
  """Too full for one tile: nothing is left. For some: the next run goes on."""
  out = tmp_path / "out"
  add = Journal.add

  def limited(journal, *arguments, **keywords):
    with full_disk(10 if len(journal.done) == room else resource.RLIM_INFINITY):
      add(journal, *arguments, **keywords)

  with monkeypatch.context() as patch:
    patch.setattr(Journal, "add", limited)
    room = 0
    (result,) = predict_images([image], out, options=options())
    assert names(out) == ["summary.csv"]
    assert result["error"].endswith(".big.partial cannot be written (file too large)")
    room = 3
    (result,) = predict_images([image], out, options=options())
  assert ".big.partial cannot be written" in result["error"]
  assert "the 3 tiles done so far are kept there" in result["error"]
  counted.clear()
  predict_images([image], out, options=options())
  assert len(counted) == TILES - 3
  assert names(out) == sorted(["summary.csv", *(f"big{e}" for e in DEFAULT)])


@pytest.mark.parametrize(
  ("module", "function", "ending"),
  [
    (tables, "write_csv", ".csv"),
    (tables, "write_geojson", ".geojson"),
    (figures, "save_figure", ".density.png"),
    (overlays, "write_image", ".overlay.png"),
    (page, "write_page", ".html"),
    (tables, "write_parquet", ".parquet"),
    (image_job, "write_json", ".json"),
    (listing, "write_summary", None),
  ],
)
def test_a_full_disk_at_each_file(
  image, tmp_path, monkeypatch, counted, module, function, ending
):
  """No part of a file stays, and the next run only writes."""
  out = tmp_path / "out"
  write = getattr(module, function)

  def limited(*arguments, **keywords):
    with full_disk(10):
      write(*arguments, **keywords)

  with monkeypatch.context() as patch:
    patch.setattr(module, function, limited)
    if ending:
      (result,) = predict_images([image], out, options=options(formats=ALL))
      assert f"big{ending} cannot be written (File too large)" in result["error"]
    else:
      with pytest.raises(InputError, match=r"summary\.csv cannot be written"):
        predict_images([image], out, options=options(formats=ALL))
  there = {name.split("/")[0] for name in names(out)}
  assert f"big{ending}" not in there
  every = {f"big{each}" for each in (*outputs.FORMATS.values(), ".json")}
  assert there - {".big.partial", "summary.csv"} <= every
  counted.clear()
  predict_images([image], out, options=options(formats=ALL))
  assert counted == []
  assert set(names(out)) == {"summary.csv", *every}


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"formats": ("csv", "pdf")}, "formats is 'pdf'; use 'csv' or 'geojson' or"),
    ({"threshold": 7.0}, "threshold is 7.0; it must be from 0 to 1"),
    ({"threshold": float("nan")}, "threshold is nan; it must be from 0 to 1"),
    ({"mpp": 0.0}, "mpp is 0.0; it must be from 0.01 to 5"),
    ({"mpp": float("nan")}, "mpp is nan; it must be from 0.01 to 5"),
    ({"devices": 99}, "devices is 99, but this machine has 8"),
    ({"batch": 0}, "batch is 0; it must be at least 1"),
    ({"shard": "0/4"}, "shard is '0/4'; use k/n with k from 1 to n"),
    ({"shard": "5/4"}, "shard is '5/4'; use k/n with k from 1 to n"),
    ({"shard": "half"}, "shard is 'half'; use k/n with k from 1 to n"),
    ({"tile": 300}, "tile is 300; this network takes multiples of 16"),
  ],
)
def test_impossible_options_are_told_before_anything_is_made(
  image, tmp_path, changes, message
):
  with pytest.raises(InputError, match=message):
    predict_images([image], tmp_path / "out", options=options(**changes))
  assert names(tmp_path) == ["big.png"]


@pytest.mark.parametrize(
  ("given", "message"),
  [
    ({"options": {"mpp": 0.5}}, "options is of type dict; it must be a PredictConfig"),
    ({"options": {}}, "options is of type dict"),
    ({"options": "csv"}, "options is of type str"),
    ({"options": options(formats="csv")}, "formats is 'csv'; it must be a list, each"),
    ({"options": options(regions=(0, 0, 9, 9))}, r"a list of \(x, y, width, height\)"),
    ({"out": None}, "out: expected a path, as text or pathlib.Path, got NoneType"),
    ({"weights": 3}, "weights: expected a path, as text or pathlib.Path, got 3"),
  ],
)
def test_arguments_of_another_kind(image, tmp_path, given, message):
  with pytest.raises(InputError, match=message):
    predict_images(**{"images": image, "out": tmp_path / "out", **given})
  assert names(tmp_path) == ["big.png"]


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"regions": ((304, 0, 10, 10),)}, "holds nothing of .*big.png, which is 304 wide"),
    ({"regions": ((0, 0, 0, 10),)}, "holds nothing of"),
    ({"tile": 96}, "multiple of 16 beyond 256 pixels, got 96"),
  ],
)
def test_options_that_do_not_fit_the_image(image, tmp_path, changes, message):
  (result,) = predict_images([image], tmp_path / "out", options=options(**changes))
  with pytest.raises(InputError, match=message):
    raise InputError(result["error"])
  assert names(tmp_path / "out") == ["summary.csv"]


def test_an_output_folder_that_is_none(image, tmp_path, monkeypatch):
  (tmp_path / "file").write_text("mine")
  with pytest.raises(InputError, match="is a file, but the results need a folder"):
    predict_images([image], tmp_path / "file", options=options())
  with pytest.raises(InputError, match=r"cannot be written \(not a directory\)"):
    predict_images([image], tmp_path / "file" / "below", options=options())
  with pytest.raises(InputError, match="cannot be written"):
    predict_images([image], "/proc/nothing", options=options())
  assert (tmp_path / "file").read_text() == "mine"

  def refuse(**_):
    raise PermissionError(13, "Permission denied")

  monkeypatch.setattr("tempfile.TemporaryFile", refuse)
  with pytest.raises(InputError, match=r"cannot be written \(permission denied\)"):
    predict_images([image], tmp_path, options=options())


def test_unknown_weights(image, tmp_path, monkeypatch):
  monkeypatch.setattr(job, "load", load)
  with pytest.raises(InputError, match="no checkpoint at 'nope'"):
    predict_images([image], tmp_path / "out", weights="nope")
  assert names(tmp_path) == ["big.png"]
