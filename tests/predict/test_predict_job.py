"""The predict job: its files, and what an interruption leaves."""

import json
import pathlib

import numpy as np
import PIL.Image
import pytest
from predictions import (
  ALL,
  SHAPE,
  SLIDE,
  SMALL,
  TILES,
  names,
  options,
  read_summary,
  write_dots,
)

from micronet_jax.detection import detector as detector_module
from micronet_jax.detection import scan as scan_module
from micronet_jax.detection.detector import Detector
from micronet_jax.imaging.opening import open_image
from micronet_jax.predict import image as image_job
from micronet_jax.predict import job, listing, outputs, overlays, tables
from micronet_jax.predict.job import predict_images
from micronet_jax.predict.journal import Journal

pytestmark = pytest.mark.usefixtures("detector")


def read_csv(path):
  """Float64 `[N, 3]` of x, y, score."""
  return np.genfromtxt(path, delimiter=",", skip_header=1).reshape(-1, 3)


def read_geojson(path):
  """The same, as QuPath has it: (0, 0) is the corner of the top-left pixel."""
  features = json.loads(path.read_text())["features"]
  return np.array(
    [
      (*each["geometry"]["coordinates"], each["properties"]["measurements"]["score"])
      for each in features
    ]
  ).reshape(-1, 3)


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
  (result,) = predict_images([image], out, options=options(formats=ALL))
  assert names(out) == sorted(
    ["summary.csv", "big.json", *(f"big{e}" for e in outputs.FORMATS.values())]
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
  chunk = expected.centers, expected.scores
  plain = np.asarray(PIL.Image.open(image))
  np.testing.assert_array_equal(picture, overlays.overlay(plain, [chunk], shape=SHAPE))
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
  given = options(regions=regions, formats=("html",))
  (result,) = predict_images([image], tmp_path / "out", options=given)
  page = (tmp_path / "out/big.html").read_text()
  cells = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
  assert None in cells["density"]["values"]  # what is in no region has no density
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
  (expected,) = predict_images([image], whole, options=options())
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
      predict_images([image], out, options=options())
  assert {name.split("/")[0] for name in names(out)} == {".big.partial"}
  counted.clear()
  capsys.readouterr()
  (result,) = predict_images([image], out, options=options())
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
    predict_images([image], out, options=options(**changes))
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
  four = ("csv", "geojson", "overlay", "density")
  assert searched(formats=four) == 0  # now all are, of one result
  (out / "big.density.png").unlink()
  assert searched() == 0
  assert searched(formats=("density",)) == TILES
  write_dots(pathlib.Path(image))  # the same, but newer
  assert searched() == TILES
  xi = network.with_threshold(xi=0.5, min_distance=5)
  monkeypatch.setattr(job, "load", lambda weights: xi)
  assert searched() == TILES


def test_a_journal_that_is_left_when_all_is_written_is_removed(
  image, tmp_path, monkeypatch, counted
):
  out = tmp_path / "out"
  with monkeypatch.context() as patch:
    patch.setattr(Journal, "remove", Journal.close)  # killed there
    predict_images([image], out, options=options())
  assert ".big.partial" in names(out)
  (result,) = predict_images([image], out, options=options())
  assert result["repeated"]
  assert not [name for name in names(out) if name.startswith(".")]


def test_files_of_an_older_result_do_not_count_as_done(image, tmp_path, counted):
  """Overlay of one threshold, table of another: neither may pass for the other."""
  out = tmp_path / "out"
  low, high = options(threshold=0.1), options(threshold=0.3, formats=("csv",))
  predict_images([image], out, options=low)
  overlay = (out / "big.overlay.png").read_bytes()
  predict_images([image], out, options=high)
  assert not (out / "big.overlay.png").exists()
  counted.clear()
  predict_images([image], out, options=options(threshold=0.3))
  assert len(counted) == TILES
  predict_images([image], tmp_path / "fresh", options=options(threshold=0.3))
  fresh = (tmp_path / "fresh" / "big.overlay.png").read_bytes()
  assert (out / "big.overlay.png").read_bytes() == fresh != overlay


def test_a_run_that_ends_between_two_files_is_not_taken_for_its_predecessor(
  image, tmp_path, monkeypatch, counted
):
  out = tmp_path / "out"
  predict_images([image], out, options=options(threshold=0.1))
  table = (out / "big.csv").read_bytes()

  def stop(*_, **__):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(tables, "write_geojson", stop)
    with pytest.raises(KeyboardInterrupt):
      predict_images([image], out, options=options(threshold=0.3))
  assert (out / "big.csv").read_bytes() != table
  counted.clear()
  predict_images([image], out, options=options(threshold=0.1))
  assert len(counted) == TILES
  assert (out / "big.csv").read_bytes() == table
  assert not (out / ".big.partial").exists()


@pytest.mark.parametrize("kind", ["white", "one", "slide"])
def test_without_tissue_there_are_no_nuclei_and_a_note(
  tmp_path, monkeypatch, caplog, kind
):
  shape = (1, 1, 3) if kind == "one" else (*SHAPE, 3)
  if kind == "slide":
    monkeypatch.setattr(scan_module, "SLIDE_PIXELS", SLIDE)
  PIL.Image.fromarray(np.full(shape, 250, np.uint8)).save(tmp_path / "w.png")
  out = tmp_path / "out"
  (result,) = predict_images(
    [str(tmp_path / "w.png")], out, options=options(formats=ALL)
  )
  assert result["nuclei"] == 0
  assert "w.png shows no tissue" in caplog.text
  assert (out / "w.csv").read_text() == "x,y,score\n"
  assert json.loads((out / "w.geojson").read_text())["features"] == []
  assert len(names(out)) == len(ALL) + 2


def test_files_say_what_their_coordinates_count_from(
  detector, image, tmp_path, monkeypatch, caplog
):
  def open_slide(path):
    reader = open_image(path)
    reader.origin = (3, 5)  # as of a slide with OpenSlide's bounds
    return reader

  monkeypatch.setattr(image_job, "open_image", open_slide)
  (result,) = predict_images([image], tmp_path, options=options())
  table, objects = (
    read(tmp_path / f"big.{name}")
    for read, name in ((read_csv, "csv"), (read_geojson, "geojson"))
  )
  np.testing.assert_allclose(objects - [0.5 - 3, 0.5 - 5, 0], table, atol=1e-6)
  assert set(result["frames"]) == {"csv", "geojson"}
  assert "whole image, (0, 0) at the centre" in result["frames"]["csv"]
  assert "pixel (3, 5)" in result["frames"]["geojson"]
  assert "QuPath shows this slide from pixel (3, 5) on" in caplog.text
  monkeypatch.setattr(detector_module, "open_image", open_slide)
  assert detector.detect(image, **SMALL).origin == (3, 5)


def test_shards_are_all_images_and_their_summaries_do_not_collide(
  tmp_path, monkeypatch, counted, capsys
):
  images = [write_dots(tmp_path / f"{n}.png", shape=(60, 70 + n)) for n in range(5)]
  whole, out = tmp_path / "whole", tmp_path / "out"
  expected = predict_images(images, whole, options=options())
  searched = len(counted)
  done = {}
  for shard in ("1/3", "2/3", "3/3", "9/9"):
    done[shard] = predict_images(images, out, options=options(shard=shard))
  found = {
    shard: [each["image"] for each in results] for shard, results in done.items()
  }
  assert found == {
    **{"1/3": [images[0], images[3]], "2/3": [images[1], images[4]]},
    **{"3/3": [images[2]], "9/9": []},
  }
  assert "shard 2/3: 2 of 5 images" in capsys.readouterr().out
  assert len(counted) == 2 * searched
  summaries = [f"summary.{n}-of-3.csv" for n in (1, 2, 3)]
  assert set(names(out)) - set(names(whole)) == {*summaries, "summary.9-of-9.csv"}
  lines = [(out / name).read_text().splitlines() for name in summaries]
  assert [len(each) for each in lines] == [3, 3, 2]
  again = predict_images(images, out, options=options())  # lists all, repeats nothing
  assert len(counted) == 2 * searched
  assert [each["nuclei"] for each in again] == [each["nuclei"] for each in expected]
  for name in set(names(whole)) - {"summary.csv"}:
    if not name.endswith(".json"):  # which says how long it took
      assert (out / name).read_bytes() == (whole / name).read_bytes()


def test_the_summary_lists_what_is_in_the_folder(tmp_path, counted, capsys):
  """One command for each image gives the lines that one for all gives."""
  images = [write_dots(tmp_path / f"{n}.png", shape=(60, 80)) for n in "10"]
  whole, out = tmp_path / "whole", tmp_path / "out"
  predict_images(sorted(images), whole, options=options(), weights=tmp_path)
  capsys.readouterr()
  for image in images:
    predict_images(pathlib.Path(image), out, options=options(), weights=tmp_path)
  printed = capsys.readouterr().out
  assert printed.count(f"{out / 'summary.csv'} lists 1 more, whose results") == 1

  def listed(folder):
    return [{**line, "seconds": ""} for line in read_summary(folder)]

  assert listed(out) == listed(whole)
  # What failed is listed by its own command only, and what is gone by none.
  gone = tmp_path / "gone.png"
  predict_images([gone], out, options=options())
  assert [line["image"] for line in listed(out)] == [str(gone), *sorted(images)]
  for name in ("a.json", ".0.json"):  # somebody else's, and a copy that is hidden
    (out / name).write_text("{}" if name == "a.json" else (out / "0.json").read_text())
  (out / "1.json").unlink()
  (result,) = predict_images([gone, images[1]], out, options=options())[1:]
  assert result["repeated"]
  assert [line["image"] for line in listed(out)] == [str(gone), images[1]]


def test_two_commands_that_end_at_once_both_stand_in_the_summary(
  tmp_path, counted, monkeypatch
):
  images = [write_dots(tmp_path / f"{n}.png", shape=(60, 80)) for n in "ab"]
  out = tmp_path / "out"
  write = listing._write_lines

  def write_late(path, rows):
    """The other ends after the folder was looked at, and before its list is there."""
    monkeypatch.setattr(listing, "_write_lines", write)
    predict_images(images[1], out, options=options())
    write(path, rows)

  monkeypatch.setattr(listing, "_write_lines", write_late)
  predict_images(images[0], out, options=options())
  assert [line["image"] for line in read_summary(out)] == images


def test_the_summary_says_with_what_each_line_was_found(
  network, tmp_path, counted, monkeypatch
):
  """Also of two networks of one name, as when a run was trained further."""
  images = [write_dots(tmp_path / f"{n}.png", shape=(60, 80)) for n in "abc"]
  out = tmp_path / "out"
  for number, name in enumerate(("base", "runs/mine", "runs/mine")):
    loaded = Detector(network.weights, {**network.meta, "min_distance": 5 + number})
    monkeypatch.setattr(job, "load", lambda _, loaded=loaded: loaded)
    asked = options(threshold=0.25 * (number + 1))
    (record,) = predict_images(images[number], out, weights=name, options=asked)
    assert record["weights"] == name
  predict_images([tmp_path / "gone.png"], out, options=options())
  lines = {pathlib.Path(line["image"]).name: line for line in read_summary(out)}
  weights, networks, thresholds = (
    [lines[f"{n}.png"][column] for n in "abc"]
    for column in ("weights", "network", "threshold")
  )
  assert weights == ["base", "runs/mine", "runs/mine"]
  records = [json.loads((out / f"{n}.json").read_text()) for n in "abc"]
  assert networks == [record["settings"]["weights"] for record in records]
  assert len(set(networks)) == 3
  assert thresholds == [str(record["threshold"]) for record in records]
  failed = lines["gone.png"]
  assert (failed["weights"], failed["network"], failed["threshold"]) == ("", "", "")
  assert "cannot be read" in failed["error"]
