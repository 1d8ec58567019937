"""Made-up organs, runs and rows of studies that several tests share."""

import dataclasses
import pathlib

import numpy as np
import tissue

from micronet_jax.datasets.organs import Organ
from micronet_jax.settings import changed
from micronet_jax.studies import study
from micronet_jax.studies.claims import judge_claim, list_claims
from micronet_jax.studies.execution import Archive
from micronet_jax.studies.results import Row
from micronet_jax.studies.runs import BEST, Run
from micronet_jax.studies.schema import StudyConfig
from micronet_jax.studies.setting import Setting


def organ(name="breast", **changes):
  return Organ(name, "folder", "d1", 24, 500, root="here")._replace(**changes)


def run_of(target=None, *, auxiliary=(), base=None, at=BEST, title="a run", **changes):
  target = target or organ()
  return Run(title, tissue.config(**changes), target, tuple(auxiliary), base, at)


def setting(
  name="fig4", *, budget="cpu", names="abcdefg", seeds=(0,), targets="abc", **changes
):
  """A study over made-up organs; `changes` are of the budget."""
  config = StudyConfig(study=name, budget=budget, seeds=seeds, data="made")
  numbers = {f"budgets.{budget}.{field}": value for field, value in changes.items()}
  organs = tuple(organ(each) for each in names)
  chosen = tuple(each for each in organs if each.name in targets)
  return Setting(changed(config, numbers), organs, chosen)


def counts(tp, fp, fn, distance=None):
  """By patient, one for each entry."""
  columns = [np.asarray(each, float).reshape(-1) for each in (tp, fp, fn)]
  columns.append(columns[0] * 3 if distance is None else np.asarray(distance, float))
  rows = np.stack(columns, axis=-1).tolist()
  return {f"p{i}": row for i, row in enumerate(rows)}


def found(tp, fp, fn, *, distance=None, name="breast", **changes):
  """What was found in one test set: of as many patients as there are entries."""
  by_patient = counts(tp, fp, fn, distance)
  curve = {key: [0.2, 0.5] for key in ("xi", "precision", "recall", "f1")}
  whole = Row(name, by_patient, len(by_patient), 0.5, 0.2, 0.5, 5, 9, curve)
  return dataclasses.replace(whole, **changes)


def at(f1, **changes):
  """Six patients alike, so that intervals are of no width."""
  return found([f1] * 6, [2 - 2 * f1] * 6, [0] * 6, **changes)


def row(series, panel="breast", x=0.0, f1=0.5, **changes):
  """A row with an F1; None for a run that diverged."""
  place = {"series": series, "panel": panel, "x": x, "trained_on": "breast", **changes}
  gone = {"by_patient": {}, "diverged": "nan at step 3 (loss nan)"}
  return at(0.5 if f1 is None else f1, **place, **(gone if f1 is None else {}))


class Made(Archive):
  """An archive in which every evaluation has been made.

  `f1` is of (trained on, tested on); None there for a run that diverged. A name that it
  lacks has not been evaluated.
  """

  def __init__(self, f1=None, *, last=300):
    super().__init__(pathlib.Path("nowhere"))
    self.f1, self.last = f1, last

  def outcome(self, wanted):
    self.wanted[wanted.path(self.place)] = wanted
    place = wanted.run.target.name, wanted.organ.name
    if self.f1 is not None and place not in self.f1:
      return None
    number = (int(wanted.run.key, 16) % 800 + 100) / 1000
    number = number if self.f1 is None else self.f1[place]
    name = wanted.organ.name
    return Row(name, diverged="nan") if number is None else at(number, name=name)

  def last_step(self, run):
    return self.last


def rows_of(chosen, archive=None):
  """All rows of a study, from an archive that has everything."""
  name = chosen.config.study
  return list(study.STUDIES[name].rows(chosen, archive or Made()))


def judged(rows, chosen):
  """What is found of each claim, by its text."""
  name = chosen.config.study
  facts = study.STUDIES[name].facts(rows, chosen)
  findings = [judge_claim(claim, rows) for claim in list_claims(name, facts)]
  return {each.claim.text + "; " + each.claim.number: each for each in findings}
