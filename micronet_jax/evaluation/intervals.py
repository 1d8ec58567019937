"""How far scores would move with other patients."""

from collections.abc import Sequence

import numpy as np

from micronet_jax.evaluation.matching import Match, check_same_length
from micronet_jax.evaluation.scores import count_matches, form_fractions


def bootstrap_interval(
  matches: Sequence[Match],
  patients: Sequence[str],
  *,
  draws: int = 1000,
  level: float = 0.95,
  seed: int = 0,
) -> tuple[float, float] | None:
  """Estimates how far the pooled F1 would move with other patients.

  The percentile bootstrap: whole patients are drawn with replacement, since the
  images of one patient resemble each other.

  Args:
    matches: one per image, all at one radius.
    patients: whose image each is.
    draws: how many sets of patients to draw.
    level: of the interval, in (0, 1).
    seed: of the random numbers.

  Returns:
    The interval's (lower, upper) end, in [0, 1]; None for fewer than two patients.

  Raises:
    InputError: if the lists differ in length.
  """
  check_same_length(matches=matches, patients=patients)
  names, owner = np.unique(np.asarray(patients, str), return_inverse=True)
  if len(names) < 2:
    return None
  counts = np.zeros((len(names), 3), np.int64)
  np.add.at(counts, owner, count_matches(matches))
  generator = np.random.default_rng(seed)
  chosen = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), draws)
  _, _, f1 = form_fractions(chosen @ counts)
  lower, upper = np.quantile(f1, [(1 - level) / 2, (1 + level) / 2])
  return float(lower), float(upper)
