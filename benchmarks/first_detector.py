"""From a folder of images to a detector of one's own, in seconds, as the page does it.

  python -m benchmarks.first_detector [--micronet .venv/bin/micronet]

Starts `micronet annotate` on synthetic tissue and asks its server for what a browser
would: the first detections, then all; a script corrects the middle of each image as a
person would, click by click; the button fine-tunes, and the result is used.
"""

import argparse
import contextlib
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
from PIL import Image

from micronet_jax.datasets.synthetic_he.generator import generate
from micronet_jax.evaluation.matching import match

SIDE, REGION = 500, (125, 125, 250, 250)
RADIUS = 12.0
DOTS_PER_INCH = 25_400 / 0.25


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--micronet", help="the command of another environment")
  parser.add_argument("--organ", default="prostate")
  parser.add_argument("--regions", type=int, default=8)
  parser.add_argument("--steps", type=int, default=300)
  options = parser.parse_args()
  command = [sys.executable, "-m", "micronet_jax.cli"]
  command = [options.micronet] if options.micronet else command
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name) / "mine"
    folder.mkdir()
    true = {}
    for number in range(options.regions):
      pixels, true[f"{number}"] = generate(options.organ, number, size=SIDE)
      place = folder / f"{number}.png"
      Image.fromarray(pixels).save(place, dpi=(DOTS_PER_INCH,) * 2)
    print("load before: " + " ".join(f"{each:.1f}" for each in os.getloadavg()))
    with served(command, folder) as (client, clock):
      measure(client, true, options.steps, clock)
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
  print(f"memory of the largest process at most: {most:.0f} MB")


class Clock:
  """Tells seconds since the server was started, and those of the CPU in it."""

  def __init__(self, process: int) -> None:
    self._began = time.monotonic()
    self._stat = pathlib.Path(f"/proc/{process}/stat")

  def seconds(self) -> float:
    return time.monotonic() - self._began

  def __str__(self) -> str:
    ticks = map(int, self._stat.read_text().rpartition(")")[2].split()[11:15])
    used = sum(ticks) / os.sysconf("SC_CLK_TCK")  # with those of ended children
    return f"{self.seconds():.1f} s, {used:.1f} s of CPU"


@contextlib.contextmanager
def served(
  command: list[str], folder: pathlib.Path
) -> Iterator[tuple[httpx.Client, Clock]]:
  """The server, and a browser that has opened its page."""
  os.environ.setdefault("TFDS_DATA_DIR", str(folder.parent / "tfds"))
  with subprocess.Popen(
    [*command, "annotate", str(folder), "--port", "0"],
    stdout=subprocess.PIPE,
    text=True,
  ) as process:
    clock = Clock(process.pid)
    assert process.stdout is not None
    url = next(line.strip() for line in process.stdout if "http" in line)
    with httpx.Client(base_url=url.split("/?")[0], timeout=600) as client:
      client.get(url).raise_for_status()
      print(f"the page is there: {clock} after the command")
      yield client, clock
    process.terminate()


def measure(
  client: httpx.Client, true: dict[str, np.ndarray], steps: int, clock: Clock
) -> None:
  """The loop, once around."""
  images = client.get("/api/state").json()["images"]
  keys = {image["name"]: image["key"] for image in images}
  first = keys["0"]
  client.get(f"/api/images/{first}").raise_for_status()
  client.get(f"/api/images/{first}/tiles/9/0/0").raise_for_status()
  print(f"the first image is seen: {clock}")
  client.post("/api/detect", json={"key": first, "center": [SIDE / 2, SIDE / 2]})
  until(lambda: len(found(client, first)[0]))
  print(f"its detections are seen: {clock}")
  client.post("/api/detect", json={"all": True})
  until(lambda: all(found(client, key)[1] for key in keys.values()))
  print(f"those of {len(keys)} images: {clock}")
  clicks = sum(correct(client, key, true[name]) for name, key in keys.items())
  print(f"{len(keys)} regions corrected with {clicks} clicks: {clock}")
  began = clock.seconds()
  client.post("/api/tune", json={"do": "begin", "steps": steps}).raise_for_status()
  until(lambda: tuning(client)["state"] != "running")
  said = tuning(client)
  assert said["state"] == "done", said
  print(f"fine-tuned for {steps} steps: {clock.seconds() - began:.1f} s")
  report = said["report"]
  for label, entry in [*report["compared"].items(), (report["detector"], report)]:
    at = entry["radius_px"]["12"]
    print(f"  {label}: F1 {at['f1']:.3f} on {report['images']} held-out regions")
  began = clock.seconds()
  client.post("/api/tune", json={"do": "use", "run": said["run"]}).raise_for_status()
  client.post("/api/detect", json={"key": first, "center": [SIDE / 2, SIDE / 2]})
  until(lambda: found(client, first)[1])
  print(f"the first image again, with the result: {clock.seconds() - began:.1f} s")


def until(condition: Callable[[], Any]) -> None:
  while not condition():
    time.sleep(0.2)


def tuning(client: httpx.Client) -> dict[str, Any]:
  return client.get("/api/state").json()["tuning"]


def found(client: httpx.Client, key: str) -> tuple[np.ndarray, bool]:
  """Detections (x, y) over the threshold, and whether these are all."""
  answer = client.get(f"/api/images/{key}/detections").raise_for_status()
  said = answer.headers
  rows = np.frombuffer(answer.content, "<f4").reshape(-1, 3)
  rows = rows[rows[:, 2] >= np.float32(said["x-threshold"])]
  return rows[:, :2], 0 < int(said["x-total"]) <= int(said["x-done"])


def correct(client: httpx.Client, key: str, true: np.ndarray) -> int:
  """Removes and adds in the middle of an image, and marks it; how many clicks."""
  places, _ = found(client, key)
  x, y, width, height = REGION
  inside = [within(places), within(true[:, ::-1])]
  pairs = match(inside[0][:, ::-1], inside[1][:, ::-1], radius=RADIUS).pairs
  false = np.setdiff1d(np.arange(len(inside[0])), pairs[:, 0])
  missed = np.setdiff1d(np.arange(len(inside[1])), pairs[:, 1])
  edits = [{"hide": [place]} for place in inside[0][false].tolist()]
  edits += [{"add": [place]} for place in np.round(inside[1][missed], 2).tolist()]
  confirmed = inside[0][pairs[:, 0]].tolist()
  edits.append({"add": confirmed, "regions": [[x, y, width, height]]})
  revision = client.get(f"/api/images/{key}/annotation").json()["revision"]
  nothing: dict[str, Any] = {"add": [], "remove": [], "hide": [], "show": []}
  for edit in edits:
    sent = {**nothing, **edit, "revision": revision}
    answer = client.post(f"/api/images/{key}/edit", json=sent).raise_for_status()
    revision = answer.json()["revision"]
  return len(edits)


def within(places: np.ndarray) -> np.ndarray:
  """The places (x, y) in the region."""
  x, y, width, height = REGION
  low = np.array([x, y]) - 0.5
  return places[((places >= low) & (places < low + np.array([width, height]))).all(1)]


if __name__ == "__main__":
  main()
