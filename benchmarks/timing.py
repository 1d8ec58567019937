"""How every benchmark takes time: the sides in turn, in one run, again and again.

A machine's speed drifts with its heat and its other users. Sides that take turns meet
the same drift, so their medians can be compared; sides measured one after the other
cannot.
"""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax


def interleave(
  variants: Mapping[str, Callable[[], Any]],
  *,
  repeats: int,
  warmup: int = 1,
  budget_s: float | None = None,
) -> dict[str, list[float]]:
  """Times variants in turn; every second round goes through them backwards.

  Args:
    variants: what to time. What a call returns is waited for, on the device too.
    repeats: rounds that are timed.
    warmup: rounds before, untimed: compiling, filling caches.
    budget_s: seconds after which no further round begins, the first always does; None
      for no limit.

  Returns:
    The seconds of each call, by variant, in the order of the rounds.
  """
  seconds: dict[str, list[float]] = {name: [] for name in variants}
  for _ in range(warmup):
    for call in variants.values():
      jax.block_until_ready(call())
  end = time.perf_counter() + (float("inf") if budget_s is None else budget_s)
  for turn in range(repeats):
    if turn and time.perf_counter() > end:
      break
    order = list(variants) if turn % 2 == 0 else list(reversed(variants))
    for name in order:
      began = time.perf_counter()
      jax.block_until_ready(variants[name]())
      seconds[name].append(time.perf_counter() - began)
  return seconds


def summarise(times: Mapping[str, Sequence[float]]) -> dict[str, dict[str, Any]]:
  """Median, least and most of repeated times, and how many; for JSON."""
  return {
    name: {
      "median_s": statistics.median(seconds),
      "least_s": min(seconds),
      "most_s": max(seconds),
      "repeats": len(seconds),
    }
    for name, seconds in times.items()
  }


def spread(seconds: Sequence[float], *, unit: float = 1.0) -> str:
  """Median and (least to most) for a table; `unit` 1e-3 gives milliseconds."""
  values = statistics.median(seconds), min(seconds), max(seconds)
  middle, least, most = (digits(value / unit) for value in values)
  return f"{middle} ({least} to {most})"


def digits(value: float) -> str:
  """Three significant digits, never fewer than the whole part has."""
  places = 2 - math.floor(math.log10(abs(value))) if value else 2
  return f"{value:.{max(0, places)}f}"
