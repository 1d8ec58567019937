"""One answer a claim of two sets, and what leaving out an organ would change."""

import dataclasses

import numpy as np
import pytest
from scipy import stats
from study_tables import found, row, setting

from micronet_jax.studies import answers
from micronet_jax.studies.answers import Answer, changed_without, decide, title_of
from micronet_jax.studies.claims import Claim, Where, judge_claim
from micronet_jax.studies.earlier import TOGETHER, Line

TOLD = {"holds": "Use it.", "does not hold": "Leave it."}
CLAIM = Claim(
  "a claim", "a number", Where(series=["with"]), Where(series=["without"]), told=TOLD
)


def answer(verdict, gained=None, *, low=0.01, high=0.19, value=0.1, together=True):
  rows = [
    row(series, panel, f1=0.5 + gain * (series == "with"), trained_on="", organ=panel)
    for panel, gain in (gained or {}).items()
    for series in ("with", "without")
  ]
  if together:  # as version 0.1 kept them
    sums = [{TOGETHER: list(each.tally.counts.sum(0))} for each in rows]
    pairs = zip(rows, sums, strict=True)
    rows = [dataclasses.replace(each, by_patient=counts) for each, counts in pairs]
  line = Line("a claim", "a number", value, low, high, "3 seeds", verdict)
  return Answer("fig5", setting("fig5", names="abcd"), CLAIM, line, rows)


@pytest.mark.parametrize(
  ("patients", "slides", "expected"),
  [
    ("holds", "holds", ("holds", "")),
    ("holds", "cannot tell", ("holds", "")),
    ("holds", None, ("holds", "")),
    ("does not hold", "holds", ("does not hold", "the 23 organs say otherwise")),
    ("cannot tell", "holds", ("holds", "on one slide an organ")),
    (None, "does not hold", ("does not hold", "on one slide an organ")),
    ("cannot tell", "cannot tell", ("cannot tell", "")),
    ("cannot tell", None, ("cannot tell", "")),
  ],
)
def test_organs_split_by_patient_decide(patients, slides, expected):
  pair = (
    None if verdict is None else answer(verdict) for verdict in (patients, slides)
  )
  decision = decide(*pair)
  assert (decision.verdict, decision.beside) == expected


def test_sets_whose_intervals_do_not_meet_decide_nothing_together():
  near = answer("cannot tell", low=-0.03, high=0.02, value=0.0)
  far = answer("holds", low=0.03, high=0.05, value=0.04)
  decision = decide(near, far)
  assert (decision.verdict, decision.beside) == ("cannot tell", "the sets disagree")
  assert "contradict" in answers._tell(decision, (near, far))
  assert decide(near, far._replace(line=far.line._replace(low=0.019))).deciding


def test_what_holds_of_these_organs_is_not_said_of_others():
  gained = {"a": 0.01, "b": 0.02, "c": 0.02, "d": 0.35}
  here = answer("holds", gained)
  low, high = stats.ttest_1samp([*gained.values()], 0).confidence_interval()
  assert low < 0 < high
  cell = answers._cell(here)
  assert f"over organs {low:+.3f} to {high:+.3f}" in cell
  decision = decide(here, None)
  assert not decision.general
  said = answers._tell(decision, (here, None))
  assert said == "Use it; of other organs that is not certain."
  alike = answer("holds", {"a": 0.1, "b": 0.11, "c": 0.09})
  # Of the set that does not decide, too.
  for pair in ((alike, None), (here, alike)):
    assert answers._tell(decide(*pair), pair) == "Use it."


def test_verdicts_that_rest_on_one_organ():
  # Without d: 0.04, less 0.09 · √(4 / 3), which is below 0; without another: 0.12,
  # less as much, which is not.
  gained = {"a: target data": 0.04, "b: target data": 0.04, "c: target data": 0.04}
  gained["d: target data"] = 0.28
  assert changed_without(answer("holds", gained)) == {"d": "cannot tell"}
  even = dict.fromkeys(gained, 0.15)
  assert changed_without(answer("holds", even)) == {}
  assert changed_without(answer("cannot tell", gained, low=None, high=None)) == {}


def test_an_organ_that_turns_the_sign_is_named():
  gained = {"a": -0.03, "b": -0.03, "c": 0.3}
  wide = answer("cannot tell", gained, low=-0.3, high=0.5, value=0.08)
  assert changed_without(wide) == {"c": "-0.030"}


def test_counts_by_patient_are_judged_anew():
  rng = np.random.default_rng(0)
  rows = []
  for name, gain in {"a": 0.3, "b": -0.05, "c": 0.02, "d": 0.04}.items():
    for series in ("with", "without"):
      hit = rng.binomial(20, 0.5 + gain * (series == "with"), 8)
      place = {"panel": name, "series": series, "trained_on": name}
      rows.append(found(hit, 20 - hit, 20 - hit, name=name, **place))
  whole = judge_claim(CLAIM, rows)
  value, low, high, source = whole.estimate
  line = Line("a claim", "a number", value, low, high, source, whole.verdict)
  given = Answer("fig5", setting("fig5", names="abcd"), CLAIM, line, rows)
  expected = {}
  for name in "abcd":
    left = judge_claim(CLAIM, [each for each in rows if each.panel != name])
    if left.verdict != whole.verdict:
      expected[name] = left.verdict
    elif left.estimate.value * value < 0:
      expected[name] = f"{left.estimate.value:+.3f}"
  assert expected
  assert changed_without(given) == expected


@pytest.mark.parametrize(
  ("panel", "organs"),
  [
    ("a + b (worst)", {"a", "b"}),
    ("a + 50 % of all others", {"a", "50 % of all others"}),
    ("a: target data", {"a"}),
    ("umbilical cord", {"umbilical cord"}),
  ],
)
def test_organs_that_a_row_is_of(panel, organs):
  assert answers.organs_of(row("with", panel, trained_on="")) == organs
  assert "base" in answers.organs_of(row("with", panel, base="base"))


@pytest.mark.parametrize(
  ("folder", "title"),
  [
    ("fig4", "Fig. 4"),
    ("fig7_8", "Figs. 7, 8"),
    ("fig7_8_even_steps", "Figs. 7, 8 (even steps)"),
    ("fig9_even_steps", "Fig. 9 (even steps)"),
    ("table1", "Table 1"),
    ("table1_1200", "Table 1 (1200)"),
  ],
)
def test_what_folders_are_called(folder, title):
  assert title_of(folder) == title
