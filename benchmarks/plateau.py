"""How many iterations a study needs: F1 of Table 1's networks over them.

  python -m benchmarks.plateau --data=nuinsseg --data-root=DIR -o runs/plateau

A schedule that falls to zero ends where it ends: the F1 of a run of 600 iterations is
not that of a longer one after 600. So networks are trained from scratch for several
numbers of iterations each, and resumed if stopped. Prints tables and draws F1 over
iterations, and what each MicroNet logged. Called by hand; what it gave is in
results/plateau.md.
"""

import argparse
import pathlib
import threading
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from benchmarks import report
from micronet_jax.figures import choose_looks, draw_panels, save_figure
from micronet_jax.settings import changed
from micronet_jax.studies.execution import Archive, work_off
from micronet_jax.studies.runs import Evaluation, make_run
from micronet_jax.studies.schema import MICRONET, NAMES, StudyConfig
from micronet_jax.studies.setting import find_setting
from micronet_jax.training.curves import read_history, training_curves

ORGANS = "human_kidney,human_spleen,human_tongue"
MEAN = "mean of the organs"

Wanted = dict[tuple[str, str, int], Evaluation]
"""By label of the organ, model and iterations."""


def main(argv: Sequence[str] | None = None) -> None:
  """Trains what is missing, prints the tables and draws the figures."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--data", default="nuinsseg")
  parser.add_argument("--data-root", default="")
  parser.add_argument("--data-dir", default="")
  parser.add_argument("--budget", default="coarse")
  parser.add_argument("--organs", default=ORGANS)
  parser.add_argument("--models", default="", help="of Table 1; all without it")
  parser.add_argument("--steps", default="300,1200,2400", help="multiples of 60")
  parser.add_argument("-o", "--out", type=pathlib.Path, required=True)
  options = parser.parse_args(argv)
  place, wanted = options.out.absolute(), find_wanted(options)
  archive = Archive(place)
  for each in wanted.values():
    archive.outcome(each)
  failures = work_off(archive.jobs(), place, threading.Event())
  if failures:
    raise SystemExit("\n".join(failures.values()))
  found = {key: archive.outcome(each) for key, each in wanted.items()}
  scores = {key: row.score() for key, row in found.items() if row}
  report.print_table(
    {
      "organ": key[0],
      "network": NAMES[key[1]],
      "iterations": f"{key[2]:,}",
      "test F1": f"{scores[key]:.3f}",
      "seconds": f"{(each.run.done(place) or {})['seconds']:.0f}",
    }
    for key, each in wanted.items()
  )
  print()
  report.print_table(_orders(scores))
  save_figure(_draw(scores), place / "plateau.png")
  _draw_logs(wanted, place)


def find_wanted(options: argparse.Namespace) -> Wanted:
  """What is to be trained and tested, shortest first."""
  wanted: Wanted = {}
  for steps in sorted(map(int, options.steps.split(","))):
    setting = find_setting(_study(options, steps))
    for model in setting.models:
      for organ in setting.organs:
        run = make_run(setting, organ, 0, model=model)
        wanted[organ.label, model, steps] = Evaluation(run, organ)
  return wanted


def _study(options: argparse.Namespace, steps: int) -> StudyConfig:
  """Table 1 of the chosen organs and networks, so many iterations long."""
  names = ("data", "data_root", "data_dir", "organs", "models", "budget")
  numbers = {"num_steps": steps, "eval_every": steps // 6, "stages": [steps]}
  numbers |= {"snapshot_every": steps // 2, "course": []}
  fields = {f"budgets.{options.budget}.{name}": each for name, each in numbers.items()}
  where = {name: getattr(options, name) for name in names}
  return changed(StudyConfig(study="table1"), where | fields)


def _means(scores: dict[tuple[str, str, int], float]) -> dict[int, dict[str, float]]:
  """Mean F1 over the organs, by iterations and model."""
  organs = dict.fromkeys(key[0] for key in scores)
  models = dict.fromkeys(key[1] for key in scores)
  return {
    steps: {
      model: float(np.mean([scores[organ, model, steps] for organ in organs]))
      for model in models
    }
    for steps in dict.fromkeys(key[2] for key in scores)
  }


def _orders(scores: dict[tuple[str, str, int], float]) -> list[dict[str, str]]:
  """A line for each number of iterations: the networks, best first."""
  lines = []
  for steps, by_model in _means(scores).items():
    ranked = sorted(by_model, key=lambda model: -np.nan_to_num(by_model[model]))
    order = ", ".join(f"{NAMES[model]} {by_model[model]:.3f}" for model in ranked)
    lines.append({"iterations": f"{steps:,}", "mean F1 of the organs": order})
  return lines


def _draw(scores: dict[tuple[str, str, int], float]) -> Figure:
  """F1 over iterations, a panel an organ and one of their mean, a line a network."""
  panels: dict[str, dict[str, list[tuple[float, float, float]]]] = {}
  for (organ, model, steps), score in scores.items():
    line = panels.setdefault(organ, {}).setdefault(NAMES[model], [])
    line.append((steps, score, 0.0))
  panels[MEAN] = {}
  for steps, by_model in _means(scores).items():
    for model, score in by_model.items():
      panels[MEAN].setdefault(NAMES[model], []).append((steps, score, 0.0))
  looks = choose_looks(panels[MEAN])
  return draw_panels(panels, [list(panels)], looks, xlabels=["iterations"])


def _draw_logs(wanted: Wanted, place: pathlib.Path) -> None:
  """Loss and validation F1 of the MicroNets, a figure an organ."""
  of_organ: dict[str, dict] = {}
  for (organ, model, steps), each in wanted.items():
    if model == MICRONET:
      history = read_history(each.run.folder(place))
      of_organ.setdefault(organ, {})[f"{steps:,} iterations"] = history
  for organ, histories in of_organ.items():
    figure = training_curves(histories, title=f"MicroNet, {organ}, from scratch")
    save_figure(figure, place / f"plateau-{organ.replace(' ', '_')}.png")


if __name__ == "__main__":
  main()
