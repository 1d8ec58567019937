"""The scores of a model card: one checkpoint on every annotated data set there is.

  python -m benchmarks.card --data ../shared/data --weights base --pictures docs

`--data` is a folder of `folder` data sets (`nuinsseg`, `gbm40`, …); those that are
missing are left out. What the checkpoint was trained on is left out too; of the set
that it was validated on, that part is a row of its own. Lengths are pixels at 0.25
microns. "Hindsight" is the best F1 that any ξ and min_distance reach on the set itself:
what it exceeds the F1 beside it by is what choosing on validation patients costs.
"""

import argparse
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

import micronet_jax as mn
from benchmarks import report
from micronet_jax import figures
from micronet_jax.datasets.provenance import provenance_of
from micronet_jax.datasets.sample import Sample
from micronet_jax.detection.detector import Detector
from micronet_jax.detection.peaks import SCORE_GRID
from micronet_jax.evaluation import pictures
from micronet_jax.evaluation.metrics import pool_matches
from micronet_jax.evaluation.scoring import Scored, in_reference, score_peaks
from micronet_jax.evaluation.thresholds import select_threshold

MIN_DISTANCES = (3, 5, 7, 9, 11)


class Group(NamedTuple):
  """Rows of the card: a data set, organs of it, and what it is called."""

  folder: str
  label: str
  organs: tuple[str, ...] = ()
  without: tuple[str, ...] = ()


GROUPS = (
  Group("gbm40", "GBM40, brain"),
  Group("mbm", "MBM, bone marrow"),
  Group("crchisto", "CRCHistoPhenotypes, colon, 20x"),
  Group("dsb2018", "DSB 2018, H&E", organs=("he",)),
  Group("dsb2018", "DSB 2018, other stains", without=("he",)),
  Group("monuseg", "MoNuSeg, prostate", organs=("prostate",)),
  Group("monuseg", "MoNuSeg, six other organs", without=("prostate",)),
)
"""Never trained on by the packaged weights, as far as their provenance says so."""

SHOWN = ("nuinsseg", "dsb2018")
"""Whose images a public licence allows to be shown: CC BY 4.0 and CC0."""


def main(argv: Sequence[str] | None = None) -> None:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--json", default="", help="file for the numbers")
  parser.add_argument("--data", type=pathlib.Path, required=True)
  parser.add_argument("--weights", default="base")
  parser.add_argument("--pictures", type=pathlib.Path, help="folder for worst tiles")
  parser.add_argument("--limit", type=int, default=0, help="images a row; 0 for all")
  options = parser.parse_args(argv)
  report.print_machine()
  detector = mn.load(options.weights)

  def rows() -> Iterator[dict[str, Any]]:
    for label, folder, samples in find_samples(options.data, detector, options.limit):
      row, scored = score_row(detector, label, samples)
      if options.pictures and folder in SHOWN:
        draw_worst(options.pictures, label, samples, scored)
      yield row

  found = report.print_table(rows())
  report.write_json(options.json, found, weights=options.weights)


def find_samples(
  data: pathlib.Path, detector: Detector, limit: int
) -> Iterator[tuple[str, str, list[Sample]]]:
  """Labels, folders and samples of the rows: what validated, then what is unseen."""
  seen = provenance_of(detector.meta)
  for folder in sorted(path.name for path in data.iterdir() if path.is_dir()):
    if not (data / folder / "images").is_dir():
      continue
    samples = mn.load_samples("folder", root=data / folder)
    records = [record for record in seen.own if record.part == "validation"]
    # Version 0.1 knew images by their names.
    known = {record.pixels or record.name for record in records}
    validation = [s for s in samples if {s.pixels_digest, s.name} & known]
    if validation:
      yield f"validation: {folder}", folder, _thin(validation, limit)
    patients = {s.patient for s in samples if seen.has_seen(s)}
    unseen = [s for s in samples if s.patient not in patients]
    for group in (group for group in GROUPS if group.folder == folder):
      chosen = [
        s
        for s in unseen
        if (not group.organs or s.organ in group.organs)
        and s.organ not in group.without
      ]
      if chosen:
        yield group.label, folder, _thin(chosen, limit)


def _thin(samples: list[Sample], limit: int) -> list[Sample]:
  step = -(-len(samples) // limit) if limit else 1
  return samples[::step]


def score_row(
  detector: Detector, label: str, samples: Sequence[Sample]
) -> tuple[dict[str, Any], Scored]:
  """One line of the card, and all that is known behind it."""
  own = detector.meta["min_distance"]
  distances = sorted({*MIN_DISTANCES, own})
  peaks = detector.peaks(((s.image, s.mpp) for s in samples), distances)
  scored = score_peaks(detector, peaks[own], samples)
  best = select_threshold(
    {distance: in_reference(each, samples) for distance, each in peaks.items()},
    [s.in_reference(s.centers) for s in samples],
    radius=12,
    grid=SCORE_GRID,
  )
  f1 = {radius: scored.radius_px[radius]["f1"] for radius in scored.radius_px}
  at = scored.radius_px["12"]
  interval = scored.interval["12"]
  span = f" ({interval[0]:.3f}-{interval[1]:.3f})" if interval else ""
  row = {
    "data": label,
    "images": len(samples),
    "patients": len({s.patient for s in samples}),
    "nuclei": sum(len(s.centers) for s in samples),
    "F1 at 16 px": f"{f1['16']:.3f}",
    "F1 at 12 px": f"{f1['12']:.3f}{span}",
    "P, R at 12 px": f"{at['precision']:.3f}, {at['recall']:.3f}",
    "ED at 12 px": "-" if at["ed"] is None else f"{at['ed']:.2f}",
    "F1 at 8, 6 px": f"{f1['8']:.3f}, {f1['6']:.3f}",
    "chance, 12 px": f"{scored.chance['12']:.3f}",
    "hindsight, 12 px": f"{best.f1:.3f} (ξ {best.xi:g}, {best.min_distance} px)",
  }
  return row, scored


def draw_worst(
  folder: pathlib.Path, label: str, samples: Sequence[Sample], scored: Scored
) -> None:
  """Draws the tile, of those with 10 nuclei and more, whose F1 is least."""
  matches = scored.matches["12"]
  f1 = [
    pool_matches([match])["f1"] if len(s.centers) >= 10 else 2.0
    for match, s in zip(matches, samples, strict=True)
  ]
  worst = int(np.argmin(f1))
  sheet = pictures.detection_sheet(
    [samples[worst].image],
    [scored.detected[worst]],
    [samples[worst].centers],
    [matches[worst]],
    [samples[worst].name],
    radius=12,
    columns=1,
  )
  name = "".join(c if c.isalnum() else "-" for c in label.lower()).strip("-")
  folder.mkdir(parents=True, exist_ok=True)
  figures.save_figure(sheet, folder / f"worst-{name}.png")


if __name__ == "__main__":
  main()
