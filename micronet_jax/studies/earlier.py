"""The results of a study's folder, also those of version 0.1, without intervals.

Version 0.1 kept neither its setting nor counts by patient in results.csv: the one is
read from findings.md, of the others there are the sums. Called by `studies.answers`.
"""

import csv
import json
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from micronet_jax.datasets.organs import Organ
from micronet_jax.errors import InputError
from micronet_jax.settings import from_dict
from micronet_jax.studies.results import Row, read_findings, read_results, tested_on
from micronet_jax.studies.schema import NAMES, Budgets, StudyConfig
from micronet_jax.studies.setting import Setting, setting_from_json

TOGETHER = "all"
"""Instead of patients, where only the sums are known."""


def read_folder(folder: pathlib.Path) -> tuple[Setting, list[Row]]:
  """Setting and rows of a study's folder, whatever version wrote it.

  Raises:
    InputError: a file is missing or no study's.
  """
  path = folder / "results.csv"
  try:
    with path.open(newline="", encoding="utf-8") as file:
      lines = list(csv.DictReader(file))
  except OSError as error:
    raise InputError(f"{path} cannot be read ({error.strerror})") from error
  if lines and "setting" not in lines[0]:
    return _setting_of(read_findings(folder), lines), list(map(_row_of, lines))
  values, rows = read_results(path)
  return setting_from_json(values), rows


def _setting_of(text: str, lines: list[dict[str, str]]) -> Setting:
  """Budget, organs and targets as findings.md names them."""
  numbers = json.loads(re.findall(r"All numbers of the budget: `(.*)`", text)[0])
  data, names = re.findall(r"^Data: (\w+), .*by patient: (.*)\.$", text, re.M)[0]
  seeds = tuple(map(int, re.findall(r"; seeds (.*)\.$", text, re.M)[0].split(", ")))
  organs = tuple(Organ(_name_of(label)) for label in names.split(", "))
  drawn = {line["series"] for line in lines}
  models = [name for name, title in NAMES.items() if title in drawn]
  study, budgets = lines[0]["study"], from_dict(Budgets, {"cpu": numbers})
  fewer = study == "table1" and len(models) < len(NAMES)
  config = StudyConfig(
    study=study,
    data=data,
    seeds=seeds,
    models=",".join(models) if fewer else "",
    budgets=budgets,
  )
  panels = {tested_on(line["panel"]) for line in lines}
  targets = tuple(each for each in organs if each.label in panels)
  return Setting(config, organs, targets)


def _name_of(label: str) -> str:
  return label.replace("bone marrow", "bonemarrow").replace(" ", "_")


def _row_of(line: Mapping[str, str]) -> Row:
  """A row whose counts, worked out from its scores, are all one patient's."""
  network, _, target = line["run_title"].partition(" -> ")
  trained = re.sub(r"^(MicroNet|FRCN|FCRN[AB]|FCN|U-Net) ", "", network.split(" @")[0])
  place: dict[str, Any] = {
    "trained_on": re.split(r" \+| λ| \d", target or trained)[0],
    "base": trained if target else "",
    **{name: line[name] for name in ("panel", "series", "run", "run_title", "organ")},
    **{"x": float(line["x"]), "seed": int(line["seed"])},
  }
  if line["diverged"]:
    return Row(**place, diverged=line["diverged"])
  nuclei, recall = int(line["nuclei"]), float(line["recall"])
  tp, precision = round(nuclei * recall), float(line["precision"])
  fp = round(tp / precision - tp) if tp else 1
  distance = tp * float(line["ed"]) if tp else 0.0
  by_patient = {TOGETHER: [tp, fp, nuclei - tp, distance]}
  patients = int(line["patients"])
  by_patient |= {f"none {i}": [0, 0, 0, 0] for i in range(1, patients)}
  number: dict[str, Any] = {
    "step": int(line["step"]),
    "f1_chance": float(line["f1_chance"]),
  }
  return Row(by_patient=by_patient, images=int(line["images"]), **place, **number)
