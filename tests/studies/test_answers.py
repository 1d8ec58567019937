"""One answer a claim of two sets, and what leaving out an organ would change."""

import dataclasses

import numpy as np
import pytest
from scipy import stats
from study_tables import found, row, setting

from micronet_jax.studies import answers
from micronet_jax.studies.answers import Answer, changed_without, decide, title_of
from micronet_jax.studies.claims import Claim, Where, judge_claim
from micronet_jax.studies.earlier import TOGETHER
from micronet_jax.studies.results import Line

TOLD = {"holds": "Use it.", "does not hold": "Leave it."}
CLAIM = Claim(
  "a claim", "a number", Where(series=["with"]), Where(series=["without"]), told=TOLD
)


def answer(verdict, gained=None, *, low=0.01, high=0.19, value=0.1):
  rows = [
    row(series, panel, f1=0.5 + gain * (series == "with"), trained_on="", organ=panel)
    for panel, gain in (gained or {}).items()
    for series in ("with", "without")
  ]
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
  pair = [
    None if verdict is None else answer(verdict) for verdict in (patients, slides)
  ]
  decision = decide([each for each in pair[:1] if each], pair[1])
  assert (decision.verdict, decision.beside) == expected


def test_two_resolutions_decide_together_or_contradict_each_other():
  low, high = answer("holds", low=0.01, high=0.03), answer("holds", low=0.05, high=0.1)
  assert decide([low, high], None).deciding is high
  wide = answer("cannot tell", low=-0.1, high=0.1)
  for patients in ([wide, low], [low, wide]):
    assert decide(patients, None).deciding is low
  # No difference is not the opposite of a small one; nothing in common is.
  none = answer("no difference", low=-0.015, high=0.012)
  assert decide([none, low], None).verdict == "holds"
  against = answer("does not hold", low=-0.03, high=-0.01)
  for patients in ([against, low], [low, against], [none, high], [high, none]):
    decision = decide(patients, answer("holds"))
    assert (decision.verdict, decision.deciding) == ("cannot tell", None)
    assert "resolutions disagree" in answers._tell(decision, patients)


def test_sets_whose_intervals_do_not_meet_decide_nothing_together():
  near = answer("cannot tell", low=-0.03, high=0.02, value=0.0)
  far = answer("holds", low=0.03, high=0.05, value=0.04)
  decision = decide([near], far)
  assert (decision.verdict, decision.beside) == ("cannot tell", "the sets disagree")
  assert "sets disagree" in answers._tell(decision, (near, far))
  meets = dataclasses.replace(far, line=far.line._replace(low=0.019))
  assert decide([near], meets).deciding


def test_what_holds_of_these_organs_is_not_said_of_others():
  gained = {"a": 0.01, "b": 0.02, "c": 0.02, "d": 0.35}
  here = answer("holds", gained)
  low, high = stats.ttest_1samp([*gained.values()], 0).confidence_interval()
  assert low < 0 < high
  cell = answers._cell([here], CLAIM.number)
  assert cell.startswith("0.25 µm, 1 seed: +0.100 (")
  assert "here: a number" in answers._cell([here, here], "another").split("<br>")[1]
  assert answers._cell([], "") == "not run"
  assert f"over organs {low:+.3f} to {high:+.3f}" in cell
  decision = decide([here], None)
  assert not decision.general
  said = answers._tell(decision, [here])
  assert said == "Use it; of other organs that is not certain."
  alike = answer("holds", {"a": 0.1, "b": 0.11, "c": 0.09})
  # Of the set that does not decide, too.
  for patients, slides in (([alike], None), ([here], alike), ([here, alike], None)):
    assert answers._tell(decide(patients, slides), [here, alike]) == "Use it."


def counted(patients):
  """An answer of 8 patients an organ, and the rows; `patients` has hits of 20 each."""
  rows = [
    found(hit, 20 - hit, 20 - hit, name=name, panel=panel, series=series)
    for panel, pair in patients.items()
    for name in [panel.partition(":")[0]]
    for series, hit in zip(("with", "without"), map(np.asarray, pair), strict=True)
  ]
  whole = judge_claim(CLAIM, rows)
  value, low, high, source = whole.estimate
  line = Line("a claim", "a number", value, low, high, source, whole.verdict)
  return Answer("fig5", setting("fig5", names="abcd"), CLAIM, line, rows)


def summed(*args, **kwargs):
  """An answer without counts by patient, as version 0.1 kept them."""
  found = answer(*args, **kwargs)
  sums = [{TOGETHER: list(each.tally.counts.sum(0))} for each in found.rows]
  rows = [
    dataclasses.replace(each, by_patient=counts)
    for each, counts in zip(found.rows, sums, strict=True)
  ]
  return dataclasses.replace(found, rows=rows)


def test_verdicts_of_version_0_1_that_rest_on_one_organ():
  # Without d: 0.04, less 0.09 · √(4 / 3), which is below 0; without another: 0.12,
  # less as much, which is not.
  gained = {"a: target data": 0.04, "b: target data": 0.04, "c: target data": 0.04}
  gained["d: target data"] = 0.28
  assert changed_without(summed("holds", gained)) == {"d": "cannot tell"}
  even = dict.fromkeys(gained, 0.15)
  assert changed_without(summed("holds", even)) == {}
  assert changed_without(summed("cannot tell", gained, low=None, high=None)) == {}


def test_an_organ_that_turns_the_sign_is_named():
  even = np.full(8, 10)
  spread = np.add(even, [6, -7, 6, -7, 6, -7, 6, -7])
  given = counted({"a": (spread, even), "b": (spread, even), "c": (spread + 4, even)})
  assert given.line.verdict == "cannot tell"
  assert changed_without(given) == {"c": "-0.025"}
  # A change of sign so near nothing is none.
  near = counted({"a": (even, even), "b": (even, even), "c": (spread + 1, even)})
  assert changed_without(near).keys() <= {"c"}
  line = given.line._replace(low=None, high=None)
  assert changed_without(dataclasses.replace(given, line=line)) == {}


def test_what_is_left_without_an_organ_is_judged_anew():
  rng = np.random.default_rng(0)
  gains = {"a: target data": 0.3, "b: target data": -0.05, "c": 0.02, "d": 0.04}
  patients = {
    panel: [rng.binomial(20, 0.5 + part, 8) for part in (gain, 0)]
    for panel, gain in gains.items()
  }
  given = counted(patients)
  expected = {}
  for panel in patients:
    left = counted({each: patients[each] for each in patients if each != panel})
    if left.line.verdict != given.line.verdict:
      expected[panel[0]] = left.line.verdict
    elif left.line.value * given.line.value < 0:
      expected[panel[0]] = f"{left.line.value:+.3f}"
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
