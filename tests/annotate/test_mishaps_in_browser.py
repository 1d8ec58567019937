"""The page where answers overlap, networks change, servers restart and others write."""

import contextlib

import numpy as np
import pytest
from serving import serving
from test_browser import Tab, expect

LOOK = "() => window.micronet.page.refresh()"
REGIONS = "() => window.micronet.page.model.regions"


class Network:
  """Answers for the server what a network found, as much as is `known` by then."""

  def __init__(self, page):
    self.name, self.done, self.known = "first", 4, 0
    self.rows = np.random.default_rng(0).uniform(5, 75, (6000, 3)).astype("<f4")
    self.rows[:, 2] = 0.9
    page.route("**/api/detect", lambda route: route.fulfill(json={}))
    page.route("**/detections?*", self.answer)
    page.route("**/searched?*", self.answer_searched)

  def answer_searched(self, route):
    route.fulfill(json={"searched": self.done == 4, "of": self.name})

  def answer(self, route):
    asked = dict(pair.split("=") for pair in route.request.url.split("?")[1].split("&"))
    first = int(asked["from"]) * (asked["of"] == self.name)
    first *= first <= self.known
    said = {"from": first, "of": self.name, "done": self.done, "total": 4}
    headers = {f"x-{key}": str(value) for key, value in said.items()}
    body = self.rows[first : self.known].tobytes()
    route.fulfill(body=body, headers=headers | {"x-threshold": "0.5"})


class Held:
  """Requests that wait until the test lets them go on."""

  def __init__(self, page, pattern):
    self.routes = []
    self.take = lambda route: self.routes.append(route)
    page.route(pattern, self.take)
    self._page = page

  def next(self):
    while not self.routes:
      self._page.wait_for_timeout(20)
    return self.routes.pop(0)


@pytest.fixture
def opened(browser, folder):
  """A tab on two images with a point each, marked by hand, and no network."""
  for name, line in (("a", "30,40"), ("b", "90,60")):
    for kind, text in (("points", f"x,y\n{line}\n"), ("regions", "x,y,width,height\n")):
      (folder / kind).mkdir(exist_ok=True)
      (folder / kind / f"{name}.csv").write_text(text)
  with contextlib.ExitStack() as stack:
    server = stack.enter_context(serving(folder, "nowhere"))
    tab = Tab(browser, server.url)
    tab.server, tab.folder = server, folder
    tab.shown("a")
    yield tab
    tab.page.close()


def lines(tab, name):
  return (tab.folder / "points" / f"{name}.csv").read_text().split()[1:]


def edited_and_left(tab):
  """The request of an edit that is still under way when another image is shown."""
  held = Held(tab.page, "**/edit")
  tab.page.mouse.click(*tab.screen(60, 20))
  route = held.next()
  tab.press("n")
  tab.shown("b")
  return route


def test_answers_that_overlap_leave_each_detection_once(opened):
  network = Network(opened.page)
  network.known = 500
  opened.page.evaluate(LOOK)
  held = Held(opened.page, "**/detections?*")
  opened.page.evaluate(f"() => {{ for (let i = 0; i < 3; i++) ({LOOK})(); }}")
  opened.page.wait_for_timeout(300)
  for network.known in (600, 700, 800, 900):
    network.answer(held.next())
  opened.page.unroute("**/detections?*", held.take)
  opened.page.evaluate(LOOK)
  there = opened.page.evaluate(
    "() => (({x, size}) => [...x.slice(0, size)])(window.micronet.page.model.found)"
  )
  np.testing.assert_allclose(there, network.rows[:900, 0], atol=0.006)


def test_what_was_pointed_at_elsewhere_is_neither_removed_nor_moved(opened):
  page = opened.page
  network = Network(page)
  network.known = 1
  page.evaluate(LOOK)
  page.mouse.move(*opened.screen(*network.rows[0, :2].tolist()))
  opened.until("() => window.micronet.page.look.under")
  network.name, network.rows = "second", network.rows[1:]
  page.evaluate(LOOK)
  opened.press("Delete")
  assert page.evaluate("() => window.micronet.page.model.gone.alive") == 0

  page.mouse.move(*opened.screen(30, 40))
  opened.until("() => window.micronet.page.look.under")
  page.evaluate("() => window.micronet.page.step(1)")
  opened.shown("b")
  opened.press("Delete")
  assert page.evaluate("() => window.micronet.page.model.own.alive") == 1

  page.mouse.move(*opened.screen(90, 60))
  page.mouse.down()
  page.mouse.move(*opened.screen(80, 60), steps=3)
  opened.press("n")
  opened.shown("a")
  page.mouse.move(*opened.screen(70, 50), steps=3)
  page.mouse.up()
  opened.settled()
  assert (lines(opened, "a"), lines(opened, "b")) == (["30,40"], ["90,60"])


def test_edits_wait_for_a_server_that_was_started_again(opened):
  page = opened.page
  page.route("**/edit", lambda route: route.fulfill(status=503), times=1)
  page.context.clear_cookies()  # as good as another token
  page.mouse.click(*opened.screen(60, 20))
  for words in ("1 edit not saved yet", "new address"):
    opened.until(
      f"() => document.getElementById('banner').innerText.includes('{words}')"
    )
  page.request.get(opened.server.url)  # in another tab
  opened.settled()
  opened.until("() => document.getElementById('banner').hidden")
  assert len(lines(opened, "a")) == 2


def test_an_edit_at_which_the_server_fails_does_not_hold_up_others_for_ever(opened):
  page = opened.page
  page.route("**/edit", lambda route: route.fulfill(status=500, body="Oh"), times=3)
  page.mouse.click(*opened.screen(60, 20))
  opened.until("() => window.micronet.page.model.own.alive === 2")
  opened.press("n")
  opened.shown("b")
  page.mouse.click(*opened.screen(30, 20))
  opened.until(
    "() => document.getElementById('banner').innerText"
    ".startsWith('a: your last edit was not saved: Oh')"
  )
  opened.settled()
  assert (len(lines(opened, "a")), len(lines(opened, "b"))) == (1, 2)
  opened.faults.clear()  # the browser's own lines on answers of 500


def test_a_refusal_is_told_whatever_image_is_shown(opened):
  page = opened.page
  route = edited_and_left(opened)
  (opened.folder / "points/a.csv").write_text("x,y\n1,2\n3,4\n5,6\n")
  route.continue_()
  opened.until("() => !document.getElementById('banner').hidden")
  expect(page.locator("#banner")).to_contain_text("a was changed in another tab")
  page.click("#banner button")
  opened.shown("a")
  opened.until("() => window.micronet.page.model.own.alive === 3")
  expect(page.locator("#banner")).to_be_hidden()


def test_who_comes_back_finds_the_edits_that_were_under_way(opened):
  page = opened.page
  route = edited_and_left(opened)
  opened.press("p")
  page.wait_for_timeout(500)
  route.continue_()
  page.unroute("**/edit")
  opened.shown("a")
  page.mouse.click(*opened.screen(100, 20))
  opened.settled()
  assert len(lines(opened, "a")) == 3
  expect(page.locator("#banner")).to_be_hidden()


def test_a_region_is_marked_only_where_all_was_searched_and_is_seen(opened):
  page = opened.page
  opened.until("() => window.micronet.page.state.detection.failed.length")
  page.keyboard.type("w")  # no network: by hand
  opened.until(f"() => ({REGIONS})().length")
  assert page.evaluate(REGIONS) == [[0, 0, 120, 80]]
  network = Network(page)
  network.done, network.known = 3, 1
  opened.press("n")
  opened.shown("b")
  for keys, said in (
    ("w", "still searched"),
    ("rr", "too small"),
    ("hw", "hidden"),
    ("hw", "density"),
  ):
    page.evaluate(LOOK)
    opened.until(f"() => window.micronet.page.view.count === {network.known + 1}")
    page.keyboard.type(keys)
    opened.until(f"() => document.getElementById('toast').innerText.includes('{said}')")
    assert page.evaluate(REGIONS) == []
    network.done = 4 if keys == "rr" else network.done
    network.known = 6000 if keys == "hw" else network.known
  network.name, network.known, network.done = "second", 1, 3
  page.evaluate(LOOK)
  opened.until("() => window.micronet.page.view.count === 2")
  network.known, network.done = 2, 4  # which nobody has seen yet
  toast = "() => document.getElementById('toast').innerText"
  page.keyboard.type("w")
  opened.until(f"() => ({toast})().includes('More was just found')")
  assert page.evaluate(REGIONS) == []
  network.done = 3  # another image's part of the search; this one's is done
  page.unroute("**/searched?*")
  page.route(
    "**/searched?*", lambda route: route.fulfill(status=503, json={"error": "busy"})
  )
  network.name = "third"
  page.evaluate(LOOK)
  opened.until("() => window.micronet.page.model.network === 'third'")
  page.keyboard.type("w")
  opened.until(f"() => ({toast})() === 'busy'")
  assert page.evaluate(REGIONS) == []
  network.done = 4
  page.evaluate(LOOK)
  opened.until("() => window.micronet.page.model.search.done === 4")
  page.keyboard.type("w")  # all of it is here: nobody needs to be asked
  opened.until(f"() => ({REGIONS})().length")
  assert page.evaluate(REGIONS) == [[0, 0, 120, 80]]
  assert page.evaluate("() => window.micronet.page.model.own.alive") == 3


def test_an_answer_that_comes_when_nothing_is_shown_any_more_breaks_nothing(opened):
  held = Held(opened.page, "**/detections?*")
  opened.press("n")  # its detections are asked for
  route = held.next()
  network = Network(opened.page)
  (opened.folder / "a.png").rename(opened.folder / "z.png")
  (opened.folder / "b.png").unlink()
  opened.until("() => window.micronet.page.failed")
  network.answer(route)
  opened.page.keyboard.type("]")
  opened.page.wait_for_timeout(300)
  assert opened.faults == []
