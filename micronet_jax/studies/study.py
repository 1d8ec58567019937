"""One study from its config to its folder: `run_study(config, workdir)`.

Called by `launch.py`. `python -m micronet_jax.studies.study RESULTS.csv` prints the
findings.md of a results.csv anew.
"""

import dataclasses
import json
import pathlib
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from micronet_jax import figures
from micronet_jax.datasets.organs import load_organ
from micronet_jax.errors import InputError
from micronet_jax.files import replacing
from micronet_jax.settings import as_dict
from micronet_jax.signals import caught_signals
from micronet_jax.studies import claims, compare, transfer
from micronet_jax.studies.execution import (
  Archive,
  describe_plan,
  work_off,
  work_off_on_ray,
)
from micronet_jax.studies.results import Row, read_results, write_results
from micronet_jax.studies.schema import StudyConfig
from micronet_jax.studies.setting import Setting, find_setting, setting_from_json
from micronet_jax.studies.traits import describe_traits

SAME_SLIDE = "one slide an organ: tested on the same organ is tested on the same slide"


class Study(NamedTuple):
  """One table or figure; what it claims and says, with the `facts`, is in paper.toml.

  `rows` gives those that the archive has, and asks for all others that can be named.
  `tissue`: whether what the organs' tissue is like is part of it.
  """

  rows: Callable[[Setting, Archive], Iterable[Row]]
  draw: Callable[[Sequence[Row], Setting], dict[str, Figure]]
  facts: Callable[[Sequence[Row], Setting], dict[str, Any]]
  tissue: bool = False


_MATRIX = Study(
  compare.matrix_rows, compare.draw_matrix, compare.matrix_facts, tissue=True
)
_MIXED = Study(
  transfer.auxiliary_rows, transfer.draw_by_target, transfer.auxiliary_facts
)
STUDIES = {
  "table1": Study(compare.table_rows, compare.draw_summary, compare.table_facts),
  "fig3": Study(compare.example_rows, compare.draw_examples, compare.example_facts),
  "fig4": _MATRIX,
  "fig5": Study(transfer.tuning_rows, transfer.draw_by_target, transfer.tuning_facts),
  "fig6": _MIXED,
  "fig7_8": Study(transfer.balance_rows, transfer.draw_balance, transfer.balance_facts),
  "fig9": Study(transfer.lambda_rows, transfer.draw_lambdas, transfer.lambda_facts),
  "fig10": _MATRIX,
  "fig11": _MIXED,
  "fig12": Study(lambda setting, archive: (), compare.draw_map, compare.map_facts),
}


def run_study(config: StudyConfig, workdir: str | pathlib.Path) -> None:
  """Trains what is missing, scores it, and writes table, figures and findings.

  Args:
    config: of the study.
    workdir: of all studies; what another study did there is not repeated.

  Raises:
    InputError: a field that cannot be used, or runs that failed; nothing is drawn then.
    Stopped: on SIGINT or SIGTERM, after saving.
  """
  if config.study not in STUDIES:
    names = ", ".join(STUDIES)
    raise InputError(f"config.study is {config.study!r}; the studies are {names}")
  place, paper = pathlib.Path(workdir).absolute(), claims.read_paper()[config.study]
  setting = find_setting(config, paper.get("targets", []))
  archive, rows_of = Archive(place), STUDIES[config.study].rows
  rows = list(rows_of(setting, archive))
  if config.plan_only:
    more = "chooses" in paper
    print(describe_plan(archive, measure=config.measure, chooses=more))
    return
  with caught_signals() as stop:
    while jobs := archive.jobs():
      if config.executor == "ray":
        cpus = config.cpus_per_run
        failures = work_off_on_ray(jobs, place, stop, cpus_per_run=cpus)
      else:
        failures = work_off(jobs, place, stop)
      if failures:
        raise InputError(
          f"{config.study} is not complete, so nothing is drawn; {len(failures)} "
          "run(s) failed and the others are kept; run the same command again to go "
          "on:" + "".join(f"\n  {sentence}" for sentence in failures.values())
        )
      rows = list(rows_of(setting, archive))
  if STUDIES[config.study].tissue:
    organs = setting.organs
    tissue = {each.label: describe_traits(load_organ(each)) for each in organs}
    setting = dataclasses.replace(setting, tissue=tissue)
  name = f"{config.study}-{config.budget}-{pathlib.Path(config.data).name}"
  name += "-even_steps" if config.even_steps else ""
  write_study(rows, setting, place / name)


def write_study(rows: Sequence[Row], setting: Setting, folder: pathlib.Path) -> None:
  """Writes results.csv, the figures and findings.md, and prints where."""
  name = setting.config.study
  write_results(folder / "results.csv", name, setting.to_json(), rows)
  for title, figure in STUDIES[name].draw(rows, setting).items():
    if setting.one_slide and rows:
      figures.add_caption(figure, SAME_SLIDE)
    for ending in ("pdf", "png"):
      figures.save_figure(figure, folder / f"{title}.{ending}")
  text, found = judge_study(rows, setting)
  with replacing(folder / "findings.md") as beside:
    beside.write_text(text, encoding="utf-8")
  for claim, estimate, verdict in found:
    print(f"{verdict}: {claim.text} ({claim.number}: {estimate.value:+.3f})")
  print(f"results, figures and findings: {folder}", flush=True)


def findings_from_results(path: str | pathlib.Path) -> str:
  """The text of findings.md, made of a results.csv alone.

  Raises InputError for one without counts by patient, as before version 0.2, or without
  rows, as of figure 12, for which nothing is trained.
  """
  values, rows = read_results(pathlib.Path(path))
  return judge_study(rows, setting_from_json(values))[0]


def judge_study(
  rows: Sequence[Row], setting: Setting
) -> tuple[str, list[claims.Finding]]:
  """The text of findings.md, and what was found of each claim."""
  name = setting.config.study
  facts, paper = STUDIES[name].facts(rows, setting), claims.read_paper()[name]
  listed = claims.list_claims(name, facts)
  found = [claims.judge_claim(claim, rows, unit=setting.unit) for claim in listed]
  heads = claims.read_paper()["basis"]["heads"]
  lines = [f"# {paper['title']}", "", _describe_basis(rows, setting), ""]
  lines += [f"| {heads} |", "|---" * len(heads.split("|")) + "|"]
  for claim, (value, low, high, source), verdict in found:
    ends = "none" if low is None or high is None else f"{low:+.3f} to {high:+.3f}"
    number = claim.number + (f"; above {claim.least:g}" if claim.least else "")
    cells = [claim.text, number, f"{value:+.3f}", ends, source, f"**{verdict}**"]
    lines.append(f"| {' | '.join(cells)} |")
  lines.append("")
  for note in paper["notes"]:
    words = {"text": note} if isinstance(note, str) else note
    if "needs" not in words or facts[words["needs"]]:
      lines.append(claims.fill(words["text"], facts))
  if rows:
    given = {n: v for n, v in as_dict(setting.numbers).items() if v is not None}
    numbers = json.dumps(given, sort_keys=True)
    lines += ["", f"All numbers of the budget: `{numbers}`"]
  return "\n".join(lines).rstrip() + "\n", found


def _describe_basis(rows: Sequence[Row], setting: Setting) -> str:
  """Budget, data and how to read the table."""
  texts, numbers = claims.read_paper()["basis"], setting.numbers
  seeds, budget = sorted({row.seed for row in rows}), setting.config.budget
  facts = {
    **vars(numbers),
    **{"worth": texts[budget], "budget": budget, "seeds": seeds},
    "data": pathlib.Path(setting.config.data).name,
    "shown": f"at most {numbers.images}" if numbers.images else "all",
    "names": ", ".join(organ.label for organ in setting.organs),
    "split": texts["one_slide" if setting.one_slide else "patients"],
    **{"units": setting.unit, "alike": claims.LEAST_DIFFERENCE},
  }
  over = texts["seeds" if len(seeds) >= 3 else "few_seeds"]
  facts["over"] = claims.fill(over, facts)
  return claims.fill(texts["text"], facts) if seeds else texts["nothing"]


if __name__ == "__main__":
  try:
    print(findings_from_results(*sys.argv[1:2]), end="")
  except InputError as error:
    raise SystemExit(f"error: {error}") from None
