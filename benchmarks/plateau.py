"""How many iterations a study's budget needs: loss and F1 over them, for some organs.

  python benchmarks/plateau.py --data=nuinsseg --data-root=DIR -o runs/plateau

A schedule that falls to zero ends where it ends: the F1 of a run of 600 iterations is
not that of a longer one after 600. So MicroNets are trained from scratch for several
numbers of iterations each, by the runs of Fig. 4, and resumed if stopped. Prints a
table, and draws what each logged. Called by hand; what it gave is in
results/plateau.md.
"""

import argparse
import pathlib
import threading

from micronet_jax.figures import save_figure
from micronet_jax.settings import changed
from micronet_jax.studies.execution import Archive, work_off
from micronet_jax.studies.runs import Evaluation, make_run
from micronet_jax.studies.schema import StudyConfig
from micronet_jax.studies.setting import find_setting
from micronet_jax.training.curves import read_history, training_curves

ORGANS = "human_kidney,human_spleen,human_tongue"


def main() -> None:
  """Trains what is missing and prints the table."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--data", default="nuinsseg")
  parser.add_argument("--data-root", default="")
  parser.add_argument("--data-dir", default="")
  parser.add_argument("--budget", default="coarse")
  parser.add_argument("--organs", default=ORGANS)
  parser.add_argument("--steps", default="300,600,1200,2400", help="multiples of 60")
  parser.add_argument("-o", "--out", type=pathlib.Path, required=True)
  options = parser.parse_args()
  place, wanted = options.out.absolute(), {}
  for steps in map(int, options.steps.split(",")):
    setting = find_setting(_study(options, steps))
    for organ in setting.organs:
      run = make_run(setting, organ, 0)
      wanted.setdefault(organ.label, {})[steps] = Evaluation(run, organ)
  archive = Archive(place)
  every = [each for of_organ in wanted.values() for each in of_organ.values()]
  for each in every:
    archive.outcome(each)
  failures = work_off(archive.jobs(), place, threading.Event())
  if failures:
    raise SystemExit("\n".join(failures.values()))
  print(
    "| organ | iterations | validation F1 | test F1 | seconds |\n|---|---|---|---|---|"
  )
  for label, by_steps in wanted.items():
    histories = {}
    for steps, each in by_steps.items():
      done, found = each.run.done(place), archive.outcome(each)
      cells = [label, f"{steps:,}", f"{done['best_f1']:.3f}", f"{found.score():.3f}"]
      print(f"| {' | '.join(cells)} | {done['seconds']:.0f} |")
      histories[f"{steps:,} iterations"] = read_history(each.run.folder(place))
    name = f"plateau-{label.replace(' ', '_')}"
    figure = training_curves(histories, title=f"MicroNet, {label}, from scratch")
    save_figure(figure, place / f"{name}.png")


def _study(options: argparse.Namespace, steps: int) -> StudyConfig:
  """Fig. 4 of the chosen organs, so many iterations long."""
  where = {name: getattr(options, name) for name in ("data", "data_root", "data_dir")}
  numbers = {"num_steps": steps, "eval_every": steps // 6, "stages": [steps]}
  numbers |= {"snapshot_every": steps // 2, "course": []}
  fields = {f"budgets.{options.budget}.{name}": each for name, each in numbers.items()}
  config = StudyConfig(study="fig4", budget=options.budget, organs=options.organs)
  return changed(config, where | fields)


if __name__ == "__main__":
  main()
