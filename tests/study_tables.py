"""Made-up organs, runs and results of studies that several tests share."""

import dataclasses

import numpy as np
import tissue

from configs.paper import common
from micronet_jax.studies import recipe, setting
from micronet_jax.studies.organs import Organ
from micronet_jax.studies.results import Outcome
from micronet_jax.studies.runs import Evaluation, Run
from micronet_jax.studies.setting import Cell


def organ(name="breast", **changes):
  return Organ(name, "folder", "d1", 24, 500, root="here")._replace(**changes)


def run_of(target=None, *, auxiliary=(), start=None, title="a run", **changes):
  config = tissue.config(**changes)
  target = target or organ()
  return Run(title, config, target, tuple(auxiliary), start)


class Nothing:
  """Nothing is known."""

  def outcome(self, evaluation):
    return None

  def last_step(self, run):
    return None


def made(*, study="fig4", budget="cpu", names="abcdefg", seeds=(0,), targets="abc"):
  config = common.get_config(study)
  numbers = config.budgets[budget]
  all_organs = tuple(organ(name) for name in names)
  chosen = tuple(o for o in all_organs if o.name in targets)
  start = recipe.at_budget(config.recipe, numbers)
  return setting.Setting(
    study, budget, numbers, "made", all_organs, chosen, seeds, start
  )


def outcome(tp, fp, fn, *, distance=None, patients=None, name="breast", **changes):
  """Counts per image, one patient each unless they are given."""
  columns = [np.asarray(each, float).reshape(-1) for each in (tp, fp, fn)]
  distance = columns[0] * 3 if distance is None else np.asarray(distance, float)
  counts = np.stack([*columns, distance], axis=-1)
  patients = patients or tuple(f"p{i}" for i in range(len(counts)))
  curve = {key: [0.5] for key in ("xi", "precision", "recall", "f1")}
  whole = Outcome(name, tuple(patients), counts, curve, 0.2, 0.5, 0.5, 5, 9)
  return dataclasses.replace(whole, **changes)


def cell(series, panel="breast", x=0.0, seed=0, name="breast"):
  return Cell(panel, series, x, seed, Evaluation(run_of(organ(name)), organ(panel)))
