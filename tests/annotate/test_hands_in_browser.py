"""The page under a hand that slips, pans, slides, and undoes what is out of view."""

import contextlib

import numpy as np
import pytest
from serving import save_image, serving
from test_browser import Tab, expect
from test_mishaps_in_browser import Network

EDITS = "() => window.micronet.page.model.history.did.length"
FRAME = "() => window.micronet.viewer.frame()"
CENTER = "() => window.micronet.viewer.center()"
POINTS = np.array([(1500, 1000), (1560, 1000), (40, 30)])


@pytest.fixture
def opened(browser, folder):
  """A tab on a large image with three points, marked by hand, and no network."""
  rng = np.random.default_rng(0)
  coarse = rng.integers(0, 256, (20, 30, 3), np.uint8)
  save_image(folder / "0.png", np.kron(coarse, np.ones((100, 100, 1), np.uint8)))
  for kind, text in (("points", "x,y\n"), ("regions", "x,y,width,height\n")):
    (folder / kind).mkdir()
    lines = [f"{x},{y}\n" for x, y in POINTS if kind == "points"]
    (folder / kind / "0.csv").write_text(text + "".join(lines))
  with contextlib.ExitStack() as stack:
    server = stack.enter_context(serving(folder, "nowhere"))
    tab = Tab(browser, server.url)
    tab.folder = folder
    tab.shown("0")
    yield tab
    tab.page.close()
    assert tab.faults == []


def own(tab):
  """The points of the person, in the order in which they were made."""
  return np.array(
    tab.page.evaluate(
      "() => (({x, y, there, size}) => [...x.slice(0, size)].map((x, i) => [x, y[i]])"
      ".filter((_, i) => there[i]))(window.micronet.page.model.own)"
    )
  )


def at_one(tab, place):
  """A pixel of the image is one of the screen, and a place is in the middle."""
  box = [*(np.array(place) - 100), 200, 200]
  tab.page.evaluate(f"() => window.micronet.viewer.show({[*map(float, box)]})")
  tab.press()
  tab.press("1")
  tab.until(f"() => Math.abs(({FRAME})().scale - 1) < 1e-3")


def drag(tab, place, *moves):
  """Presses on a place of the image, and lets go after moves in px of the screen."""
  x, y = tab.screen(*place)
  tab.page.mouse.move(x, y)
  tab.page.mouse.down()
  for dx, dy in moves:
    tab.page.mouse.move(x + dx, y + dy, steps=3)
  tab.page.mouse.up()
  tab.press()
  tab.settled()


def test_a_pan_of_the_whole_image_moves_no_nucleus(opened):
  opened.press("f")
  assert opened.page.evaluate(FRAME)["scale"] < 0.5
  before = opened.page.evaluate(CENTER)
  drag(opened, POINTS[0] + 1, (-60, 0))
  assert opened.page.evaluate(EDITS) == 0
  opened.until(f"() => ({CENTER})()[0] > {before[0] + 20}")
  np.testing.assert_array_equal(own(opened), POINTS)


def test_a_hand_that_slips_chooses_or_adds_where_it_pressed(opened):
  at_one(opened, POINTS[0])
  for slip in ((2, 0), (-2, 2), (4, 0)):
    drag(opened, POINTS[0] + [5, 0], slip)  # chooses
    assert opened.page.evaluate(EDITS) == 0
    assert opened.page.evaluate("() => window.micronet.page.look.chosen.i") == 0
  drag(opened, POINTS[0] + [0, 100], (3, 0))
  np.testing.assert_allclose(own(opened)[3:], [POINTS[0] + [0, 100]], atol=0.51)


@pytest.mark.parametrize("zooms", [0, 2])
def test_a_drag_moves_a_nucleus_by_as_much_wherever_it_was_held(opened, zooms):
  at_one(opened, POINTS[0])
  opened.press(*"+" * zooms)
  scale = opened.page.evaluate(FRAME)["scale"]
  hold = np.array([6, -4]) / scale
  drag(opened, POINTS[0] + hold, (30, 0), (30, 12))
  want = POINTS[0] + np.array([30, 12]) / scale
  np.testing.assert_allclose(own(opened)[-1], want, atol=0.011)
  assert opened.page.evaluate(EDITS) == 1
  # Away and back by less than a slip from where it was held: it is put down, no more.
  drag(opened, want, (40, 0), (3, 0))
  np.testing.assert_allclose(
    own(opened)[-1], want + np.array([3 / scale, 0]), atol=0.021
  )
  assert len(own(opened)) == 3


def test_an_image_without_a_line_in_index_csv_is_said_before_fine_tuning(opened):
  opened.until("() => window.micronet.page.state.detection.failed.length")  # no network
  opened.press("w")
  opened.until("() => window.micronet.page.model.regions.length === 1")
  button = opened.page.locator("#tune-begin")
  expect(button).to_be_enabled()
  (opened.folder / "index.csv").write_text("name,mpp\na,0.5\n")
  expect(opened.page.locator("#tune-index")).to_contain_text("no line for 0;")
  expect(button).to_be_disabled()
  (opened.folder / "index.csv").write_text("name,mpp\na,0.5\n0,\n")
  expect(opened.page.locator("#tune-index")).to_be_hidden()
  expect(button).to_be_enabled()


def test_after_the_slider_was_used_every_key_does_what_it_did(opened):
  page = opened.page
  Network(page).known = 40
  page.evaluate("() => window.micronet.page.refresh()")
  slider = page.locator("#threshold")
  expect(slider).to_be_enabled()
  box = slider.bounding_box()
  page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
  page.mouse.down()
  page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 200, steps=4)
  page.mouse.up()
  threshold = "() => window.micronet.page.state.threshold"
  opened.until(f"() => ({threshold})() !== null && !window.micronet.page.sliding")
  stored, center = page.evaluate(threshold), page.evaluate(CENTER)
  opened.press("+", "ArrowRight", "1")  # the image moves, the threshold does not
  opened.until(f"() => ({CENTER})()[0] > {center[0]}")
  assert page.evaluate(threshold) == stored
  # Who came by Tab slides by the arrows, and has all other keys too.
  slider.focus()
  opened.press("ArrowRight")
  opened.until(f"() => ({threshold})() !== {stored}")
  assert page.evaluate(threshold) == pytest.approx(stored + 0.01)
  at_one(opened, POINTS[0])
  slider.focus()
  opened.press("h")
  assert page.evaluate("() => window.micronet.page.look.hidden")
  opened.press("h", "a")
  assert "already" in page.inner_text("#toast")
  opened.press("Delete")
  assert len(own(opened)) == 2
  opened.press("z", "n")
  opened.shown("a")


def test_what_is_undone_out_of_view_comes_into_view(opened):
  at_one(opened, POINTS[0])
  drag(opened, POINTS[0], (30, 0))
  at_one(opened, (2700, 1800))
  opened.press("z")
  np.testing.assert_array_equal(np.sort(own(opened), 0), np.sort(POINTS, 0))
  x, y = POINTS[0] + [15, 0]
  opened.until(f"() => Math.hypot(({CENTER})()[0] - {x}, ({CENTER})()[1] - {y}) < 1")
  drag(opened, POINTS[0] + [0, 150], (0, 100))  # within the view nothing moves
  center = opened.page.evaluate(CENTER)
  opened.press("Shift+Z")
  assert opened.page.evaluate(CENTER) == center
  assert POINTS[0].tolist() not in own(opened).tolist()


def test_who_comes_back_to_an_image_undoes_what_was_done_there(opened):
  at_one(opened, POINTS[0])
  drag(opened, POINTS[0] + [0, 100])
  drag(opened, POINTS[0] + [0, 200])
  opened.press("z", "n")
  opened.shown("a")
  expect(opened.page.locator("#undo")).to_be_disabled()
  opened.press("p")
  opened.shown("0")
  opened.press("Shift+Z")
  assert len(own(opened)) == 5
  opened.press("z", "z")
  opened.settled()
  np.testing.assert_array_equal(own(opened), POINTS)
  lines = (opened.folder / "points/0.csv").read_text().split()[1:]
  assert len(lines) == len(POINTS)
  # Not if others changed it meanwhile.
  opened.press("n")
  opened.shown("a")
  (opened.folder / "points/0.csv").write_text("x,y\n1,2\n")
  opened.press("p")
  opened.shown("0")
  expect(opened.page.locator("#redo")).to_be_disabled()


def test_after_an_outage_the_image_is_shown(opened):
  page = opened.page
  page.route("**/api/**", lambda route: route.abort())
  opened.press("n")
  expect(page.locator("#empty")).to_contain_text("the server does not answer")
  page.unroute("**/api/**")
  opened.shown("a")
  expect(page.locator("#empty")).to_be_hidden()
  expect(page.locator("#banner")).to_be_hidden()
  # A page that was opened meanwhile shows an image too.
  page.route("**/api/**", lambda route: route.fulfill(status=503, body="busy"))
  page.reload()
  expect(page.locator("#banner")).to_contain_text("busy")
  page.unroute("**/api/**")
  opened.shown("a")
  opened.faults.clear()  # the browser's own lines on requests that failed


@pytest.mark.parametrize("before", [0.9, 1.0])
def test_a_result_on_regions_without_corrections_says_so(opened, before):
  def scores(f1):
    return {"radius_px": {"12": {"f1": f1, "precision": f1, "recall": f1}}}

  report = {"part": "test", "images": 2, "nuclei": 90, "detector": "fine-tuned"}
  report |= scores(0.98)
  report["compared"] = {
    "base": scores(before),
    "base, threshold re-chosen": scores(0.95),
  }
  tuning = {"state": "done", "run": "finetune-1", "folder": "runs/finetune-1",
            "command": "micronet finetune", "records": [], "steps": 9,
            "report": report, "pictures": []}  # fmt: skip

  def done(route):
    said = route.fetch().json()
    route.fulfill(json=said | {"tuning": tuning})

  opened.page.route("**/api/state", done)
  note = opened.page.locator("#use-note")
  expect(note).to_contain_text("the images are searched anew")
  said = "hold no correction" in note.inner_text()
  assert said == (before == 1)
  cells = opened.page.locator("#result-table th")
  boxes = [cells.nth(i).bounding_box() for i in range(4)]
  assert all(box["height"] < 25 for box in boxes)
  # "threshold re-chosen" breaks between its words, if at all.
  row = opened.page.locator("#result-table tr").nth(2)
  assert row.bounding_box()["height"] < 48
