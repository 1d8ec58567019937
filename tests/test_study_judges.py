"""The numbers that decide the paper's claims, checked by hand."""

import dataclasses

import pytest
from study_tables import Nothing, cell, made, outcome

from configs.paper import common
from micronet_jax.studies import (
  auxiliary,
  balance,
  finetuning,
  results,
  setting,
  table1,
  weighting,
)
from micronet_jax.studies.recipe import NAMES
from micronet_jax.studies.runs import Start


def at(f1):
  """Six patients alike, so that intervals are of no width."""
  return outcome([f1] * 6, [2 - 2 * f1] * 6, [0] * 6)


def judged(module, table, study, **numbers):
  chosen = made(study=study)
  changed = chosen.numbers.copy_and_resolve_references()
  for field, value in numbers.items():
    changed[field] = value
  found = module.judge(table, dataclasses.replace(chosen, numbers=changed))
  return {each.claim: each for each in found}


def value(found, claim):
  (only,) = (each for text, each in found.items() if claim in text)
  return pytest.approx(only.estimate.value), only.decided


def rows(panel, series):
  return [
    (cell(name, panel, x), at(f1))
    for name, points in series.items()
    for x, f1 in points.items()
  ]


def test_figure_5_by_hand():
  course = {
    "from scratch": {30: 0.1, 100: 0.5, 300: 0.6},
    "best": {30: 0.3, 100: 0.7, 300: 0.8},
    "worst": {30: 0.2, 100: 0.55, 300: 0.5},
  }
  data = {
    "from scratch": {10: 0.3, 40: 0.5, 100: 0.6},
    "best": {10: 0.6, 40: 0.7, 100: 0.8},
    "worst": {10: 0.2, 40: 0.5, 100: 0.5},
  }
  stages = {
    "from scratch": {0: 0.6},
    "best": {10: 0.5, 150: 0.1, 300: 0.8},
    "worst": {10: 0.4, 150: 0.9, 300: 0.5},
  }
  frozen = {
    "from scratch": {0: 0.6},
    "best": {0: 0.9, 2: 0.7, 7: 0.4, 9: 0.1},
    "worst": {0: 0.9, 2: 0.6, 7: 0.3, 9: 0.1},
  }
  table = [
    each
    for row, series in zip(finetuning.ROWS, (course, data, stages, frozen), strict=True)
    for each in rows(f"a: {row}", series)
  ]
  found = judged(
    finetuning, table, "fig5", fractions=(10, 40, 100), frozen=(0, 2, 7, 9)
  )
  much_less = (0.7 + 0.55) / 2 - 0.6
  assert value(found, "with much less training") == (much_less, "holds")
  assert value(found, "no matter from which base") == (0.55 - 0.6, "does not hold")
  assert value(found, "data, learning from scratch") == (0.6 - 0.3, "holds")
  assert value(found, "data, fine-tuning") == (0.65 - 0.4, "holds")
  less_data = (0.6 + 0.7 + 0.2 + 0.5) / 4 - (0.3 + 0.5) / 2
  assert value(found, "with less target data") == (less_data, "holds")
  assert value(found, "bases from an early stage") == (0.45 - 0.6, "does not hold")
  assert value(found, "early transfer") == (0.45 - 0.65, "does not hold")
  assert value(found, "late stages of the best base") == (0.8 - 0.6, "holds")
  assert value(found, "only the last 2 or 3 blocks") == (0.6 - 0.35, "holds")
  assert value(found, "at most the first 2 blocks") == (0.65 - 0.6, "holds")


def test_figure_5_says_how_often_the_base_itself_was_best():
  base = cell("from scratch", "b").evaluation.run
  table = []
  for series, step in (("from scratch", 300), ("best", 0), ("worst", 200)):
    each = cell(series, f"a: {finetuning.ROWS[1]}", 100)
    if series != "from scratch":
      run = dataclasses.replace(each.evaluation.run, start=Start(base, "best"))
      each = each._replace(evaluation=each.evaluation._replace(run=run))
    table.append((each, dataclasses.replace(at(0.5), step=step)))
  text = "\n".join(finetuning.notes(table, made(study="fig5")))
  assert "it was preferred in 1 of 2 courses" in text


def by_seeds(panel, series, x, f1):
  return [(cell(series, panel, x, seed=seed), at(each)) for seed, each in enumerate(f1)]


def test_an_extreme_is_chosen_once_by_the_means_over_seeds():
  """Chosen for each seed, noise alone would look like an effect."""
  alone, mixed = {0: (0.6, 0.6, 0.6)}, {50: (0.5, 0.6, 0.7)}
  table = []
  for target, turn in (("a", 0), ("b", 1), ("c", 2)):
    panel = f"{target}: percentage of auxiliary data"
    table += by_seeds(panel, "t", 0, alone[0])
    scores = mixed[50][turn:] + mixed[50][:turn]
    if target == "b":
      scores = tuple(score - 0.01 for score in scores)
    table += by_seeds(panel, "m", 50, scores)
  numbers = {"percentages": (0, 50)}
  costs = value(judged(auxiliary, table, "fig6", **numbers), "not always helpful")
  assert costs == (0.01, "cannot tell")
  table = []
  for gamma, scores in ((1, (0.5, 0.7, 0.5)), (5, (0.7, 0.5, 0.56))):
    table += by_seeds("a + b (best)", f"γ = {gamma}", gamma, scores)
  table += by_seeds("a + b (best)", balance.ALONE, 1, (0.6, 0.6, 0.6))
  found = judged(balance, table, "fig7_8")
  gain = (0.7 + 0.5 + 0.56) / 3 - 0.6
  assert value(found, "single source, a proper γ") == (gain, "cannot tell")


def test_only_patients_of_what_was_chosen_count():
  def few(f1):
    return outcome([f1] * 3, [2 - 2 * f1] * 3, [0] * 3, name="few")

  panels = [f"{name}: percentage of auxiliary data" for name in ("few", "many")]
  table = [
    *[(cell("t", panels[0], 0), few(0.8)), (cell("m", panels[0], 50), few(0.5))],
    *[(cell("t", panels[1], 0), at(0.8)), (cell("m", panels[1], 50), at(0.7))],
  ]
  found = judged(auxiliary, table, "fig6", percentages=(0, 50))
  (worst,) = (each for text, each in found.items() if "not always helpful" in text)
  assert worst.estimate.value == pytest.approx(0.3)
  assert worst.estimate.source == "3 test patients"
  assert worst.decided == "cannot tell"  # of three patients


def test_nothing_to_choose_from_is_said():
  table = by_seeds("a + b (best)", "γ = 0.1", 0.1, (0.5, 0.7, 0.5))
  table += by_seeds("a + b (best)", balance.ALONE, 1, (0.6, 0.6, 0.6))
  found = judged(balance, table, "fig7_8")
  (only,) = (each for text, each in found.items() if "single source, a proper" in text)
  assert only.estimate.source == "nothing to compare"
  assert only.decided == "cannot tell"


def test_figure_6_by_hand():
  few = {10: 0.3, 100: 0.8}
  table = [
    *rows("a: percentage of auxiliary data", {"t": {0: 0.8}, "m": {5: 0.9, 50: 0.7}}),
    *rows("b: percentage of auxiliary data", {"t": {0: 0.6}, "m": {5: 0.4, 50: 0.7}}),
  ]
  for target, little, much in (("a", 0.5, 0.6), ("b", 0.6, 0.4)):
    table += rows(
      f"{target}: percentage of target data",
      {
        "target only": few,
        "target + 5 % auxiliary": {10: little, 100: 0.8},
        "target + 50 % auxiliary": {10: much, 100: 0.8},
      },
    )
  numbers = {"fractions": (10, 100), "percentages": (0, 5, 50), "mixed": (5, 50)}
  chosen = made(study="fig6")
  changed = chosen.numbers.copy_and_resolve_references()
  changed.update(numbers)
  found = auxiliary.judge(table, dataclasses.replace(chosen, numbers=changed))
  helpful, little, much, overwhelms = (each.estimate.value for each in found)
  assert helpful == pytest.approx(0.8 - 0.7)
  assert little == pytest.approx((0.5 + 0.6) / 2 - 0.3)
  assert much == pytest.approx((0.6 + 0.4) / 2 - 0.3)
  assert overwhelms == pytest.approx(0.6 - 0.4)
  assert [each.decided for each in found] == ["holds"] * 4


def test_figures_7_and_8_by_hand():
  table = []
  for panel, scores in (
    ("a + 5 % of all others", {0.1: 0.2, 1: 0.5, 5: 0.7, 100: 0.6}),
    ("b + 5 % of all others", {0.1: 0.4, 1: 0.5, 5: 0.6, 100: 0.8}),
    ("a + b (best)", {0.1: 0.9, 1: 0.6, 5: 0.5, 100: 0.4}),
    ("a + c (worst)", {0.1: 0.2, 1: 0.6, 5: 0.5, 100: 0.4}),
  ):
    table.append((cell(balance.ALONE, panel, 1), at(0.65)))
    for gamma, f1 in scores.items():
      table.append((cell(f"γ = {gamma:g}", panel, gamma), at(f1)))
  found = judged(balance, table, "fig7_8")
  naive = value(found, "several sources, more weight on the auxiliary")
  assert naive == (0.5 - 0.3, "holds")
  assert value(found, "several sources, γ < 1") == (0.65 - 0.3, "holds")
  large = (0.7 + 0.6 + 0.6 + 0.8) / 4 - 0.5
  assert value(found, "several sources, more weight on the target") == (large, "holds")
  best = (0.7 + 0.8) / 2 - 0.65
  assert value(found, "several sources, a proper γ") == (best, "holds")
  naive = value(found, "single source, more weight on the auxiliary")
  assert naive == (0.6 - 0.55, "holds")
  assert value(found, "single source, γ < 1") == (0.65 - 0.55, "holds")
  assert value(found, "single source, more weight on the target") == (
    0.45 - 0.6,
    "does not hold",
  )
  assert value(found, "single source, a proper γ") == (0.6 - 0.65, "does not hold")
  assert value(found, "best auxiliary source is better") == (0.6 - 0.425, "holds")
  assert value(found, "especially so when γ < 1") == (0.9 - 0.2, "holds")
  (line,) = (each for each in balance.notes(table, made()) if "γ = 100" in each)
  assert "a + 5 % of all others -0.050, b + 5 % of all others +0.150" in line


@pytest.mark.parametrize(
  ("lost", "verdict"),
  [((500, 5000), "holds"), ((5000,), "cannot tell"), ((), "does not hold")],
)
def test_figure_9_by_hand(lost, verdict):
  f1 = {0: 0.2, 0.05: 0.4, 0.5: 0.6, 5: 0.9, 50: 0.7, 500: 0.3, 5000: 0.1}
  table = [
    (cell("λ", "a", x), results.lost("a", "nan") if x in lost else at(score))
    for x, score in f1.items()
  ]
  found = judged(weighting, table, "fig9")
  assert value(found, "λ <= 0.5 are outperformed") == (0.8 - 0.4, "holds")
  assert value(found, "λ = 0 is significantly worse") == (0.8 - 0.2, "holds")
  share, decided = value(found, "500 and 5000 diverge")
  assert (share, decided) == (len(lost) / 2, verdict)
  (counted,) = (each for text, each in found.items() if "diverge" in text)
  ends = counted.estimate.low, counted.estimate.high
  # Where two runs would give as many, or as few, with a chance of 2.5 %.
  by_hand = {
    0: (0, 1 - 0.025**0.5),
    1: (1 - 0.975**0.5, 0.975**0.5),
    2: (0.025**0.5, 1),
  }
  assert ends == pytest.approx(by_hand[len(lost)])
  (line,) = (each for each in weighting.notes(table, made()) if "λ <= 0.5:" in each)
  assert line.endswith(": a +0.400.")


def test_table_1s_recall_and_precision_by_hand():
  hits = {"FCN": 5, "U-Net": 6, "FCRNA": 9, "FCRNB": 8, "FRCN": 7, "MicroNet": 7}
  table = [
    (cell(model, panel), outcome([hits[model]] * 6, [4] * 6, [10 - hits[model]] * 6))
    for model in NAMES.values()
    for panel in "ab"
  ]
  found = judged(table1, table, "table1")
  others = (0.5 + 0.6 + 0.7 + 0.7) / 4
  assert value(found, "FCRNA and FCRNB have a better recall") == (
    0.85 - others,
    "holds",
  )
  precision = {model: count / (count + 4) for model, count in hits.items()}
  two = (precision["FCRNA"] + precision["FCRNB"]) / 2
  rest = sum(p for m, p in precision.items() if m not in ("FCRNA", "FCRNB")) / 4
  assert value(found, "FCRNA and FCRNB have a lower precision") == (
    rest - two,
    "does not hold",
  )
  assert value(found, "lower recall than FCRNA") == (0.9 - 0.55, "holds")
  assert value(found, "lower recall than MicroNet") == (0.7 - 0.55, "holds")


@pytest.mark.parametrize(
  ("models", "claims"),
  [
    ("fcrna,micronet", 1 + 1),
    # Highest of the three; F1 and distance against two; recall of MicroNet.
    ("unet,micronet,fcn", 1 + 2 + 2 + 1),
    ("", 1 + 5 + 5 + 4 + 2),
  ],
)
def test_table_1_of_fewer_models_says_what_they_can_decide(models, claims):
  config = common.get_config("table1")
  config.budget, config.models = "smoke", models
  chosen = setting.from_config(config, ())
  wanted = {NAMES[name] for name in models.split(",") if name} or set(NAMES.values())
  assert {cell.series for cell in table1.cells(chosen, Nothing())} == wanted
  table = [(cell(name, panel), at(0.7)) for name in sorted(wanted) for panel in "ab"]
  found = table1.judge(table, chosen)
  assert len(found) == claims
  assert all(each.estimate.value is not None for each in found)
  text = " ".join(each.claim for each in found)
  assert {name for name in NAMES.values() if name in text} == wanted


def test_table_1_names_what_learned_little():
  poor = at(0.3)
  table = [
    (cell(model, panel), poor if (model, panel) == ("FCRNB", "b") else at(0.7))
    for model in NAMES.values()
    for panel in "ab"
  ]
  text = "\n".join(table1.notes(table, made(study="table1")))
  assert "half of the median F1: FCRNB on b, seed 0 (F1 0.300)." in text
