"""How `micronet annotate` bears a large slide and many nuclei, in a real browser.

  python -m benchmarks.annotate

A pyramid of 40,000² pixels and 200,000 points: the time until its first view is whole,
the frames while it is moved and zoomed with all points in view, an edit, and the memory
of the server. Needs the extra [annotate], Playwright and Chromium.
"""

import os
import pathlib
import resource
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator

import imagecodecs
import numpy as np
import tifffile
import uvicorn
from playwright.sync_api import Page, sync_playwright

from micronet_jax.annotate.folder import Folder
from micronet_jax.annotate.server import make_app
from micronet_jax.annotate.site import Site
from micronet_jax.datasets.annotations.regions import write_regions
from micronet_jax.datasets.synthetic_he.generator import generate

SIDE, POINTS, TILE = 40_000, 200_000, 512
TOKEN = "benchmark"

MOVES = """async () => {
  const { viewer } = window.micronet, tasks = [], frames = [];
  const watch = new PerformanceObserver((list) =>
    tasks.push(...list.getEntries().map((entry) => entry.duration)));
  watch.observe({ type: "longtask" });
  let last = performance.now();
  for (let i = 0; i < 120; i++) {
    viewer.nudge(i % 40 < 20 ? 12 : -12, i % 20 < 10 ? 8 : -8);
    if (i % 30 === 29) viewer.zoom(i % 60 === 29 ? 1.2 : 1 / 1.2);
    await new Promise(requestAnimationFrame);
    frames.push(performance.now() - last);
    last = performance.now();
  }
  await new Promise((resolve) => setTimeout(resolve, 300));
  return { frames, tasks, inView: window.micronet.page.view.count };
}"""


def make_slide(path: pathlib.Path) -> None:
  """A pyramid of JPEG tiles, four tiles of tissue again and again."""
  pixels = [generate("breast", number, size=TILE)[0] for number in range(4)]
  tiles = [imagecodecs.jpeg_encode(tile, level=85) for tile in pixels]

  def repeated(side: int) -> Iterator[bytes]:
    across = -(-side // TILE)
    for number in range(across * across):
      yield tiles[(number * 7 + number // across) % 4]

  with tifffile.TiffWriter(path, bigtiff=True) as file:
    for number, side in enumerate((SIDE, SIDE // 4, SIDE // 16, SIDE // 64)):
      file.write(
        repeated(side),
        shape=(side, side, 3),
        dtype=np.uint8,
        tile=(TILE, TILE),
        compression="jpeg",
        photometric="ycbcr",
        subifds=3 if not number else None,
        subfiletype=1 if number else 0,
        resolution=(40_000, 40_000),
        resolutionunit="CENTIMETER",
      )


def until(page: Page, code: str) -> None:
  """Waits until code in the page says true."""
  while not page.evaluate(code):
    time.sleep(0.02)


def measure(page: Page, url: str) -> None:
  """Prints what was measured on one open slide."""
  began, used = time.monotonic(), time.process_time()
  page.goto(url)
  until(page, "() => window.micronet?.viewer.osd.world.getItemAt(0)?.getFullyLoaded()")
  used = time.process_time() - used
  print(f"first view whole: {time.monotonic() - began:.2f} s, {used:.2f} s of CPU here")
  until(page, f"() => window.micronet.page.view.count > {POINTS * 0.99}")
  print(f"with {POINTS:,} points: {time.monotonic() - began:.2f} s")
  found = page.evaluate(MOVES)
  frames, tasks = np.array(found["frames"]), found["tasks"]
  print(
    f"{len(frames)} frames, {found['inView']:,} in view: median"
    f" {np.median(frames):.0f} ms, slowest {frames.max():.0f} ms; tasks of 50 ms or"
    f" more: {len(tasks)}" + (f", longest {max(tasks):.0f} ms" if tasks else "")
  )
  page.evaluate("() => window.micronet.viewer.one()")
  until(page, "() => window.micronet.page.view.single")
  time.sleep(1)
  began = time.monotonic()
  page.keyboard.press("a")
  until(page, "() => !window.micronet.saving.waiting")
  print(f"a click is saved: {time.monotonic() - began:.2f} s")


def main() -> None:
  """Makes the slide, serves it, and looks at it."""
  with tempfile.TemporaryDirectory() as name:
    root = pathlib.Path(name)
    make_slide(root / "slide.tif")
    places = np.random.default_rng(0).uniform(0, SIDE - 1, (POINTS, 2))
    (root / "points").mkdir()
    np.savetxt(
      root / "points/slide.csv", places, "%.2f", ",", header="x,y", comments=""
    )
    write_regions(root / "regions/slide.csv", [])
    # A network that is not there: nothing is searched meanwhile.
    app = make_app(Site(Folder(root), str(root / "none")), TOKEN)
    sys.setswitchinterval(5e-4)  # as the command does
    print("load before: " + " ".join(f"{each:.1f}" for each in os.getloadavg()))
    with socket.create_server(("127.0.0.1", 0)) as bound, sync_playwright() as play:
      server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none"))
      thread = threading.Thread(target=server.run, args=([bound],))
      thread.start()
      browser = play.chromium.launch(
        executable_path=shutil.which("chromium"),
        args=["--headless", "--no-sandbox", "--disable-gpu"],
      )
      page = browser.new_page(viewport={"width": 1280, "height": 800})
      measure(page, f"http://127.0.0.1:{bound.getsockname()[1]}/?token={TOKEN}")
      browser.close()
      server.should_exit = True
      thread.join()
  most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
  print(f"memory of the server at most: {most:.0f} MB")


if __name__ == "__main__":
  main()
