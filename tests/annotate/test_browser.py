"""The page in a real browser: look, detect, correct, save, two tabs, keys, leave."""

import csv
import time

import numpy as np
import pytest
from serving import save_image, serving

from micronet_jax.datasets import load_samples
from micronet_jax.datasets.synthetic_he.generator import generate

expect = pytest.importorskip("playwright.sync_api").expect  # asks again and again

SIDE = 256
WAIT = 200  # seconds, where much else runs


class Tab:
  """One tab, and what a person can tell of it."""

  def __init__(self, browser, url, *, width=1280, height=800):
    self.page = browser.new_page(viewport={"width": width, "height": height})
    self.faults = []
    self.page.on("pageerror", lambda error: self.faults.append(str(error)))
    self.page.on("console", self._note)
    self.page.goto(url)
    self.shown("")

  def shown(self, name):
    """Waits until an image whose name begins so is there, with its points."""
    self.until(
      "() => window.micronet?.viewer.osd.world.getItemCount() > 0"
      f" && window.micronet.page.model?.name.startsWith('{name}')"
    )

  def _note(self, message):
    if message.type == "error" and "409" not in message.text:
      self.faults.append(message.text)

  def until(self, code):
    """Asks again and again: the page's policy lets nobody evaluate within it."""
    end = time.monotonic() + WAIT
    while not (value := self.page.evaluate(code)):
      assert time.monotonic() < end, (code, self.faults)
      time.sleep(0.05)
    return value

  def settled(self):
    self.until("() => !window.micronet.saving.waiting")

  def counts(self, number):
    """The page says so many nuclei, at the latest when it has been drawn again."""
    expect(self.page.locator("#count")).to_have_text(f"{number:,}")

  def screen(self, x, y):
    """Where a place on the image is on the screen."""
    box = self.page.locator("#viewer").bounding_box()
    frame = self.page.evaluate("() => window.micronet.viewer.frame()")
    return (
      box["x"] + (x - frame["left"]) * frame["scale"],
      box["y"] + (y - frame["top"]) * frame["scale"],
    )

  def detected(self):
    """Places and scores of the detections that are shown."""
    return np.array(
      self.page.evaluate(
        """() => { const m = window.micronet.page.model, all = [];
        for (let i = 0; i < m.found.size; i++)
          if (m.shown(i)) all.push([m.found.x[i], m.found.y[i], m.found.score[i]]);
        return all; }"""
      )
    ).reshape(-1, 3)

  def press(self, *keys):
    for key in keys:
      self.page.keyboard.press(key)
    time.sleep(0.5)  # the image moves for a moment


def points(root, name="one"):
  with (root / "points" / f"{name}.csv").open() as file:
    return {(float(row["x"]), float(row["y"])) for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
  root = tmp_path_factory.mktemp("biopsies")
  for number, name in enumerate(("one", "two <img src=x onerror=alert(1)>")):
    save_image(root / f"{name}.png", generate("breast", number, size=SIDE)[0])
  with serving(root) as running:
    running.root = root
    yield running


@pytest.fixture
def tab(browser, server):
  opened = Tab(browser, server.url)
  yield opened
  opened.page.close()
  assert opened.faults == []


def test_a_person_detects_corrects_and_takes_the_result_away(tab, server, browser):
  root, page = server.root, tab.page
  tab.until("() => (m => m.search.total && m.search.done === m.search.total)"
            "(window.micronet.page.model)")  # fmt: skip
  tab.until("() => window.micronet.page.state.images[0].state === 'detected'")
  before = tab.detected()
  assert len(before) > 5
  tab.counts(len(before))
  assert not (root / "points").exists()  # looking writes nothing of the user's

  # The slider acts at once, and tells apart by score.
  page.keyboard.press("]")
  own = page.evaluate("() => window.micronet.page.model.networkThreshold")
  tab.until("() => window.micronet.page.state.threshold !== null")
  chosen = page.evaluate("() => window.micronet.page.state.threshold")
  assert chosen == pytest.approx(own + 0.01, abs=0.00501)  # in hundredths
  tab.counts((before[:, 2] >= np.float32(chosen)).sum())
  page.click("#threshold-reset")
  tab.until("() => (m => m.threshold === m.networkThreshold)"
            "(window.micronet.page.model)")  # fmt: skip
  tab.counts(len(before))

  # A click adds, where nothing is near; a right click removes; drag moves.
  free = next(
    place
    for place in np.random.default_rng(0).uniform(20, SIDE - 20, (500, 2))
    if np.hypot(*(before[:, :2] - place).T).min() > 16
  )
  page.mouse.click(*tab.screen(*free))
  tab.settled()
  [added] = points(root)
  assert np.hypot(*(np.array(added) - free)) < 1
  tab.counts(len(before) + 1)

  inner = before[((before[:, :2] > 20) & (before[:, :2] < SIDE - 20)).all(1), :2]
  gone, moved = inner[0], inner[1]
  page.mouse.click(*tab.screen(*gone), button="right")
  tab.settled()
  tab.counts(len(before))

  page.mouse.move(*tab.screen(*moved))
  page.mouse.down()
  page.mouse.move(*tab.screen(*(moved + 3)), steps=3)
  page.mouse.move(*tab.screen(*(moved + 9)), steps=3)
  page.mouse.up()
  tab.settled()
  tab.counts(len(before))
  assert any(np.hypot(*(np.array(each) - moved - 9)) < 1.5 for each in points(root))

  # Undo takes the move back, redo does it again.
  page.keyboard.press("z")
  tab.settled()
  assert points(root) == {added}
  page.keyboard.press("Shift+Z")
  tab.settled()
  assert len(points(root)) == 2

  # All in view is marked: what is shown becomes points that are confirmed.
  page.keyboard.press("w")
  tab.until("() => window.micronet.page.model.regions.length")
  tab.settled()
  assert tab.detected().size == 0
  assert len(points(root)) == len(before)
  tab.counts(len(before))
  region = (root / "regions/one.csv").read_text().split()
  assert region == ["x,y,width,height", f"0,0,{SIDE},{SIDE}"]

  # Who comes back finds it so; the other image says nothing of itself in HTML.
  again = Tab(browser, server.url)
  again.until("() => window.micronet.page.model?.own.alive > 0")
  again.counts(len(before))
  names = ["one", "two <img src=x onerror=alert(1)>"]
  expect(again.page.locator("#images .name")).to_have_text(names)
  expect(again.page.locator("#images img")).to_have_count(2)
  again.page.close()

  with page.expect_download() as download:
    page.click("#csv")
  lines = download.value.path().read_text().split()
  assert lines[0] == "x,y,score"
  assert len(lines) == len(before) + 1
  [sample] = load_samples("folder", root=root, data_dir=root.parent / "tfds")
  assert len(sample.centers) == len(before)
  np.testing.assert_array_equal(
    sorted(map(tuple, sample.centers[:, ::-1].tolist())),
    sorted(map(tuple, np.array(sorted(points(root)), np.float32).tolist())),
  )


def test_a_second_tab_with_an_older_state_is_refused_and_told_so(tab, server, browser):
  other = Tab(browser, server.url)
  for each in (tab, other):
    each.press("n")
    each.shown("two")
  tab.page.mouse.click(*tab.screen(40.2, 50.4))
  tab.settled()
  [path] = (server.root / "points").glob("two*")
  saved = path.read_text()
  other.page.mouse.click(*other.screen(90, 90))
  other.until("() => !document.getElementById('banner').hidden")
  expect(other.page.locator("#banner")).to_contain_text("another tab")
  assert path.read_text() == saved
  # The point that was refused is one too, until what is on disk has been loaded.
  other.page.evaluate("() => { window.micronet.page.model.before = true; }")
  other.page.click("#banner button")
  loaded = "model && !model.before && model.own.alive === 1"
  other.until(f"() => {{ const model = window.micronet.page.model; return {loaded}; }}")
  other.page.mouse.click(*other.screen(90, 90))
  other.settled()
  assert len(path.read_text().split()) == 3
  other.page.close()


def test_the_keyboard_alone_does_all(tab, server):
  tab.press("n")
  tab.shown("two")
  tab.press("h", "h", "+", "+")
  center = "() => window.micronet.viewer.center()"
  before = tab.page.evaluate(center)
  tab.press("ArrowRight", "ArrowDown")
  for axis in (0, 1):
    tab.until(f"() => ({center})()[{axis}] > {before[axis] + 3}")
  mine = "() => window.micronet.page.model?.own.alive"
  had = tab.page.evaluate(mine)
  for _ in range(6):  # wherever there is none yet
    tab.press("a")
    if tab.page.evaluate(mine) > had:
      break
    tab.press("ArrowLeft")
  assert tab.page.evaluate(mine) == had + 1
  tab.press("m", "Shift+ArrowLeft", "Shift+ArrowLeft", "m")  # carried to the left
  assert tab.page.evaluate(mine) == had + 1
  tab.press("Delete")
  assert tab.page.evaluate(mine) == had
  tab.until("() => (m => m.network && m.search.done === m.search.total)"
            "(window.micronet.page.model)")  # fmt: skip
  tab.press("r", "ArrowRight", "ArrowDown", "r")
  tab.until("() => window.micronet.page.model.regions.length === 1")
  tab.press("z")
  assert tab.page.evaluate("() => window.micronet.page.model.regions") == []
  tab.settled()
  tab.press("?")
  expect(tab.page.locator("#help")).to_be_visible()
  tab.press("Escape")
  tab.press("p")
  tab.shown("one")
