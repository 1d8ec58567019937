"""One answer a claim of two sets, and what leaving out an organ would change."""

import pytest
from study_tables import row, setting

from micronet_jax.studies.answers import Answer, decide, title_of, verdicts_without
from micronet_jax.studies.claims import Claim, Where
from micronet_jax.studies.earlier import Line

CLAIM = Claim("a claim", "a number", Where(series=["with"]), Where(series=["without"]))


def answer(verdict, gained=None, *, low=0.01, high=0.19, value=0.1):
  rows = [
    row(series, panel, f1=0.5 + gain * (series == "with"), trained_on="")
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
  pair = (
    None if verdict is None else answer(verdict) for verdict in (patients, slides)
  )
  assert decide(*pair) == expected


def test_verdicts_that_rest_on_one_organ():
  # Without d: 0.04, less 0.09 · √(4 / 3), which is below 0; without another: 0.12,
  # less as much, which is not.
  gained = {"a: target data": 0.04, "b: target data": 0.04, "c: target data": 0.04}
  gained["d: target data"] = 0.28
  assert verdicts_without(answer("holds", gained)) == {"d": "cannot tell"}
  even = dict.fromkeys(gained, 0.15)
  assert verdicts_without(answer("holds", even)) == {}
  assert verdicts_without(answer("cannot tell", gained, low=None, high=None)) == {}


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
