"""One study from its config to its folder: `run_study(config, workdir)`.

Called by `launch.py`. `python -m micronet_jax.studies.study RESULTS.csv` prints the
findings.md of a results.csv anew.
"""

import pathlib
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from micronet_jax.errors import InputError
from micronet_jax.figures import save_figure
from micronet_jax.files import replacing
from micronet_jax.signals import caught_signals
from micronet_jax.studies import cluster, comparisons, examples, transfer, weights
from micronet_jax.studies.claims import read_paper
from micronet_jax.studies.execution import Archive, Job, work_off
from micronet_jax.studies.findings import format_findings, judge_study
from micronet_jax.studies.plan import describe_plan
from micronet_jax.studies.results import Row, read_results, write_results
from micronet_jax.studies.schema import StudyConfig
from micronet_jax.studies.setting import Setting, find_setting, setting_from_json


class Study(NamedTuple):
  """One table or figure; what it claims and says is in paper.toml.

  Attributes:
    rows: those whose evaluations the archive has; all others that can be named by then
      are asked for.
    draw: figures by name.
    facts: that claims and notes mention.
  """

  rows: Callable[[Setting, Archive], Iterable[Row]]
  draw: Callable[[Sequence[Row], Setting], dict[str, Figure]]
  facts: Callable[[Sequence[Row], Setting], dict[str, Any]]


_MATRIX = Study(
  comparisons.matrix_rows, comparisons.draw_matrix, comparisons.matrix_facts
)
_AUXILIARY = Study(
  weights.auxiliary_rows, weights.draw_auxiliary, weights.auxiliary_facts
)
STUDIES = {
  "table1": Study(
    comparisons.table_rows, comparisons.draw_table, comparisons.table_facts
  ),
  "fig3": Study(examples.example_rows, examples.draw_examples, examples.example_facts),
  "fig4": _MATRIX,
  "fig5": Study(transfer.tuning_rows, transfer.draw_tuning, transfer.tuning_facts),
  "fig6": _AUXILIARY,
  "fig7_8": Study(weights.balance_rows, weights.draw_balance, weights.balance_facts),
  "fig9": Study(weights.lambda_rows, weights.draw_lambdas, weights.lambda_facts),
  "fig10": _MATRIX,
  "fig11": _AUXILIARY,
  "fig12": Study(examples.map_rows, examples.draw_map, examples.map_facts),
}


def run_study(config: StudyConfig, workdir: str | pathlib.Path) -> None:
  """Trains what is missing, scores it, and writes table, figures and findings.

  Args:
    config: of the study.
    workdir: of all studies; what another study did there is not repeated.

  Raises:
    InputError: a field that cannot be used, or runs that failed: the study has no
      figure then, and says what is missing.
    Stopped: on SIGINT or SIGTERM, after saving.
  """
  place = pathlib.Path(workdir).absolute()
  setting = find_setting(config, read_paper().get(config.study, {}).get("targets", ()))
  archive, rows_of = Archive(place), STUDIES[config.study].rows
  rows = list(rows_of(setting, archive))
  if config.plan_only:
    chooses = "chooses" in read_paper()[config.study]
    print(describe_plan(archive, measure=config.measure, chooses=chooses))
    return
  with caught_signals() as stop:
    while jobs := archive.jobs():
      failures = _execute(jobs, config, place, stop)
      if failures:
        lines = "".join(f"\n  {sentence}" for sentence in failures.values())
        raise InputError(
          f"{config.study} is not complete, so nothing is drawn; {len(failures)} "
          "run(s) failed and the others are kept; run the same command again to go "
          f"on:{lines}"
        )
      rows = list(rows_of(setting, archive))
  write_study(rows, setting, place / f"{config.study}-{setting.budget}-{setting.data}")


def _execute(
  jobs: Sequence[Job], config: StudyConfig, place: pathlib.Path, stop: threading.Event
) -> dict[str, str]:
  """Does jobs, here or on a Ray cluster; says of each run that failed why."""
  if config.executor == "local":
    return work_off(jobs, place, stop)
  return cluster.work_off_on_ray(jobs, place, stop, cpus_per_run=config.cpus_per_run)


def write_study(rows: Sequence[Row], setting: Setting, folder: pathlib.Path) -> None:
  """Writes results.csv, the figures and findings.md, and prints where."""
  name = setting.config.study
  write_results(folder / "results.csv", name, setting.to_json(), rows)
  for title, figure in STUDIES[name].draw(rows, setting).items():
    for ending in ("pdf", "png"):
      save_figure(figure, folder / f"{title}.{ending}")
  facts = STUDIES[name].facts(rows, setting)
  found = judge_study(name, rows, facts)
  with replacing(folder / "findings.md") as beside:
    text = format_findings(rows, setting, found, facts)
    beside.write_text(text, encoding="utf-8")
  for each in found:
    value = f"{each.estimate.value:+.3f}"
    print(f"{each.verdict}: {each.claim.text} ({each.claim.number}: {value})")
  print(f"results, figures and findings: {folder}", flush=True)


def findings_from_results(path: str | pathlib.Path) -> str:
  """The text of findings.md, made of a results.csv alone.

  Raises:
    InputError: a file without counts by patient, as before version 0.2, or without
      rows, as of figure 12, for which nothing is trained.
  """
  values, rows = read_results(pathlib.Path(path))
  setting = setting_from_json(values)
  facts = STUDIES[setting.config.study].facts(rows, setting)
  found = judge_study(setting.config.study, rows, facts)
  return format_findings(rows, setting, found, facts)


if __name__ == "__main__":
  try:
    print(findings_from_results(*sys.argv[1:2]), end="")
  except InputError as error:
    raise SystemExit(f"error: {error}") from None
