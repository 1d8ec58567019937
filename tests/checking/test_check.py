"""The checks find the faults that are put into good data, and say nothing before."""

import html.parser
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
import slides
import tissue

from micronet_jax import cli
from micronet_jax.checking import job, stain
from micronet_jax.config import Config
from micronet_jax.datasets import load_samples
from micronet_jax.datasets.sample import Sample
from micronet_jax.errors import InputError

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAMES = "abcdef"


@pytest.fixture(scope="module")
def good():
  return [slides.stained(name) for name in NAMES]


def found(samples):
  return job.find_faults(Config(), samples)


def kinds(samples):
  return {(trouble.title, trouble.wrong) for trouble in found(samples)}


def test_good_data_are_passed_over_in_silence(good):
  assert found(good) == []


# What makes a number wrong.


def placed(sample, centers):
  size = np.array(sample.image.shape[:2])
  inside = ((centers >= 0) & (centers < size - 1)).all(axis=1)
  return slides.changed(sample, centers=centers[inside].astype(np.float32))


def swapped(sample, _):
  return placed(sample, sample.centers[:, ::-1])


def upturned(sample, _):
  return placed(sample, sample.centers * (-1, 1) + (slides.SIDE - 1, 0))


def shifted(sample, _):
  return placed(sample, sample.centers + np.array([-28, 28]))


def of_another(sample, other):
  return slides.changed(sample, centers=other.centers)


@pytest.mark.parametrize(
  ("spoil", "title", "told"),
  [
    (swapped, "x and y swapped", "x is the column"),
    (upturned, "y from the bottom", "from the top"),
    (shifted, "centres shifted", "x -28, y +28 px"),
    (of_another, "centres beside nuclei", "another image"),
  ],
)
@pytest.mark.parametrize("where", [[0], [1, 4]])
def test_centres_that_are_not_on_nuclei(good, spoil, title, told, where):
  spoilt = list(good)
  for i in where:
    spoilt[i] = spoil(good[i], good[i - 2])
  (trouble,) = found(spoilt)
  assert trouble.wrong
  assert trouble.title == title
  assert [suspect.name for suspect in trouble.suspects] == [NAMES[i] for i in where]
  assert f"in {len(where)} of 6 images ({NAMES[where[0]]}" in trouble.text
  assert told in trouble.text


def test_rings_show_where_swapped_centres_belong(good):
  (trouble,) = found([swapped(good[0], None), *good[1:]])
  (suspect,) = trouble.suspects
  rings = {tuple(point) for point in suspect.marked.tolist()}
  assert rings == {tuple(point) for point in good[0].centers.tolist()}


@pytest.mark.parametrize(
  ("factor", "seen", "wrong"),
  [(2, r"11\.\d", True), (0.4, r"2\.\d", True), (0.55, r"3\.\d", False)],
)
def test_a_resolution_that_makes_nuclei_odd(good, factor, seen, wrong):
  (trouble,) = found([slides.changed(s, mpp=0.25 * factor) for s in good])
  assert (trouble.wrong, trouble.title) == (wrong, "odd resolution")
  assert re.search(rf"{0.25 * factor:g} microns.*would be {seen} microns", trouble.text)


def test_a_resolution_that_nobody_says(good):
  (trouble,) = found([slides.changed(s, mpp=None) for s in good])
  assert (trouble.wrong, trouble.title) == (False, "unknown resolution")
  assert "as is usual" in trouble.text
  small = [
    Sample(s.name, s.organ, s.patient, None, s.image[::3, ::3], s.centers / 3)
    for s in good
  ]
  (trouble,) = found(small)
  assert (trouble.wrong, trouble.title) == (True, "odd resolution")


def disturbed(sample, turn):
  """The picture turned or mirrored, darker and with noise, and without centres."""
  turned = np.ascontiguousarray(turn(sample.image))
  noise = np.random.default_rng(0).normal(-8, 6, turned.shape)
  image = np.clip(turned + noise, 0, 255).astype(np.uint8)
  nothing = np.zeros((0, 2), np.float32)
  return slides.changed(sample, name="z", patient="of z", image=image, centers=nothing)


@pytest.mark.parametrize(
  ("turn", "how"),
  [
    (lambda image: image, "and z: "),
    (np.rot90, "and z, turned by 90°: "),
    (lambda image: image[:, ::-1], "and z, mirrored: "),
  ],
)
def test_a_copy_of_an_image_with_another_patient(good, turn, how):
  copy = disturbed(good[0], turn)
  _, copies = found([*good, copy])
  assert copies.wrong
  assert "1 pair of images (a and z) are nearly the same picture" in copies.text
  (suspect,) = copies.suspects
  assert (suspect.name, suspect.beside) == ("a", "z")
  part = "(train|validation|test) part"
  expected = f"{how}patient of a, {part} and patient of z, {part}."
  assert re.fullmatch(expected, suspect.caption)
  same = slides.changed(copy, patient="of a")
  assert ("copies of images", False) in kinds([*good, same])


def test_patients_whose_names_look_the_same(good):
  names = ["P 1", "p1", "Müller", "Mu\u0308ller ", "x", "y"]
  samples = [
    slides.changed(s, patient=name) for s, name in zip(good, names, strict=True)
  ]
  (trouble,) = found(samples)
  assert trouble.wrong
  assert "2 patients under several names" in trouble.text
  assert "'P 1' and 'p1'" in trouble.text


def test_too_few_patients_to_split(good):
  (trouble,) = found([slides.changed(sample, patient="one") for sample in good])
  # `micronet finetune` trains on them.
  assert (trouble.title, trouble.wrong) == ("few to split", False)
  assert "1 patient(s) cannot fill" in trouble.text
  assert "finetune` does" in trouble.text
  assert ("cannot be split", True) in kinds([])


# What is odd, and grave if there is much of it.


@pytest.mark.parametrize(("count", "wrong"), [(1, False), (9, True)])
def test_centres_that_are_marked_twice(good, count, wrong):
  twice = np.concatenate([good[2].centers, good[2].centers[:count] + 1.5])
  samples = [*good[:2], slides.changed(good[2], centers=twice), *good[3:]]
  (trouble,) = found(samples)
  assert (trouble.wrong, trouble.title) == (wrong, "centres too close")
  (suspect,) = trouble.suspects
  assert suspect.name == "c"
  for middle in good[2].centers[:count] + 0.75:
    assert np.abs(suspect.marked - middle).max(axis=1).min() < 1e-4


@pytest.mark.parametrize(("count", "wrong"), [(1, False), (4, True)])
def test_centres_on_background(good, count, wrong):
  samples = list(good)
  for i in range(count):
    centers = np.concatenate([good[i].centers, np.array([[12, 15]], np.float32)])
    samples[i] = slides.changed(good[i], centers=centers)
  (trouble,) = found(samples)
  assert (trouble.wrong, trouble.title) == (wrong, "centres on background")
  assert [suspect.name for suspect in trouble.suspects] == list(NAMES[:count])
  assert trouble.suspects[0].marked.tolist() == [[12, 15]]


@pytest.mark.parametrize("shape", [(1, 1), (100, 80), (12, 12)])
def test_images_with_nothing_to_see(good, shape):
  nothing = np.zeros((0, 2), np.float32)
  image = np.full((*shape, 3), 240, np.uint8)
  if shape == (12, 12):
    image[:6] = 90
  blank = slides.changed(good[0], name="z", image=image, centers=nothing)
  assert ("nothing to see", False) in kinds([*good, blank])
  marked = slides.changed(blank, centers=np.zeros((1, 2), np.float32))
  assert ("nothing to see", True) in kinds([*good, marked])


def test_images_without_nuclei(good):
  nothing = np.zeros((0, 2), np.float32)
  empty = [slides.changed(sample, centers=nothing) for sample in good]
  assert kinds([empty[0], *good[1:]]) == {("no nuclei", False)}
  assert kinds(empty) == {("no nuclei", True)}


@pytest.mark.parametrize("other", ["fluorescence", "grey", "green"])
def test_other_stains_are_said_not_to_tell(good, other):
  image = good[0].image
  changed = {
    "fluorescence": 255 - image,
    "grey": np.repeat(image[..., :1], 3, -1),
    "green": image[..., [1, 0, 2]],
  }[other]
  assert not stain.shows_h_and_e(changed)
  wrong = swapped(slides.changed(good[0], image=changed), None)
  assert kinds([wrong, *good[1:]]) == {("no H&E", False)}


def test_a_part_of_a_large_image_is_looked_at(good, monkeypatch):
  """Where the centres are, and where they would be after swapping."""
  image = np.tile(good[0].image, (2, 4, 1))
  centers = good[0].centers + np.float32([slides.SIDE, 3 * slides.SIDE])
  monkeypatch.setattr(stain, "_LARGEST", slides.SIDE)
  large = slides.changed(good[0], image=image, centers=centers)
  evidence = stain.examine_stain(large)
  assert evidence.score > 10
  moved = slides.changed(large, centers=centers + np.float32([-40, 0]))
  assert np.abs(np.subtract(stain.examine_stain(moved).shift, (40, 0))).max() <= 2


# Faults of files.


def write(root, samples):
  tissue.write_folder(root, samples)
  return root


def test_all_faults_of_files_are_listed(good, tmp_path, capsys):
  root = write(tmp_path / "mine", good)
  points = root / "points"
  text = (points / "a.csv").read_text()
  (points / "a.csv").write_text(text + "4,l2\n500,3\n5,5,5\n7,nan\n")
  (points / "b.csv").unlink()
  (points / "stray.csv").write_text("x,y\n")
  (root / "images/c.png").write_bytes((root / "images/c.png").read_bytes()[:900])
  index = (root / "index.csv").read_text().replace("d,kidney,of d,0.25", "d,k,of d,7")
  index = index.replace(",patient,", ",patient_id,")
  (root / "index.csv").write_text(index + "ghost,kidney,p,0.25\n")
  sheet = tmp_path / "sheet.html"
  assert cli.main(["check", str(root), "-o", str(sheet)]) == 1
  printed = capsys.readouterr()
  assert printed.err == ""
  faults = [line for line in printed.out.splitlines() if "cannot be read: " in line]
  for part in (
    *("line 42: field y must be a finite number, but it is 'l2'", "x=500"),
    *("line 44: there are 3 fields", "line 45: field y", "b.png has no annotation"),
    *("stray.csv belongs to no image", "c.png cannot be read as an image"),
    *("line 5: field mpp must be within", "line 8: field name is 'ghost'"),
    "line 1: the column patient_id seems to say patient",
  ):
    assert sum(part in line for line in faults) == 1, part
  assert len(faults) == 10
  assert all(line.startswith("WRONG ") for line in faults)
  page = sheet.read_text()
  assert all(part in page for part in ("stray.csv", "x=500", "ghost"))
  with pytest.raises(InputError):  # training reads nothing of it
    load_samples("folder", root=root, data_dir=tmp_path / "tfds")


def test_a_point_that_repeats_another_is_told(good, tmp_path, capsys):
  root = write(tmp_path / "mine", good)
  with (root / "points/a.csv").open("a") as file:
    file.write((root / "points/a.csv").read_text().splitlines()[1] + "\n")
  assert cli.main(["check", str(root), "-o", str(tmp_path / "sheet.html")]) == 0
  assert "a.csv: nuclei read: 40; left out: 1 that repeat" in capsys.readouterr().out


# The doors and the sheet.


class _Page(html.parser.HTMLParser):
  def __init__(self, text):
    super().__init__()
    self.tags, self.links, self.open = [], [], []
    self.feed(text)

  def handle_starttag(self, tag, attributes):
    self.tags.append(tag)
    self.links += [v for k, v in attributes if k in ("href", "src", "xlink:href")]
    if tag not in ("meta", "image", "path", "circle"):
      self.open.append(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_startendtag(self, tag, attributes):
    self.handle_starttag(tag, attributes)


def test_the_sheet_is_one_file_that_shows_the_suspects(good, tmp_path, capsys):
  name = "<i>b & 'c\""
  samples = [swapped(slides.changed(good[0], name=name), None), *good[1:]]
  double = np.concatenate([good[3].centers, good[3].centers[:3] + 1])
  samples[3] = slides.changed(good[3], centers=double)
  root = write(tmp_path / "mine & yours", samples)
  index = (root / "index.csv").read_text()
  quoted = index.replace(name, '"<i>b & \'c"""')
  (root / "index.csv").write_text(quoted)
  sheet = tmp_path / "sheet.html"
  assert cli.main(["check", str(root), "-o", str(sheet)]) == 1
  text = sheet.read_text()
  page = _Page(text)
  assert page.open == []
  assert "i" not in page.tags
  assert "script" not in page.tags
  assert page.tags.count("svg") == 3  # the swapped one, two close-ups of a pair each
  assert all(link.startswith("data:image/jpeg;base64,") for link in page.links)
  assert "&lt;i&gt;b &amp; &#x27;c&quot;" in text
  assert "mine &amp; yours" in text
  last = capsys.readouterr().out.splitlines()[-1]
  assert last.endswith("(exit status 1)")
  assert last in text
  assert cli.main(["check", str(root), "-o", str(sheet)]) == 1  # is replaced


def test_other_files_are_not_replaced(good, tmp_path, capsys):
  mine = tmp_path / "mine.html"
  mine.write_text("<!doctype html>mine")
  root = write(tmp_path / "mine", good)
  assert cli.main(["check", str(root), "-o", str(mine)]) == 1
  assert "is not replaced" in capsys.readouterr().err
  assert mine.read_text() == "<!doctype html>mine"
  assert cli.main(["check", str(tmp_path / "none"), "-o", str(tmp_path / "s")]) == 1
  assert "there is no folder" in capsys.readouterr().err


def test_both_doors_say_the_same(good, tmp_path, capsys):
  root = write(tmp_path / "mine", good)
  assert cli.main(["check", str(root), "-o", str(tmp_path / "sheet.html")]) == 0
  printed = capsys.readouterr().out.splitlines()
  command = [sys.executable, str(ROOT / "launch.py"), "--workdir=run"]
  command += [f"--config={ROOT}/configs/check_data.py"]
  run = subprocess.run(
    [*command, f"--config.target.root={root}"],
    cwd=tmp_path,
    env=os.environ | {"PYTHONPATH": str(ROOT)},
    capture_output=True,
    text=True,
  )
  assert (run.returncode, run.stderr) == (0, "")
  assert run.stdout.splitlines()[-1] == printed[-1]
  assert printed[-1] == (
    "nothing to stop training or make a number wrong, 0 remarks (exit status 0)"
  )
  sheets = [tmp_path / "sheet.html", tmp_path / "run/check.html"]
  assert sheets[0].read_bytes() == sheets[1].read_bytes()


# Real tissue.

SETS = ("nuinsseg", "monuseg", "gbm40", "mbm", "crchisto", "dsb2018")


@pytest.mark.parametrize("name", SETS)
def test_real_tissue(real_data, name):
  """A few images: nothing wrong as they are, and every injected fault is found."""
  rows = np.genfromtxt(
    real_data / name / "index.csv", delimiter=",", dtype=str, skip_header=1
  )
  many = rows[rows[:, -1].astype(int) >= 30]
  samples = [real_sample(real_data / name, *row[:4]) for row in many[:: len(many) // 8]]
  assert not any(trouble.wrong for trouble in found(samples))
  for spoil, title in (
    (swapped, "x and y swapped"),
    (lambda s, _: placed(s, s.centers + np.array([0, 40])), "centres shifted"),
  ):
    spoilt = [spoil(sample, None) for sample in samples]
    trouble = next(each for each in found(spoilt) if each.title == title)
    assert len(trouble.suspects) >= 0.9 * len(samples)
  for factor in (0.5, 2.5):  # of single organs, twice is not always odd
    other = [slides.changed(s, mpp=(s.mpp or 0.25) * factor) for s in samples]
    assert any(trouble.title == "odd resolution" for trouble in found(other))


def real_sample(root, name, organ, patient, mpp):
  (path,) = (root / "images").glob(f"{name}.*")
  x, y = np.loadtxt(
    root / "points" / f"{name}.csv", delimiter=",", skiprows=1, ndmin=2
  ).T
  image = np.asarray(PIL.Image.open(path).convert("RGB"))
  centers = np.column_stack([y, x]).astype(np.float32)
  return Sample(name, organ, patient, float(mpp) if mpp else None, image, centers)
