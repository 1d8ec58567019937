"""A page of results: what it holds, what it says, and that it asks for nothing."""

import base64
import hashlib
import html.parser
import json
import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from overlaying import MANY, tissue

from micronet_jax.predict import density, page, summary
from micronet_jax.predict.page.distances import nearest_distances
from micronet_jax.predict.page.histograms import draw_histogram

SHAPE = (300, 400)
NAME = "<!--<script>alert(1)<b>&\"'{{data}}.png"


def nuclei(count, *, shape=SHAPE, seed=0):
  """Centres from top to bottom, as a journal gives them, and scores."""
  random = np.random.default_rng(seed)
  centers = np.round(random.uniform(0, np.array(shape) - 1, (count, 2)), 2)
  centers = centers[np.lexsort([centers[:, 1], centers[:, 0]])]
  return centers, random.uniform(0.4, 1.0, count).astype(np.float32)


def write(path, centers, scores, *, shape=SHAPE, mpp=0.5, name="a.png", regions=()):
  """A page of a result as the predict job makes it; at half the resolution."""
  chunks = [
    (centers[i : i + 37], scores[i : i + 37]) for i in range(0, len(centers), 37)
  ]
  boxes = [(r["y"], r["x"], r["y"] + r["height"], r["x"] + r["width"]) for r in regions]
  grid = density.density_grid(shape, mpp=mpp, regions=boxes)
  counted = [*grid.counted(chunks)]
  result = summary.summarise(
    name=f"/home/somebody/{name}",
    shape=shape,
    mpp=mpp,
    count=len(scores),
    regions=regions,
    seconds=1.0,
    threshold=0.4,
    weights="/home/somebody/runs/mine",
    threshold_rule="absolute",
    working_mpp=0.5,
    settings={"file": name, "weights": "0123abcd", "threshold": None},
  )
  picture = tissue(shape[0] // 2, shape[1] // 2)
  page.write_page(path, counted, result=result, picture=picture, density=grid)
  return Parsed(path)


class Parsed(html.parser.HTMLParser):
  """A page as browsers see it: elements with attributes, and the text in each."""

  def __init__(self, path):
    super().__init__()
    self.elements, self._open = [], []
    self.feed(path.read_text("utf-8"))

  def handle_starttag(self, tag, attributes):
    self.elements.append((tag, dict(attributes), []))
    if tag not in ("meta", "img", "input", "br", "path"):
      self._open.append(self.elements[-1])

  def handle_endtag(self, tag):
    while self._open and self._open.pop()[0] != tag:
      pass

  def handle_data(self, text):
    for element in self._open:
      element[2].append(text)

  def texts(self, tag, **attributes):
    return [
      "".join(text)
      for name, given, text in self.elements
      if name == tag and attributes.items() <= given.items()
    ]

  @property
  def data(self):
    return json.loads(self.texts("script", id="data")[0])

  @property
  def points(self):
    """Float32 `[N, 3]` of x, y, score."""
    points = self.data["points"]
    numbers = np.frombuffer(base64.b64decode(points["base64"]), "<f4")
    return numbers.reshape(3, points["count"]).T


def test_a_page_holds_the_nuclei_and_says_how_many_there_are(tmp_path):
  centers, scores = nuclei(1234)
  found = write(tmp_path / "a.html", centers, scores)
  expected = np.column_stack([centers[:, ::-1], scores]).astype(np.float32)
  np.testing.assert_array_equal(found.points, expected)
  assert found.texts("title") == ["a.png: 1,234 nuclei"]
  head = " ".join(found.texts("li"))
  # 300 x 400 pixels of 0.5 microns are 0.15 mm x 0.2 mm.
  assert "1,234nuclei" in head
  assert f"{1234 / 0.03:,.0f}per mm² of image" in head
  assert f"{np.median(scores):.2f}median score" in head
  shown = found.texts("p", **{"class": "note"})[0]
  assert "200 × 150 pixels, as JPEG, of an image of 400 × 300" in shown
  assert "one of its pixels is 2 of the image's, 1 µm" in shown
  assert "All 1,234 nuclei are drawn" in shown
  again = write(tmp_path / "b.html", centers, scores)
  assert again.elements == found.elements  # equal results, equal pages


def test_the_density_of_a_page_says_what_was_not_searched(tmp_path):
  region = {"x": 0, "y": 0, "width": 200, "height": 300, "nuclei": 2}
  centers = np.array([(10.0, 10), (20, 20)])
  scores = np.ones(2, np.float32)
  found = write(tmp_path / "a.html", centers, scores, mpp=None, regions=[region])
  cells = found.data["density"]
  values = np.array(cells["values"], float).reshape(cells["rows"], cells["columns"])
  assert (cells["rows"], cells["columns"]) == (4, 5)  # 75 x 80 pixels each
  np.testing.assert_array_equal(np.isnan(values), [[False] * 3 + [True] * 2] * 4)
  assert values[0, 0] == cells["most"] == round(2e4 / (75 * 80), 1)
  assert found.texts("span", id="bare") == [
    "; in full colour: not searched, or less than half"
  ]
  whole = write(tmp_path / "b.html", centers, scores).data["density"]
  assert None not in whole["values"]


def test_of_very_many_nuclei_some_are_drawn_and_all_are_counted(tmp_path, monkeypatch):
  centers, scores = nuclei(999)
  whole = write(tmp_path / "whole.html", centers, scores)
  monkeypatch.setattr(page, "MOST_DRAWN", 100)
  some = write(tmp_path / "some.html", centers, scores)
  every = {tuple(point) for point in whole.points}
  assert len(some.points) == 100
  assert {tuple(point) for point in some.points} < every
  places = np.searchsorted(whole.points[:, 1], some.points[:, 1])
  assert np.diff(places).max() < 30  # evenly: about every tenth
  assert "Of 999 nuclei 100 are drawn" in some.texts("p", **{"class": "note"})[0]
  assert some.texts("svg") == whole.texts("svg")
  assert some.texts("li") == whole.texts("li")
  assert some.data["nuclei"] == 999


def test_a_page_asks_for_nothing_and_runs_only_its_script(tmp_path):
  regions = [{"x": 0, "y": 0, "width": 10, "height": 20, "nuclei": 1}]
  found = write(tmp_path / "a.html", *nuclei(50), name=NAME, regions=regions)
  for tag, attributes, _ in found.elements:
    assert tag not in ("a", "link", "iframe", "object", "embed", "form", "base")
    assert not any(name.startswith("on") or name == "style" for name in attributes)
    assert not attributes.keys() & {"href", "srcset", "action", "data", "poster"}
    assert attributes.get("src", "data:").startswith("data:")
  (policy,) = [
    given["content"]
    for tag, given, _ in found.elements
    if given.get("http-equiv") == "Content-Security-Policy"
  ]
  assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
  assert "unsafe" not in policy
  data, script = found.texts("script")
  for text in (script, *found.texts("style")):
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy
    assert not re.search(r"https?:|//[a-z]|url\(|@import|import\(|fetch|XMLHttp", text)
    assert "innerHTML" not in text
  assert not set("<>&") & set(data)


def test_names_are_text_and_no_place_of_the_disk_is_told(tmp_path):
  found = write(tmp_path / "a.html", *nuclei(50), name=NAME)
  assert found.texts("h1") == [NAME]
  assert NAME in found.texts("table", **{"class": "settings"})[0]
  assert len(found.texts("script")) == 2
  assert "somebody" not in (tmp_path / "a.html").read_text("utf-8")
  odd = write(tmp_path / "b.html", *nuclei(5), name="a\udcff.png")  # no UTF-8
  assert odd.texts("h1") == ["a?.png"]


def test_regions_are_counted_one_by_one_and_together(tmp_path):
  regions = [
    {"x": 0, "y": 0, "width": 100, "height": 200, "nuclei": 20},
    {"x": 200, "y": 0, "width": 100, "height": 100, "nuclei": 30},
  ]
  found = write(tmp_path / "a.html", *nuclei(50), regions=regions)
  head, first, second, both = found.texts("tr")[:4]
  assert head == "partnucleiper mm²mm²"
  # 100 x 200 pixels of 0.5 microns are 0.005 mm².
  assert first == "1100 × 200 pxx 0, y 0204,0000.005"
  assert second == "2100 × 100 pxx 200, y 03012,0000.0025"
  assert both == f"all regions50{50 / 0.0075:,.0f}0.0075"
  assert found.data["regions"][1] == {"x": 200, "y": 0, "width": 100, "height": 100}


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("mpp", [None, 0.25])
def test_few_nuclei_and_no_resolution(tmp_path, count, mpp):
  found = write(tmp_path / "a.html", *nuclei(count), mpp=mpp)
  assert found.texts("h1") == ["a.png"]
  assert len(found.points) == count
  if count == 1:
    unit = "400 px" if mpp is None else "100 µm"
    assert f"over {unit}median distance" in " ".join(found.texts("li"))
  if mpp is None:
    assert "mm²––" not in " ".join(found.texts("li"))
    assert "–" in found.texts("table")[0]


# --- Distances and bars --------------------------------------------------------------


@MANY
@given(
  st.integers(0, 60), st.integers(1, 60), st.floats(0.5, 80.0), st.integers(0, 1000)
)
@example(40, 1, 5.0, 0)
def test_distances_against_all_pairs(count, size, reach, seed):
  centers, _ = nuclei(count, shape=(90, 40), seed=seed)
  parts = [centers[i : i + size] for i in range(0, count, size)]
  found = [*nearest_distances(parts, reach=reach)]
  between = np.hypot(*(centers[:, None] - centers).transpose(2, 0, 1))
  np.fill_diagonal(between, np.inf)
  expected = between.min(axis=1, initial=np.inf)
  expected[expected >= reach] = np.inf
  np.testing.assert_allclose(np.concatenate([[], *found]), expected, rtol=1e-6)


def test_distances_hold_a_band_of_the_image_only():
  """Of 40 rows 1 apart with a reach of 2, what is searched at once is a few rows."""
  rows = [np.column_stack([np.full(9, y), np.arange(9.0)]) for y in range(40)]
  sizes = [len(part) for part in nearest_distances(rows, reach=2.0)]
  assert sum(sizes) == 360
  assert max(sizes) <= 4 * 9


def test_bars_are_as_high_as_numpy_counts():
  values = np.array([0.1, 0.1, 0.3, 0.9, 0.9, 0.9, 0.9, 7.0])
  drawn = draw_histogram(values, np.linspace(0, 1, 5), axis="a < b")
  (path,) = re.findall(r'class="bars" d="([^"]*)"', drawn)
  bars = re.findall(r"M([\d.]+) ([\d.]+)V([\d.]+)h([\d.]+)V", path)
  heights = [float(base) - float(top) for _, base, top, _ in bars]
  np.testing.assert_allclose(np.array(heights) / max(heights), [0.5, 0.25, 1.0])
  lefts = np.array([float(x) for x, *_ in bars])
  np.testing.assert_allclose((lefts - lefts[0]) / float(bars[0][3]), [0, 1, 3])
  assert "median 0.9" in drawn
  assert "a &lt; b: 8 nuclei" in drawn


# --- In a browser --------------------------------------------------------------------


def test_a_browser_shows_all_nuclei(tmp_path, browser):
  """Its script runs under its policy: what it counts replaces the plain picture."""
  write(tmp_path / "a.html", *nuclei(7000), name=NAME)
  shown = browser.new_page(viewport={"width": 1280, "height": 900})
  shown.goto((tmp_path / "a.html").as_uri())
  shown.locator("#seen", has_text="7,000 in view · 233,333/mm²").wait_for()
  assert shown.inner_text("#scale") == "20 µm"  # 80 of 780 px for 200 µm
  assert shown.locator("#picture").is_hidden()
  assert shown.locator("#canvas").is_visible()
  shown.close()
