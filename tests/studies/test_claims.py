"""The numbers that decide the paper's claims, checked by hand, and what they are of."""

import itertools

import numpy as np
import pytest
from study_tables import at, found, judged, row, rows_of, setting

from micronet_jax.studies import claims, study
from micronet_jax.studies.claims import Claim, Extreme, Where, judge_claim
from micronet_jax.studies.schema import NAMES


def value(findings, text):
  (only,) = (each for words, each in findings.items() if text in words)
  return pytest.approx(only.estimate.value), only.verdict


def rows_at(panel, series):
  return [
    row(name, panel, x, f1)
    for name, points in series.items()
    for x, f1 in points.items()
  ]


def by_seeds(panel, series, x, f1):
  return [row(series, panel, x, each, seed=seed) for seed, each in enumerate(f1)]


# The engine.


def test_a_difference_by_hand():
  table = [
    *(row("same", "a", f1=0.9), row("diff", "a", f1=0.5), row("diff", "a", f1=0.7)),
    *(row("same", "b", f1=0.8), row("diff", "b", f1=0.6), row("diff", "b", f1=None)),
    row("same", "c", f1=0.1),  # without a partner
  ]
  same, diff = Where(series=("same",)), Where(series=("diff",))
  estimate, verdict = judge_claim(Claim("", "", same, diff), table)[1:]
  assert estimate.value == pytest.approx(((0.9 - 0.6) + (0.8 - 0.6)) / 2)
  assert verdict == "holds"
  assert judge_claim(Claim("", "", diff, same), table).verdict == "does not hold"
  nothing = judge_claim(Claim("", "", Where(series=("x",)), same), table)
  assert nothing.estimate.source == "nothing to compare"
  assert nothing.verdict == "cannot tell"
  both = judge_claim(Claim("", "", same, Where()), table)  # in both is in neither
  assert both.verdict == "cannot tell"
  text = claims.describe_by_panel(table, same, diff)
  assert text == "a +0.300, b +0.200"


@pytest.mark.parametrize(
  ("where", "expected"),
  [
    (Where(), "abc"),
    (Where(panel=(" one",)), "ab"),
    (Where(panel=("p one", "p two")), "abc"),
    (Where(series=("s", "t")), "ab"),
    (Where(but=("s",)), "bc"),
    (Where(x=(1, 2)), "bc"),
    (Where(low=1), "bc"),
    (Where(high=1), "ab"),
    (Where(at={"p one": 1.0}), "b"),
    (Where(panel=(" one",), but=("t",)), "a"),
  ],
)
def test_which_rows_are_meant(where, expected):
  table = {"a": ("s", "p one", 0.0), "b": ("t", "p one", 1.0), "c": ("u", "p two", 2.0)}
  assert [k for k, place in table.items() if where.holds(row(*place))] == [*expected]


def test_rows_that_a_seed_lacks_are_left_out():
  """Checked by hand: a gain of 0.1 wherever there is a pair."""
  table = [
    row("scratch", "a", 0, 0.5, seed=0),
    row("best", "a", 120, 0.6, seed=0),
    row("best", "a", 240, 0.9, seed=0),
    row("scratch", "b", 0, 0.2, seed=0),
    row("scratch", "a", 0, 0.4, seed=1),
    row("best", "a", 120, 0.5, seed=1),
    row("scratch", "b", 0, 0.2, seed=1),
    row("best", "b", 240, 0.9, seed=1),
  ]
  claim = Claim("", "", Where(series=("best",)), Where(series=("scratch",)))
  assert judge_claim(claim, table).estimate.value == pytest.approx(0.1)
  kept, by_seed = claims.align_seeds(table)
  assert [(r.series, r.panel, r.x) for r in kept] == [
    ("scratch", "a", 0),
    ("best", "a", 120),
    ("scratch", "b", 0),
  ]
  scores = [[tally.score("f1") for tally in each] for each in by_seed]
  np.testing.assert_allclose(scores, [[0.5, 0.6, 0.2], [0.4, 0.5, 0.2]])


def test_an_extreme_is_chosen_once_by_the_means_over_seeds():
  """Chosen for each seed, noise alone would look like an effect."""
  table, scores = [], (0.5, 0.6, 0.7)
  for target, turn in (("a", 0), ("b", 1), ("c", 2)):
    less = 0.01 if target == "b" else 0.0
    turned = [score - less for score in (*scores[turn:], *scores[:turn])]
    table += by_seeds(target, "alone", 0, (0.6,) * 3)
    table += by_seeds(target, "mix", 50, turned)
  claim = Claim("", "", Where(x=(0,)), Where(x=(50,)))
  claim = claim._replace(choose=Extreme("largest", ["panel"]))
  assert judge_claim(claim, table).estimate.value == pytest.approx(0.01)
  least = judge_claim(claim._replace(choose=Extreme("least", ["panel"])), table)
  assert least.estimate.value == pytest.approx(0.0)


def test_only_patients_of_what_was_chosen_count():
  def few(series, x, f1):
    counts = [f1] * 3, [2 - 2 * f1] * 3, [0] * 3
    return found(*counts, name="few", panel="few", series=series, x=x)

  table = [few("t", 0.0, 0.8), few("m", 50.0, 0.5)]
  table += [row("t", "many", 0, 0.8), row("m", "many", 50, 0.7)]
  claim = Claim("", "", Where(x=(0,)), Where(x=(50,)))
  worst = judge_claim(claim._replace(choose=Extreme("largest", ["panel"])), table)
  assert worst.estimate.value == pytest.approx(0.3)
  assert worst.estimate.source == "3 test patients"
  assert worst.verdict == "cannot tell"  # of three patients


def test_facts_stand_where_braces_name_them():
  facts = {"few": [10.0, 40], "third": 1200, "names": ["a", "b"]}
  text = claims.fill("{few} % after {third:,}", facts)
  assert text == "10, 40 % after 1,200"
  assert claims.fill("{names[0]}", facts) == "a"


@pytest.mark.parametrize("name", study.STUDIES)
def test_every_claim_of_every_study_is_about_rows_that_there_are(name):
  """A word of paper.toml that no row has would be a claim that nothing can decide."""
  seeds = (0, 1, 2)
  chosen = setting(name, names="abcde", seeds=seeds, stages=(30, 300))
  if name == "fig12":
    return  # of an image
  found_ = judged(rows_of(chosen), chosen)
  assert found_
  for text, each in found_.items():
    assert np.isfinite(each.estimate.value), text
    assert "nothing" not in each.estimate.source, text
    assert "{" not in text, text


# The figures.


def test_table_1_is_mean_and_deviation_over_data_sets():
  chosen = setting("table1", names="abc")
  rng = np.random.default_rng(1)
  table = []
  for model, panel in itertools.product(NAMES.values(), "abc"):
    tp = rng.integers(20, 60, 6)
    counts = tp, rng.integers(1, 9, 6), 60 - tp
    table.append(found(*counts, name=panel, panel=panel, series=model))
  summary = study.compare.summarise_table(table)
  means = {}
  for model, cells in summary.items():
    f1 = [each.score("f1") for each in table if each.series == model]
    assert cells[2] == f"{100 * np.mean(f1):.1f} ± {100 * np.std(f1, ddof=1):.1f}"
    scores = [[r.score(m) for r in table if r.series == model] for m in ("f1", "ed")]
    means[model] = np.mean(scores, axis=1)
  findings = judged(table, chosen)
  lead = means["MicroNet"][0] - max(
    mean[0] for model, mean in means.items() if model != "MicroNet"
  )
  assert value(findings, "has the highest F1")[0] == lead
  better = means["MicroNet"] - means["FCN"]
  assert value(findings, "higher F1 score than FCN;")[0] == better[0]
  assert value(findings, "lower Euclidean distance than FCN;")[0] == -better[1]


def test_table_1s_recall_and_precision_by_hand():
  hits = {"FCN": 5, "U-Net": 6, "FCRNA": 9, "FCRNB": 8, "FRCN": 7, "MicroNet": 7}
  table = [
    found([hits[m]] * 6, [4] * 6, [10 - hits[m]] * 6, series=m, panel=panel)
    for m in NAMES.values()
    for panel in "ab"
  ]
  findings = judged(table, setting("table1", names="ab"))
  others = (0.5 + 0.6 + 0.7 + 0.7) / 4
  assert value(findings, "have a better recall") == (0.85 - others, "holds")
  precision = {model: count / (count + 4) for model, count in hits.items()}
  two = (precision["FCRNA"] + precision["FCRNB"]) / 2
  rest = sum(p for m, p in precision.items() if m not in ("FCRNA", "FCRNB")) / 4
  assert value(findings, "have a lower precision") == (rest - two, "does not hold")
  assert value(findings, "lower recall than FCRNA;") == (0.9 - 0.55, "holds")
  assert value(findings, "lower recall than MicroNet;") == (0.7 - 0.55, "holds")


def test_table_1_names_what_learned_little_and_what_diverged():
  table = [
    row(model, panel, f1=0.3 if (model, panel) == ("FCRNB", "b") else 0.7)
    for model in NAMES.values()
    for panel in "ab"
  ]
  chosen = setting("table1", names="ab")
  text, _ = study.judge_study(table, chosen)
  assert "half of the median F1: FCRNB on b, seed 0 (F1 0.300)." in text
  assert "Diverged" not in text
  table[0] = row("FCN", "a", f1=None)
  text, _ = study.judge_study(table, chosen)
  assert "Diverged, and left out: FCN on a, seed 0." in text
  # MicroNet against the best of the others where none diverged.
  table[1] = row("FCN", "b", f1=0.9)
  lead = value(judged(table, chosen), "has the highest F1")
  assert lead == (0.7 - 0.9, "does not hold")


def test_figure_4_by_hand():
  f1 = {
    **{("a", "a"): 0.9, ("b", "a"): 0.5, ("c", "a"): 0.7},
    **{("a", "b"): 0.6, ("b", "b"): 0.8, ("c", "b"): 0.4},
    **{("a", "c"): 0.9, ("b", "c"): 0.5, ("c", "c"): 0.8},
  }
  table = [
    row("same" if a == b else "diff", b, f1=score, trained_on=a, name=b)
    for (a, b), score in sorted(f1.items(), key=lambda item: item[0][::-1])
  ]
  chosen = setting(names="abc")
  targets, same, different = study.compare.summarise_matrix(table)
  assert targets == ["a", "b", "c"]
  assert same == pytest.approx([0.9, 0.8, 0.8])
  assert different == pytest.approx(np.array([[0.5, 0.7], [0.6, 0.4], [0.9, 0.5]]))
  findings = judged(table, chosen)
  assert value(findings, "is higher") == ((0.3 + 0.3 + 0.1) / 3, "holds")
  # Two of three organs say nothing of most.
  assert value(findings, "for most organs") == (2 / 3, "cannot tell")
  text, _ = study.judge_study(table, chosen)
  assert "c (0.800, best other 0.900)" in text
  assert "in 3 of 3 organs" in text


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
  kinds = ("iterations", "target data", "stage of the base", "frozen blocks")
  table = [
    each
    for kind, series in zip(kinds, (course, data, stages, frozen), strict=True)
    for each in rows_at(f"a: {kind}", series)
  ]
  found_ = judged(
    table, setting("fig5", fractions=(10.0, 40.0, 100.0), frozen=(0, 2, 7, 9))
  )
  much_less = (0.7 + 0.55) / 2 - 0.6
  assert value(found_, "with much less training") == (much_less, "holds")
  assert value(found_, "no matter from which base") == (0.55 - 0.6, "does not hold")
  assert value(found_, "data, learning from scratch") == (0.6 - 0.3, "holds")
  assert value(found_, "data, fine-tuning") == (0.65 - 0.4, "holds")
  less_data = (0.6 + 0.7 + 0.2 + 0.5) / 4 - (0.3 + 0.5) / 2
  assert value(found_, "with less target data") == (less_data, "holds")
  assert value(found_, "bases from an early stage") == (0.45 - 0.6, "does not hold")
  assert value(found_, "early transfer") == (0.45 - 0.65, "does not hold")
  assert value(found_, "late stages of the best base") == (0.8 - 0.6, "holds")
  assert value(found_, "only the last 2 or 3 blocks") == (0.6 - 0.35, "holds")
  assert value(found_, "at most the first 2 blocks") == (0.65 - 0.6, "holds")


def test_figure_5_says_which_bases_and_how_often_they_were_best():
  chosen = setting("fig5")
  table = rows_of(chosen)
  text, _ = study.judge_study(table, chosen)
  tuned = [r for r in table if "target data" in r.panel and r.series != "from scratch"]
  assert f"it was preferred in 0 of {len(tuned)} courses" in text
  table = [row_ if row_ != tuned[0] else _untouched(row_) for row_ in table]
  text, _ = study.judge_study(table, chosen)
  assert f"it was preferred in 1 of {len(tuned)} courses" in text
  best = next(r for r in tuned if r.series == "best")
  assert f"| {best.panel.split(':')[0]} | best | {best.base} |" in text
  assert text.count("| best |") == len(chosen.targets)


def _untouched(row_):
  return type(row_)(**{**_fields(row_), "step": 0})


def _fields(row_):
  return {name: getattr(row_, name) for name in row_.__dataclass_fields__}


def test_figure_6_by_hand():
  table = [
    *rows_at(
      "a: percentage of auxiliary data", {"t": {0: 0.8}, "m": {5: 0.9, 50: 0.7}}
    ),
    *rows_at(
      "b: percentage of auxiliary data", {"t": {0: 0.6}, "m": {5: 0.4, 50: 0.7}}
    ),
  ]
  for target, little, much in (("a", 0.5, 0.6), ("b", 0.6, 0.4)):
    table += rows_at(
      f"{target}: percentage of target data",
      {
        "target only": {10: 0.3, 100: 0.8},
        "target + 5 % auxiliary": {10: little, 100: 0.8},
        "target + 50 % auxiliary": {10: much, 100: 0.8},
      },
    )
  numbers = {"fractions": (10.0, 100.0), "percentages": (0.0, 5.0, 50.0)}
  found_ = judged(table, setting("fig6", mixed=(5.0, 50.0), **numbers))
  values = [each.estimate.value for each in found_.values()]
  expected = [0.8 - 0.7, (0.5 + 0.6) / 2 - 0.3, (0.6 + 0.4) / 2 - 0.3, 0.6 - 0.4]
  assert values == pytest.approx(expected)
  assert [each.verdict for each in found_.values()] == ["holds"] * 4
  # Fig. 11 has the first row alone.
  top = [each for each in table if "auxiliary data" in each.panel]
  (only,) = judged(top, setting("fig11", **numbers)).values()
  assert only.estimate.value == pytest.approx(0.1)


def test_figures_7_and_8_by_hand():
  table = []
  for panel, scores in (
    ("a + 5 % of all others", {0.1: 0.2, 1: 0.5, 5: 0.7, 100: 0.6}),
    ("b + 5 % of all others", {0.1: 0.4, 1: 0.5, 5: 0.6, 100: 0.8}),
    ("a + b (best)", {0.1: 0.9, 1: 0.6, 5: 0.5, 100: 0.4}),
    ("a + c (worst)", {0.1: 0.2, 1: 0.6, 5: 0.5, 100: 0.4}),
  ):
    table.append(row("target only", panel, 1, 0.65))
    table += [row(f"γ = {x:g}", panel, x, f1) for x, f1 in scores.items()]
  chosen = setting("fig7_8")
  found_ = judged(table, chosen)
  naive = value(found_, "several sources, more weight on the auxiliary")
  assert naive == (0.5 - 0.3, "holds")
  assert value(found_, "several sources, γ < 1") == (0.65 - 0.3, "holds")
  large = (0.7 + 0.6 + 0.6 + 0.8) / 4 - 0.5
  assert value(found_, "several sources, more weight on the target") == (large, "holds")
  best = (0.7 + 0.8) / 2 - 0.65
  assert value(found_, "several sources, a proper γ") == (best, "holds")
  naive = value(found_, "single source, more weight on the auxiliary")
  assert naive == (0.6 - 0.55, "holds")
  assert value(found_, "single source, γ < 1") == (0.65 - 0.55, "holds")
  large = value(found_, "single source, more weight on the target")
  assert large == (0.45 - 0.6, "does not hold")
  assert value(found_, "single source, a proper γ") == (0.6 - 0.65, "does not hold")
  assert value(found_, "best auxiliary source is better") == (0.6 - 0.425, "holds")
  assert value(found_, "especially so when γ < 1") == (0.9 - 0.2, "holds")
  text, _ = study.judge_study(table, chosen)
  assert "γ = 100 less F1 with the target alone: a + 5 % of all others -0.050" in text
  assert value(found_, "several sources, naive") == (0.5 - 0.65, "does not hold")


def test_a_gamma_that_mostly_diverges_is_not_compared():
  table = []
  for panel, lasting in (("a", 0.9), ("b", None), ("c", None)):
    for x, f1 in ((1, 0.5), (5, 0.6), (100, lasting)):
      table.append(row(f"γ = {x}", f"{panel} + 5 % of all others", x, f1, run=f"{x}"))
    table.append(row("target only", f"{panel} + 5 % of all others", 1, 0.55))
  large = value(
    judged(table, setting("fig7_8")), "several sources, more weight on the target"
  )
  assert large == (0.6 - 0.5, "holds")
  assert claims.mostly_lost(table) == {"γ = 100"}
  text, _ = study.judge_study(table, setting("fig7_8"))
  assert "Diverged, and left out: γ = 100 (" in text


def test_figure_8_names_sources_by_their_part():
  table = [
    row(series, f"{target} + {source}", x, f1, run=f"{target}{source}{x}{series}")
    for target, best, worst in (("a", "c", "d"), ("b", "d", "c"))
    for source in ("50 % of all others", f"{worst} (worst)", f"{best} (best)")
    for series, x, f1 in (
      ("target only", 1, 0.5),
      ("γ = 1", 1, 0.6),
      ("γ = 5", 5, None),
    )
  ]
  chosen = setting("fig7_8", names="abcd", targets="ab", gammas=(1, 5))
  drawn = study.STUDIES["fig7_8"].draw(table, chosen)
  titles = [axes.get_title() for axes in drawn["fig8"].axes]
  assert titles == ["a\n(worst d, best c)", "b\n(worst c, best d)"]
  for axes in drawn["fig8"].axes:
    labels = axes.get_legend_handles_labels()[1]
    parts = ["target only", "50 % of all others", "the worst one", "the best one"]
    assert sorted(labels) == sorted(parts)
  caption = drawn["fig8"].get_suptitle()
  assert caption == "Not drawn, since it diverged: γ = 5 (6 of 6 runs)"


@pytest.mark.parametrize(
  ("lost", "verdict"),
  [((500, 5000), "holds"), ((5000,), "cannot tell"), ((), "does not hold")],
)
def test_figure_9_by_hand(lost, verdict):
  f1 = {0: 0.2, 0.05: 0.4, 0.5: 0.6, 5: 0.9, 50: 0.7, 500: 0.3, 5000: 0.1}
  table = [row("λ", "a", x, None if x in lost else score) for x, score in f1.items()]
  found_ = judged(table, setting("fig9"))
  assert value(found_, "λ <= 0.5 are outperformed") == (0.8 - 0.4, "holds")
  assert value(found_, "λ = 0 is significantly worse") == (0.8 - 0.2, "holds")
  assert value(found_, "500 and 5000 diverge") == (len(lost) / 2, verdict)
  (counted,) = (each for text, each in found_.items() if "diverge" in text)
  # Where two runs would give as many, or as few, with a chance of 2.5 %.
  by_hand = {
    0: (0, 1 - 0.025**0.5),
    1: (1 - 0.975**0.5, 0.975**0.5),
    2: (0.025**0.5, 1),
  }
  ends = counted.estimate.low, counted.estimate.high
  assert ends == pytest.approx(by_hand[len(lost)])
  text, _ = study.judge_study(table, setting("fig9"))
  assert "λ <= 0.5: a +0.400." in text
  assert text.count("nan at step 3\n") == len(lost)
  assert text.count("stayed finite, F1") == 2 - len(lost)


def test_figure_3_is_against_as_many_random_points():
  table = [at(f1, panel=name, name=name) for name, f1 in (("a", 0.9), ("b", 0.6))]
  (only,) = judged(table, setting("fig3")).values()
  assert only.estimate.value == pytest.approx(0.75 - 0.2)
  assert only.verdict == "holds"


@pytest.mark.parametrize(("share", "verdict"), [(1.0, "holds"), (0.9, "does not hold")])
def test_figure_12_is_exact(share, verdict):
  (claim,) = claims.list_claims("fig12", {"share": share, "radius": 15.0})
  estimate, decided = judge_claim(claim, ())[1:]
  assert (estimate.value, estimate.low, decided) == (share, None, verdict)


def test_many_targets_are_drawn_as_their_mean_and_the_first_few():
  table = [
    row("best", f"{target}: iterations", x, 0.1 * i + x / 1000)
    for i, target in enumerate("abcd")
    for x in (60, 120, 300)
    if (target, x) != ("d", 60)  # as of a run that ended early
  ]
  chosen = setting("fig5", names="abcd", targets="abcd")
  figure = study.STUDIES["fig5"].draw(table, chosen)["fig5"]
  titles = [axes.get_title() for axes in figure.axes]
  assert titles == ["mean of 4 targets", "a", "b", "c"]
  (line,) = figure.axes[0].lines
  np.testing.assert_allclose(line.get_xydata(), [[120, 0.27], [300, 0.45]])
  few = setting("fig5", names="abcd", targets="abc")
  figure = study.STUDIES["fig5"].draw(table, few)["fig5"]
  assert [axes.get_title() for axes in figure.axes] == ["a", "b", "c"]
