"""One study from its config to its folder: `run_study(config, workdir)`."""

import importlib
import pathlib
import threading
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from micronet_jax import signals
from micronet_jax.errors import InputError
from micronet_jax.studies import execution, findings, plan, setting
from micronet_jax.studies.execution import Job, Results
from micronet_jax.studies.setting import Cell, Setting

STUDIES = {
  "table1": "table1",
  "fig3": "qualitative",
  "fig4": "generalisation",
  "fig5": "finetuning",
  "fig6": "auxiliary",
  "fig7_8": "balance",
  "fig9": "weighting",
  "fig10": "generalisation",
  "fig11": "auxiliary",
  "fig12": "maps",
}
"""The module of each study; some figures are the same study with another model."""


def run_study(config: Any, workdir: str | pathlib.Path) -> None:
  """Trains what is missing, scores it, and writes table, figures and findings.

  Args:
    config: the fields of configs/paper/common.py.
    workdir: of all studies; what another study did there is not repeated.

  Raises:
    InputError: a field that cannot be used, or runs that failed: the study has no
      figure then, and says what is missing.
    Stopped: on SIGINT or SIGTERM, after saving.
  """
  place = pathlib.Path(workdir).absolute()
  module = find(config.study)
  if config.executor not in ("local", "ray"):
    raise InputError(f"config.executor is {config.executor!r}; use 'local' or 'ray'")
  chosen = setting.from_config(config, module.TARGETS)
  known = Results(place)
  if config.plan_only:
    print(plan.describe(module.cells, chosen, known, measure=config.measure))
    return
  with signals.caught_signals() as stop:
    failures = work(
      lambda: module.cells(chosen, known), known, _executor(config, place, stop)
    )
  if failures:
    lines = "".join(f"\n  {sentence}" for sentence in failures.values())
    raise InputError(
      f"{chosen.study} is not complete, so nothing is drawn; {len(failures)} run(s) "
      f"failed and the others are kept; run the same command again to go on:{lines}"
    )
  folder = place / f"{chosen.study}-{chosen.budget}-{chosen.data}"
  write(module, chosen, known, folder)


def find(name: str) -> ModuleType:
  """The module of a study.

  Raises:
    InputError: there is none of that name.
  """
  if name not in STUDIES:
    raise InputError(f"config.study is {name!r}; the studies are {', '.join(STUDIES)}")
  return importlib.import_module(f"micronet_jax.studies.{STUDIES[name]}")


def _executor(
  config: Any, place: pathlib.Path, stop: threading.Event
) -> Callable[[Sequence[Job]], dict[str, str]]:
  """What does jobs: here, or on a Ray cluster."""
  if config.executor == "local":
    return lambda jobs: execution.work_off(jobs, place, stop)
  from micronet_jax.studies import cluster

  return lambda jobs: cluster.work_off(
    jobs, place, stop, cpus_per_run=config.cpus_per_run
  )


def work(
  cells: Callable[[], Sequence[Cell]],
  known: Results,
  execute: Callable[[Sequence[Job]], dict[str, str]],
) -> dict[str, str]:
  """Does what the cells need, until they need nothing more.

  Args:
    cells: all that can be named with what is known; more after each round.
    known: what has been found.
    execute: does jobs; returns sentences on those that failed, by run.

  Returns:
    The sentences.
  """
  while jobs := execution.jobs_for([cell.evaluation for cell in cells()], known):
    failures = execute(jobs)
    if failures:
      return failures
  return {}


def write(
  module: ModuleType, chosen: Setting, known: Results, folder: pathlib.Path
) -> None:
  """Writes results.csv, the figures and findings.md, and prints where."""
  from micronet_jax import figures  # matplotlib takes a second to import

  table = []
  for cell in module.cells(chosen, known):
    outcome = known.outcome(cell.evaluation)
    if outcome is None:
      raise InputError(f"{cell.evaluation.run.title} has no result; run it again")
    table.append((cell, outcome))
  findings.write_csv(folder / "results.csv", chosen, table)
  for name, figure in module.draw(table, chosen).items():
    for ending in ("pdf", "png"):
      figures.save_figure(figure, folder / f"{name}.{ending}")
  judged = module.judge(table, chosen)
  notes = module.notes(table, chosen)
  findings.write_findings(
    folder / "findings.md", chosen, module.TITLE, table, judged, notes
  )
  for each in judged:
    print(f"{each.decided}: {each.claim} ({each.number}: {each.estimate.value:+.3f})")
  print(f"results, figures and findings: {folder}", flush=True)
