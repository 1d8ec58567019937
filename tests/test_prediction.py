"""The predict job: its files, what an interruption leaves, and what goes wrong."""

import csv
import json
import pathlib
import resource

import numpy as np
import PIL.Image
import pytest
import tifffile
import tissue
from folders import full_disk
from networks import META, random_weights

from micronet_jax import figures
from micronet_jax.detection import detector as detector_module
from micronet_jax.detection import scan as scan_module
from micronet_jax.detection.detector import Detector, load
from micronet_jax.errors import InputError
from micronet_jax.imaging.canvas import Canvas
from micronet_jax.predict import job, outputs, overlays, tables
from micronet_jax.predict.job import PredictOptions, predict, report_failures
from micronet_jax.predict.journal import Journal

QUARTER_MICRON = (101_600, 101_600)  # dots an inch
SHAPE = (288, 304)
TILES = 6  # of 272 pixels: two halos of 128 and a stride
SMALL = {"tile": 272, "batch": 1, "devices": 1}
SLIDE = 200 * 200  # pixels from which on an image counts as one, in a test
ALL = tuple(outputs.FORMATS)
DEFAULT = (".csv", ".geojson", ".json", ".overlay.png")


@pytest.fixture(scope="module")
def network():
  """A small random network whose maps have maxima above and below ξ."""
  return Detector(random_weights(), META)


@pytest.fixture(autouse=True)
def detector(network, monkeypatch):
  monkeypatch.setattr(job, "load", lambda weights: network)
  monkeypatch.setattr(scan_module, "_told", {"mpp"})
  return network


@pytest.fixture
def image(tmp_path):
  return write_dots(tmp_path / "big.png")


def write_dots(path, *, shape=SHAPE):
  pixels = tissue.dots("big", size=max(shape), nuclei=max(shape) ** 2 // 2500).image
  PIL.Image.fromarray(pixels[: shape[0], : shape[1]]).save(path, dpi=QUARTER_MICRON)
  return str(path)


def options(**changes):
  return PredictOptions(**{**SMALL, **changes})


def names(folder):
  return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def read_csv(path):
  """Float64 `[N, 3]` of x, y, score."""
  return np.genfromtxt(path, delimiter=",", skip_header=1).reshape(-1, 3)


def read_summary(out):
  with (out / "summary.csv").open(newline="") as file:
    return list(csv.DictReader(file))


def read_geojson(path):
  """The same, as QuPath has it: (0, 0) is the corner of the top-left pixel."""
  features = json.loads(path.read_text())["features"]
  return np.array(
    [
      (*each["geometry"]["coordinates"], each["properties"]["measurements"]["score"])
      for each in features
    ]
  ).reshape(-1, 3)


def in_order(points):
  return points[np.lexsort(points.T)]


@pytest.fixture
def counted(monkeypatch):
  """Takes a lattice for the network's maxima, and notes which tiles are searched."""
  indices = []

  def search(program, weights, scan, tiles, *, batch, scale, least):
    for tile in tiles:
      pixels = scan.canvas.read(tile.y, tile.x, *scan.sides)
      indices.append(tile.index)
      y, x = (
        a.ravel() for a in np.mgrid[8 : scan.sides[0] : 16, 8 : scan.sides[1] : 16]
      )
      scores = (((tile.y + y) * 7 + (tile.x + x) * 3) % 97 / 97).astype(np.float32)
      scores *= pixels[y, x].max(1) > 0
      kept = scores >= least
      yield tile, [(np.column_stack([y, x])[kept].astype(float), scores[kept])]

  monkeypatch.setattr(detector_module, "search_tiles", search)
  return indices


@pytest.mark.parametrize("slide", [False, True])
def test_every_file_holds_the_points_of_detect(
  detector, image, tmp_path, monkeypatch, slide, capsys
):
  if slide:
    monkeypatch.setattr(scan_module, "SLIDE_PIXELS", SLIDE)
    monkeypatch.setitem(detector.meta, "xi", 0.05)
  expected = detector.detect(image, **SMALL)
  assert len(expected.scores) > 20
  out = tmp_path / "out"
  (result,) = predict([image], out, options=options(formats=ALL))
  assert names(out) == sorted(
    ["summary.csv", *(f"big{e}" for e in (*DEFAULT, ".density.png"))]
  )
  points = np.column_stack([expected.centers[:, ::-1], expected.scores])
  table, objects = read_csv(out / "big.csv"), read_geojson(out / "big.geojson")
  np.testing.assert_allclose(objects - [0.5, 0.5, 0], table, atol=1e-6)
  assert result["nuclei"] == len(points) == len(table)
  for found in table:
    distance = np.abs(points - found)
    assert (distance <= [0.0051, 0.0051, 0.0002]).all(1).any()
  lowest = detector.meta["xi"] * (1 if slide else expected.scores.max())
  assert result["threshold"] == pytest.approx(lowest)
  assert json.loads((out / "big.json").read_text()) == result
  area = SHAPE[0] * SHAPE[1] * (0.25e-3) ** 2
  assert result["area_mm2"] == pytest.approx(area, abs=1e-6)
  assert result["per"] == ("tissue" if slide else "image")
  over = result["tissue_mm2"] if slide else area
  assert result["nuclei_per_mm2"] == pytest.approx(len(points) / over, rel=1e-3)
  picture = np.asarray(PIL.Image.open(out / "big.overlay.png"))
  assert picture.shape == (*SHAPE, 3)
  assert (picture != np.asarray(PIL.Image.open(image))).any()
  (line,) = read_summary(out)
  assert line["image"] == image
  assert int(line["nuclei"]) == len(points)
  assert float(line["nuclei_per_mm2"]) == result["nuclei_per_mm2"]
  assert line["error"] == ""
  printed = capsys.readouterr()
  assert f"{image}: {len(points)} nuclei, " in printed.out


def test_regions_are_counted_one_by_one(detector, image, tmp_path):
  regions = ((0, 0, 100, 288), (50, 100, 150, 100), (290, 200, 500, 500))
  everywhere = detector.detect(image, **SMALL)
  (result,) = predict([image], tmp_path / "out", options=options(regions=regions))
  corner = everywhere.centers + 0.5
  held = [
    (corner >= (y, x)).all(1) & (corner < (y + height, x + width)).all(1)
    for x, y, width, height in regions
  ]
  assert [each["nuclei"] for each in result["regions"]] == [h.sum() for h in held]
  assert result["nuclei"] == np.any(held, axis=0).sum() < len(corner)
  assert result["regions"][2]["width"] == SHAPE[1] - 290  # as far as there is image
  assert result["per"] == "regions"
  covered = np.zeros(SHAPE, bool)
  for x, y, width, height in regions:
    covered[y : y + height, x : x + width] = True
  assert result["area_mm2"] == pytest.approx(covered.sum() * 0.25e-3**2, abs=1e-6)


@pytest.mark.parametrize(("slide", "after"), [(False, 1), (False, TILES), (True, 4)])
def test_an_interrupted_search_goes_on_with_the_next_tile(
  image, tmp_path, monkeypatch, counted, slide, after, capsys
):
  if slide:
    monkeypatch.setattr(scan_module, "SLIDE_PIXELS", SLIDE)
  whole, out = tmp_path / "whole", tmp_path / "out"
  (expected,) = predict([image], whole, options=options())
  assert expected["nuclei"] > 100
  every = counted.copy()
  assert len(every) == TILES
  add = Journal.add

  def stop(journal, *arguments, **keywords):
    add(journal, *arguments, **keywords)
    if len(journal.done) == after:
      raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(Journal, "add", stop)
    with pytest.raises(KeyboardInterrupt):
      predict([image], out, options=options())
  assert {name.split("/")[0] for name in names(out)} == {".big.partial"}
  counted.clear()
  capsys.readouterr()
  (result,) = predict([image], out, options=options())
  assert counted == every[after:]
  assert (f"{after} of {TILES} tiles were done" in capsys.readouterr().out) == bool(
    counted
  )
  assert names(out) == names(whole)
  for name in ("big.csv", "big.geojson", "big.overlay.png"):
    assert (out / name).read_bytes() == (whole / name).read_bytes()
  assert {**result, "seconds": 0} == {**expected, "seconds": 0}


def test_a_finished_image_is_not_repeated_and_a_changed_one_is(
  network, image, tmp_path, counted, monkeypatch, capsys
):
  out = tmp_path / "out"

  def searched(**changes):
    counted.clear()
    predict([image], out, options=options(**changes))
    return len(counted)

  assert searched() == TILES
  before = (out / "big.csv").stat().st_mtime_ns
  assert searched() == 0
  assert "done before, nothing repeated" in capsys.readouterr().out
  assert (out / "big.csv").stat().st_mtime_ns == before
  (line,) = read_summary(out)
  assert int(line["nuclei"]) == len(read_csv(out / "big.csv"))
  assert searched(tile=400, batch=2) == 0  # of the machine, not of the result
  # The threshold of an image needs the highest score of all of it.
  for changes in ({"threshold": 0.2}, {"regions": ((0, 0, 200, 200),)}, {"mpp": 0.25}):
    assert searched(**changes) == TILES
  assert searched() == TILES
  assert searched(formats=("csv", "density")) == TILES  # a file that was not there
  assert searched(formats=(*ALL,)) == 0  # now all are, of one result
  (out / "big.density.png").unlink()
  assert searched() == 0
  assert searched(formats=("density",)) == TILES
  write_dots(pathlib.Path(image))  # the same, but newer
  assert searched() == TILES
  xi = network.with_threshold(xi=0.5, min_distance=5)
  monkeypatch.setattr(job, "load", lambda weights: xi)
  assert searched() == TILES


def test_files_of_an_older_result_do_not_count_as_done(image, tmp_path, counted):
  """Overlay of one threshold, table of another: neither may pass for the other."""
  out = tmp_path / "out"
  low, high = options(threshold=0.1), options(threshold=0.3, formats=("csv",))
  predict([image], out, options=low)
  overlay = (out / "big.overlay.png").read_bytes()
  predict([image], out, options=high)
  assert (out / "big.overlay.png").read_bytes() == overlay  # the older one
  counted.clear()
  predict([image], out, options=options(threshold=0.3))
  assert len(counted) == TILES
  assert (out / "big.overlay.png").read_bytes() != overlay


def test_a_run_that_ends_between_two_files_is_not_taken_for_its_predecessor(
  image, tmp_path, monkeypatch, counted
):
  out = tmp_path / "out"
  predict([image], out, options=options(threshold=0.1))
  table = (out / "big.csv").read_bytes()

  def stop(*_, **__):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(tables, "write_geojson", stop)
    with pytest.raises(KeyboardInterrupt):
      predict([image], out, options=options(threshold=0.3))
  assert (out / "big.csv").read_bytes() != table
  counted.clear()
  predict([image], out, options=options(threshold=0.1))
  assert len(counted) == TILES
  assert (out / "big.csv").read_bytes() == table
  assert not (out / ".big.partial").exists()


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
  done = predict(images, out, options=options())
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
    (result,) = predict([str(tmp_path / "cut.svs")], tmp_path / "out")
    assert "cut.svs is no slide that OpenSlide can read" in result["error"]
    assert names(tmp_path / "out") == ["summary.csv"]


@pytest.mark.parametrize("kind", ["white", "one", "slide"])
def test_without_tissue_there_are_no_nuclei_and_a_note(
  tmp_path, monkeypatch, caplog, kind
):
  shape = (1, 1, 3) if kind == "one" else (*SHAPE, 3)
  if kind == "slide":
    monkeypatch.setattr(scan_module, "SLIDE_PIXELS", SLIDE)
  PIL.Image.fromarray(np.full(shape, 250, np.uint8)).save(tmp_path / "w.png")
  out = tmp_path / "out"
  (result,) = predict([str(tmp_path / "w.png")], out, options=options(formats=ALL))
  assert result["nuclei"] == 0
  assert "w.png shows no tissue" in caplog.text
  assert (out / "w.csv").read_text() == "x,y,score\n"
  assert json.loads((out / "w.geojson").read_text())["features"] == []
  assert len(names(out)) == len(ALL) + 2


@pytest.mark.parametrize(
  "error", [InputError("big.png is cut short"), RuntimeError("?")]
)
def test_a_tile_that_cannot_be_read(image, tmp_path, monkeypatch, counted, error):
  """A broken image leaves nothing; an unforeseen error keeps what was found."""
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
    done = predict(images, out, options=options())
  assert str(error) in done[0]["error"]
  assert "error" not in done[1]
  left = {name.split("/")[0] for name in names(out)} - {"summary.csv"}
  expected = {f"next{ending}" for ending in DEFAULT}
  foreseen = isinstance(error, InputError)
  assert left == expected | (set() if foreseen else {".big.partial"})
  counted.clear()
  assert "error" not in predict(images, out, options=options())[0]
  assert len(counted) == (TILES if foreseen else TILES // 2)


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
    (result,) = predict([image], out, options=options())
    assert names(out) == ["summary.csv"]
    assert result["error"].endswith(".big.partial cannot be written (file too large)")
    room = 3
    (result,) = predict([image], out, options=options())
  assert ".big.partial cannot be written" in result["error"]
  assert "the 3 tiles done so far are kept there" in result["error"]
  counted.clear()
  predict([image], out, options=options())
  assert len(counted) == TILES - 3
  assert names(out) == sorted(["summary.csv", *(f"big{e}" for e in DEFAULT)])


@pytest.mark.parametrize(
  ("module", "function", "ending"),
  [
    (tables, "write_csv", ".csv"),
    (tables, "write_geojson", ".geojson"),
    (figures, "save_figure", ".density.png"),
    (overlays, "write_image", ".overlay.png"),
    (job, "write_json", ".json"),
    (outputs, "write_summary", None),
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
      (result,) = predict([image], out, options=options(formats=ALL))
      assert f"big{ending} cannot be written (File too large)" in result["error"]
    else:
      with pytest.raises(InputError, match=r"summary\.csv cannot be written"):
        predict([image], out, options=options(formats=ALL))
  there = {name.split("/")[0] for name in names(out)}
  assert f"big{ending}" not in there
  every = {f"big{each}" for each in (*outputs.FORMATS.values(), ".json")}
  assert there - {".big.partial", "summary.csv"} <= every
  counted.clear()
  predict([image], out, options=options(formats=ALL))
  assert counted == []
  assert set(names(out)) == {"summary.csv", *every}


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"formats": ("csv", "pdf")}, "format 'pdf' is unknown; there are csv, geojson"),
    ({"threshold": 7.0}, "threshold is a score.*from 0 to 1; got 7"),
    ({"threshold": float("nan")}, "threshold is a score"),
    ({"mpp": 0.0}, "mpp is microns per pixel, 0.01 to 5, got 0"),
    ({"mpp": float("nan")}, "mpp is microns per pixel"),
    ({"devices": 99}, "devices is 99, but this machine has 8"),
    ({"batch": 0}, "batch is a number from 1 on"),
  ],
)
def test_impossible_options_are_told_before_anything_is_made(
  image, tmp_path, changes, message
):
  with pytest.raises(InputError, match=message):
    predict([image], tmp_path / "out", options=options(**changes))
  assert names(tmp_path) == ["big.png"]


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"regions": ((304, 0, 10, 10),)}, "holds nothing of .*big.png, which is 304 wide"),
    ({"regions": ((0, 0, 0, 10),)}, "holds nothing of"),
    ({"tile": 100}, "multiple of 16 beyond 256 pixels, got 100"),
  ],
)
def test_options_that_do_not_fit_the_image(image, tmp_path, changes, message):
  (result,) = predict([image], tmp_path / "out", options=options(**changes))
  with pytest.raises(InputError, match=message):
    raise InputError(result["error"])
  assert names(tmp_path / "out") == ["summary.csv"]


def test_an_output_folder_that_is_none(image, tmp_path, monkeypatch):
  (tmp_path / "file").write_text("mine")
  with pytest.raises(InputError, match="is a file, but the results need a folder"):
    predict([image], tmp_path / "file", options=options())
  with pytest.raises(InputError, match=r"cannot be written \(not a directory\)"):
    predict([image], tmp_path / "file" / "below", options=options())
  with pytest.raises(InputError, match="cannot be written"):
    predict([image], "/proc/nothing", options=options())
  assert (tmp_path / "file").read_text() == "mine"

  def refuse(**_):
    raise PermissionError(13, "Permission denied")

  monkeypatch.setattr("tempfile.TemporaryFile", refuse)
  with pytest.raises(InputError, match=r"cannot be written \(permission denied\)"):
    predict([image], tmp_path, options=options())


def test_unknown_weights(image, tmp_path, monkeypatch):
  monkeypatch.setattr(job, "load", load)
  with pytest.raises(InputError, match="no checkpoint at 'nope'"):
    predict([image], tmp_path / "out", weights="nope")
  assert names(tmp_path) == ["big.png"]


def test_images_are_found_once_and_in_order(tmp_path, monkeypatch):
  for name in ("b.png", "a.tif", "c.SVS", "notes.txt", ".hidden.png", "b.csv"):
    (tmp_path / name).write_text("")
  for name in ("b.overlay.png", "b.density.png"):  # of an earlier run into this folder
    (tmp_path / name).write_text("")
  (tmp_path / "empty").mkdir()
  (tmp_path / "folder.png").mkdir()
  (tmp_path / "[x].png").write_text("")
  monkeypatch.chdir(tmp_path)
  find = outputs.find_images
  assert find(["."]) == [f"./{n}" for n in ("[x].png", "a.tif", "b.png", "c.SVS")]
  assert find(["b.png", "*.tif", "./b.png", str(tmp_path)])[:2] == ["b.png", "a.tif"]
  assert len(find(["b.png", "*.tif", str(tmp_path)])) == 4
  assert find(["**/*.SVS"]) == ["c.SVS"]
  assert find(["[x].png"]) == ["[x].png"]
  assert find(["gone.png"]) == ["gone.png"]  # reported with the others
  assert find(["b.overlay.png"]) == ["b.overlay.png"]  # who says so, gets it
  for pattern, message in {
    "x*.png": "named like x",
    "empty": "in the folder em",
  }.items():
    with pytest.raises(InputError, match=message):
      find(["b.png", pattern])
  with pytest.raises(InputError, match="no image was named"):
    find([])


@pytest.mark.parametrize(
  ("images", "out", "message"),
  [
    (["a/x.png", "b/x.tif"], "out", "a/x.png and b/x.tif would both write out/x"),
    (["a/x.png", "a/x.overlay.png"], "a", "would replace a/x.overlay.png, which is an"),
    (["a/summary.png"], "out", "would write out/summary.csv, which lists all images"),
  ],
)
def test_no_file_is_written_twice_nor_over_an_image(tmp_path, images, out, message):
  with pytest.raises(InputError, match=message):
    outputs.name_outputs(images, pathlib.Path(out), ("csv", "overlay"))
  outputs.name_outputs(images[-1:], pathlib.Path("other"), ("overlay",))
