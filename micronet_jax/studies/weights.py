"""Figures 6 and 11, auxiliary data; 7 and 8, their balance γ; 9, the weight λ.

Called by `studies.study`.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.figure import Figure

from micronet_jax.studies import drawing
from micronet_jax.studies.claims import Where, describe_by_panel, list_panels
from micronet_jax.studies.execution import Archive
from micronet_jax.studies.results import Row
from micronet_jax.studies.runs import make_run
from micronet_jax.studies.schema import MICRONET, NAMES
from micronet_jax.studies.setting import Setting
from micronet_jax.studies.transfer import bases_of

AXES = {
  "percentage of auxiliary data": "auxiliary training data (%)",
  "percentage of target data": "target training data (%)",
}
"""What the panels of each row of Fig. 6 end in, and their x axis."""

ALONE, MIXTURE = "target only", "target + {:g} % auxiliary"
SOURCES = {
  "several sources": ["of all others"],
  "a single source": ["(worst)", "(best)"],
}
"""What the panels of Figs. 7 and 8 end in."""

EXTREME = 500
"""The paper's networks with λ from here on had exploding gradients."""


def auxiliary_rows(setting: Setting, archive: Archive) -> Iterable[Row]:
  """Row 1: all of the target, shares of the others; row 2 (Fig. 6): shares of it."""
  numbers = setting.numbers
  model = "frcn" if setting.config.study == "fig11" else MICRONET
  above, below = AXES
  for target in setting.targets:
    others = [organ for organ in setting.organs if organ != target]
    for seed in setting.seeds:
      for share in numbers.percentages:
        run = make_run(setting, target, seed, model=model, others=others, share=share)
        series = f"{NAMES[model]} {'mix' if share else 'target'}"
        yield from archive.rows(f"{target.label}: {above}", series, share, run, target)
      for percent in numbers.fractions if model == MICRONET else ():
        for share in (0, *numbers.mixed):
          mix: dict[str, Any] = {"others": others, "share": share}
          run = make_run(setting, target, seed, percent=percent, **mix)
          series = MIXTURE.format(share) if share else ALONE
          panel = f"{target.label}: {below}"
          yield from archive.rows(panel, series, percent, run, target)


def draw_auxiliary(rows: Sequence[Row], setting: Setting) -> dict[str, Figure]:
  """A column for each target; the top row has the target alone as a line across."""
  panels = set(list_panels(rows))
  kinds = [k for k in AXES if f"{setting.targets[0].label}: {k}" in panels]
  names = [[f"{target.label}: {kind}" for target in setting.targets] for kind in kinds]
  series = list(dict.fromkeys(row.series for row in rows))
  level = [name for name in series if name.endswith(" target")]
  looks = drawing.choose_looks([*level, *series])
  labels: dict[str, Any] = {"xlabels": [AXES[kind] for kind in kinds], "level": level}
  figure = drawing.draw_panels(rows, names, looks, columns=3, height=3.0, **labels)
  return {setting.config.study: figure}


def auxiliary_facts(rows: Sequence[Row], setting: Setting) -> dict[str, Any]:
  """Which shares are compared; row 2 only where there is one."""
  numbers = setting.numbers
  mixed = numbers.mixed if any(row.series == ALONE for row in rows) else ()
  extremes = {"little": min(mixed, default=0), "much": max(mixed, default=0)}
  return {
    "most": max(numbers.percentages),
    "few": [p for p in numbers.fractions if p <= 40] or [numbers.fractions[0]],
    "mixtures": [{"percent": percent} for percent in mixed],
    "extremes": [extremes] if len(mixed) > 1 else [],
    "others": len(setting.organs) - 1,
  }


def balance_rows(setting: Setting, archive: Archive) -> Iterable[Row]:
  """Every γ on every source; single ones once Fig. 4's columns have chosen them."""
  for target in setting.targets:
    others = [organ for organ in setting.organs if organ != target]
    sources = {f"{p:g} % of all others": (others, p) for p in setting.numbers.mixed}
    bases = bases_of(setting, target, archive)
    for kind in ("worst", "best") if bases else ():
      organ = setting.organ(getattr(bases, kind))
      sources[f"{organ.label} ({kind})"] = [organ], 100
    alone = [make_run(setting, target, seed) for seed in setting.seeds]
    for seed, own in zip(setting.seeds, alone, strict=True):
      for source, (organs, share) in sources.items():
        panel = f"{target.label} + {source}"
        yield from archive.rows(panel, ALONE, 1, own, target)
        for gamma in setting.numbers.gammas:
          mix: dict[str, Any] = {"others": organs, "share": share, "gamma": gamma}
          run = make_run(setting, target, seed, **mix)
          yield from archive.rows(panel, f"γ = {gamma:g}", gamma, run, target)


def draw_balance(rows: Sequence[Row], setting: Setting) -> dict[str, Figure]:
  """Fig. 7: precision and recall; Fig. 8: best F1 over log γ."""
  found = [
    [panel for panel in list_panels(rows) if panel.startswith(f"{target.label} + ")]
    for target in setting.targets
  ]
  most = max(map(len, found))
  names = [[n[i] if i < len(n) else "" for n in found] for i in range(most)]
  looks = drawing.choose_looks(
    (f"γ = {gamma:g}" for gamma in setting.numbers.gammas), ordered=True
  )
  looks[ALONE] = {"color": "black", "linestyle": "-", "marker": ""}
  fig7 = drawing.draw_panels(rows, names, looks, columns=5)
  turned = []
  for row in rows:
    # The target alone is the same network in every panel of Fig. 7.
    if row.series != ALONE or row.panel in (panels[0] for panels in found):
      series = ALONE if row.series == ALONE else row.panel.partition(" + ")[2]
      place: dict[str, Any] = {
        "panel": row.target,
        "series": series,
        "x": math.log10(row.x),
      }
      turned.append(dataclasses.replace(row, **place))
  targets = [[target.label for target in setting.targets]]
  looks = drawing.choose_looks([ALONE, *(row.series for row in turned)])
  labels: dict[str, Any] = {"xlabels": ["log₁₀ γ"], "level": [ALONE]}
  fig8 = drawing.draw_panels(turned, targets, looks, height=4.0, **labels)
  return {"fig7": fig7, "fig8": fig8}


def balance_facts(rows: Sequence[Row], setting: Setting) -> dict[str, Any]:
  """The sources and γ that are compared, and what a large γ gains in each panel."""
  del setting
  mixed = [row for row in rows if row.series != ALONE]
  single = Where(panel=tuple(SOURCES["a single source"]))
  gammas = sorted({row.x for row in mixed if single.holds(row)})
  most = max((row.x for row in mixed), default=1.0)
  alone = Where(series=(ALONE,))
  return {
    "sources": [{"name": name, "ends": ends} for name, ends in SOURCES.items()],
    "gammas": gammas,
    "small_gammas": [gamma for gamma in gammas if gamma <= 0.999],
    "most": most,
    "gains": describe_by_panel(rows, Where(but=(ALONE,), x=(most,)), alone),
  }


def lambda_rows(setting: Setting, archive: Archive) -> Iterable[Row]:
  """Every λ on every target."""
  for target in setting.targets:
    for lam in setting.numbers.lambdas:
      for seed in setting.seeds:
        run = make_run(setting, target, seed, lam=lam)
        yield from archive.rows(target.label, f"λ = {lam:g}", lam, run, target)


def draw_lambdas(rows: Sequence[Row], setting: Setting) -> dict[str, Figure]:
  """Precision against recall, a panel for each target."""
  series = [row.series for row in rows if not row.diverged]
  looks = drawing.choose_looks(series, ordered=True)
  names = [[target.label for target in setting.targets]]
  return {"fig9": drawing.draw_panels(rows, names, looks, height=3.7)}


def lambda_facts(rows: Sequence[Row], setting: Setting) -> dict[str, Any]:
  """What else λ changes, which runs diverged, and what the others with it scored."""
  lines = []
  for row in rows:
    if row.diverged or row.x >= EXTREME:
      what = f"stayed finite, F1 {row.score():.3f}"
      what = row.diverged.partition(" (")[0] if row.diverged else what
      lines.append(f"- {row.run_title}, seed {row.seed}: {what}")
  return {
    "rate": setting.numbers.learning_rate,
    "extreme": EXTREME,
    "gains": describe_by_panel(rows, Where(low=5, high=50), Where(high=0.5)),
    "runs": "\n".join(lines or ["- none"]),
  }
