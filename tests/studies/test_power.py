"""What it would take to decide a claim, against spreads worked out by hand."""

import numpy as np
import pytest
from scipy import stats
from study_tables import row

from micronet_jax.studies import power
from micronet_jax.studies.claims import Claim, Where
from micronet_jax.studies.results import Line

CLAIM = Claim("a claim", "a number", Where(series=["with"]), Where(series=["without"]))
# Of each organ, by seed: what is gained.
GAINED = {"a": (0.1, 0.2, 0.3), "b": (0.3, 0.4, 0.5)}
ROWS = [
  row(series, organ, f1=0.2 + gained * (series == "with"), seed=seed, organ=organ)
  for organ, by_seed in GAINED.items()
  for seed, gained in enumerate(by_seed)
  for series in ("with", "without")
]


def line(half, value=0.3):
  return Line("a claim", "a number", value, value - half, value + half, "", "")


def spread():
  # Over seeds the mean is 0.2, 0.3, 0.4: Student's half is t · 0.1 / √3. Patients add
  # 1.96 · 0.05, in squares.
  seeds = stats.t.ppf(0.975, 2) * 0.1 / 3**0.5
  found = power.measure_spread(CLAIM, ROWS, line(np.hypot(seeds, 1.959964 * 0.05)))
  assert found is not None
  return found


def test_spreads_by_hand():
  found = spread()
  assert (found.organs, found.seeds) == (2, 3)
  assert found.value == found.gap == pytest.approx(0.3)
  assert found.trained == pytest.approx(0.01)  # of 0.1, 0.2, 0.3, and of 0.3, 0.4, 0.5
  assert found.tested == pytest.approx(2 * 0.05**2)  # of one of two organs
  # The means 0.2 and 0.4 have a variance of 0.02, part of which is of the others.
  assert found.between == pytest.approx(0.02 - 0.01 / 3 - 0.005)


def test_as_many_organs_as_clear_the_margin_and_no_more():
  found = spread()
  for seeds in (3, 5):
    needed = power.organs_needed(found, seeds=seeds)
    variance = 0.02 - 0.01 / 3 + 0.01 / seeds
    halves = [
      stats.t.ppf(0.975, n - 1) * (variance / n) ** 0.5 for n in (needed, needed - 1)
    ]
    assert halves[0] < 0.3 <= halves[1]
  assert power.organs_needed(found._replace(gap=1e-6), seeds=3) is None
  assert power.organs_needed(found._replace(between=float("nan")), seeds=3) is None


def test_seeds_and_images_of_the_organs_that_there_are():
  found = spread()
  needed = power.seeds_needed(found)
  halves = [
    np.hypot(stats.t.ppf(0.975, n - 1) * (0.005 / n) ** 0.5, 1.96 * 0.05)
    for n in (needed, needed - 1)
  ]
  assert halves[0] < 0.3
  assert needed == 3 or halves[1] >= 0.3
  # The seeds' part alone is t · 0.1 / √6 = 0.1757 for the mean of two organs.
  own = stats.t.ppf(0.975, 2) * (0.01 / 6) ** 0.5
  expected = (1.96 * 0.05) ** 2 / (0.3**2 - own**2)
  assert power.images_needed(found) == pytest.approx(expected, rel=1e-3)
  assert power.images_needed(found._replace(gap=0.1)) is None  # no number of images


def test_what_nothing_tells():
  assert power.measure_spread(CLAIM, ROWS, line(0.1)._replace(low=None)) is None
  assert power.measure_spread(CLAIM, [], line(0.1)) is None
  share = CLAIM._replace(measure="share", least=0.5)
  assert power.measure_spread(share, ROWS, line(0.1)) is None
  # 1.96² · 0.4 · 0.6 / 0.1²
  assert power.organs_for_share(0.4, 0.5) == 93
  assert power.organs_for_share(0.5, 0.5) is None
  cells = power.describe_power(share, ROWS, line(0.1, 0.4))
  assert len(cells) == len(power.HEADS.split("|"))
  assert "93" in cells
  assert len(power.describe_power(CLAIM, ROWS, line(0.4))) == len(cells)


def test_one_seed_counts_organs_of_one_seed():
  rows = [each for each in ROWS if each.seed == 0]  # gained 0.1 and 0.3
  half = 1.959964 * 0.05
  found = power.measure_spread(CLAIM, rows, line(half, 0.2))
  assert found.between == pytest.approx(0.02 - 2 * 0.05**2)
  needed = power.organs_needed(found, seeds=3)
  halves = [stats.t.ppf(0.975, n - 1) * (0.02 / n) ** 0.5 for n in (needed, needed - 1)]
  assert halves[0] < 0.2 <= halves[1]
  said = power.needs(CLAIM, rows, line(half, 0.2))
  assert said.startswith(f"{needed} organs of 1 seed each")
  cells = power.describe_power(CLAIM, rows, line(half, 0.2))
  assert len(cells) == len(power.HEADS.split("|"))
  assert cells[-2:] == ["–", "–"]  # how much seeds matter is not known


def test_organs_in_general_by_the_t_test():
  gained = [0.1, 0.25, 0.3, 0.28]
  rows = [
    row(series, organ, f1=0.2 + more * (series == "with"), organ=organ)
    for organ, more in zip("abcd", gained, strict=True)
    for series in ("with", "without")
  ]
  found = power.over_organs(CLAIM, rows)
  low, high = stats.ttest_1samp(gained, 0).confidence_interval()
  assert found[:3] == pytest.approx((np.mean(gained), low, high), abs=1e-9)
  assert power.over_organs(CLAIM, rows[:4]) is None  # of two organs
  share = CLAIM._replace(measure="share", least=0.5)
  won = power.over_organs(share, rows)
  exact = stats.binomtest(4, 4).proportion_ci()
  assert won[:3] == pytest.approx((1.0, exact.low, exact.high))
  assert power.over_organs(CLAIM._replace(measure="diverged"), rows) is None
