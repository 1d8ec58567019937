"""Proximity maps to nucleus centres: local maxima on the accelerator, then ξ.

The paper ("Results") drops what lies under ξ·max of the map and takes
the local maxima of the rest. Here the maxima are found once, without ξ, and chosen
by score afterwards. It is the same: dropping small values changes no window that
holds a larger one, and all members of a plateau have one value, so that
"drop, then find" and "find, then keep scores >= ξ·max" give equal points. The largest
value of a map is always one of its maxima, so ξ needs no map any more, only scores.

A candidate is a positive pixel that equals the maximum of its window. Two candidates
within `min_distance` (Chebyshev) of each other have equal values, and everything that
such steps connect is one point. Cut the map into blocks of side `min_distance` + 1: the
candidates of a block are all within reach of each other, so a block belongs to at most
one point, and joining pixels becomes joining blocks, hundreds of times fewer. Called by
`detection.searching`, inside the compiled search.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from micronet_jax.errors import InputError

XI_GRID: tuple[float, ...] = tuple(round(0.05 * step, 2) for step in range(20))
"""The values of ξ tried on the validation split: 0, 0.05, …, 0.95 (the paper's)."""

SCORE_GRID: tuple[float, ...] = tuple(round(0.025 * step, 3) for step in range(1, 39))
"""The same where ξ is a score, or a share of the median: 0.025, 0.05, …, 0.95."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Peaks:
  """The local maxima of a map, in arrays whose size does not depend on the values.

  Attributes:
    centers: float32 `[K, 2]` (y, x) in pixels, NaN from row `count` on.
    scores: float32 `[K]`, the map's value there, falling; 0 from `count` on.
    count: int32 scalar, how many rows are points.
  """

  centers: jax.Array
  scores: jax.Array
  count: jax.Array


@dataclasses.dataclass(frozen=True)
class _Blocks:
  """What each block of the map holds; all `[rows, columns]`, one entry a block."""

  score: jax.Array  # the value of its candidates, 0 where it has none
  count: jax.Array  # int32, its candidates
  sum_y: jax.Array  # int32, over its candidates, from the block's own corner
  sum_x: jax.Array
  # whether a candidate here reaches one in the block to the right, below, ...
  right: jax.Array
  below: jax.Array
  below_right: jax.Array
  below_left: jax.Array


@functools.partial(jax.jit, static_argnames="min_distance")
def local_maxima(map: ArrayLike, *, min_distance: int) -> Peaks:
  """Finds the local maxima of a proximity map.

  Compiled once per shape and `min_distance`; use `jax.vmap` for `[B, H, W]`. K =
  ceil(H / (r + 1)) · ceil(W / (r + 1)), r = `min_distance`, is an upper bound of the
  number of points, so that none is ever lost.

  Args:
    map: `[H, W]`, any real type, computed in float32. Values <= 0 and NaN are never
      points.
    min_distance: r >= 1, in pixels: a point is the maximum of the (2r + 1)² window
      around it, clipped at the image's borders. Plateaus and ties within r count
      once, at the mean position of their members.

  Returns:
    The points, by falling score; equal scores in raster order of their first blocks.

  Raises:
    InputError: if `map` is not `[H, W]` or `min_distance` < 1.
  """
  values = jnp.asarray(map, jnp.float32)
  if values.ndim != 2:
    raise InputError(f"map: expected [H, W], got {values.shape}; use jax.vmap on more")
  if min_distance < 1:
    raise InputError(f"min_distance: expected an integer >= 1, got {min_distance}")
  values = jnp.where(values > 0, values, 0)  # NaN > 0 is false
  candidate = (values > 0) & (values == _window_max(values, min_distance))
  blocks = _summarise(jnp.where(candidate, values, 0), min_distance + 1)
  return _merge(blocks, _join(blocks), min_distance + 1)


def _window_max(values: jax.Array, reach: int) -> jax.Array:
  """Takes the maximum over windows of 2·reach + 1, rows and columns in turn."""
  for axis in (0, 1):
    window, padding = [1, 1], [(0, 0), (0, 0)]
    window[axis], padding[axis] = 2 * reach + 1, (reach, reach)
    values = lax.reduce_window(values, -jnp.inf, lax.max, window, (1, 1), padding)
  return values


def _summarise(candidates: jax.Array, side: int) -> _Blocks:
  """Reduces a map that is 0 off its candidates to blocks of side² pixels.

  Candidates p and q of neighbouring blocks are within side - 1 of each other exactly
  when q's place within its block comes before p's, along each axis in which the
  blocks differ (and reversed for a block to the left).
  """
  height, width = candidates.shape
  rows, columns = -(-height // side), -(-width // side)
  pad = ((0, rows * side - height), (0, columns * side - width))
  cells = jnp.pad(candidates, pad).reshape(rows, side, columns, side)
  there = cells > 0
  y = jnp.arange(side, dtype=jnp.int32)[:, None, None]
  x = jnp.arange(side, dtype=jnp.int32)
  # Each line's first and last candidate: [rows, y, columns]; `side`, -1 for none.
  first = jnp.where(there, x, side).min(3)
  last = jnp.where(there, x, -1).max(3)
  line = last >= 0
  top = jnp.where(line, y[..., 0], side).min(1)
  bottom = jnp.where(line, y[..., 0], -1).max(1)
  # The same over the lines above each line, the line itself left out.
  first_above = _shift(lax.cummin(first, axis=1), (0, 1, 0), side)
  last_above = _shift(lax.cummax(last, axis=1), (0, 1, 0), -1)
  return _Blocks(
    score=cells.max((1, 3)),
    count=there.sum((1, 3), dtype=jnp.int32),
    sum_y=(there * y).sum((1, 3), dtype=jnp.int32),
    sum_x=(there * x).sum((1, 3), dtype=jnp.int32),
    right=_shift(first.min(1), (0, -1), side) < last.max(1),
    below=_shift(top, (-1, 0), side) < bottom,
    below_right=(_shift(first_above, (-1, 0, -1), side) < last).any(1),
    below_left=(_shift(last_above, (-1, 0, 1), -1) > first).any(1),
  )


def _shift(array: jax.Array, by: tuple[int, ...], fill: int) -> jax.Array:
  """Moves an array by -1, 0 or 1 along each axis, filling in a constant."""
  config = [(step, -step, 0) for step in by]
  return lax.pad(array, jnp.asarray(fill, array.dtype), config)


def _join(blocks: _Blocks) -> jax.Array:
  """Labels each block with the least raster index among the blocks of its point.

  Labels spread to neighbours and then jump to their own label's label; one or two
  rounds suffice on real maps.

  Returns:
    int32 `[rows, columns]`; a block without candidates keeps its own index.
  """
  rows, columns = blocks.score.shape
  edges = (
    (blocks.right, (0, 1)),
    (blocks.below, (1, 0)),
    (blocks.below_right, (1, 1)),
    (blocks.below_left, (1, -1)),
  )
  own = jnp.arange(rows * columns, dtype=jnp.int32).reshape(rows, columns)
  none = rows * columns

  def spread(label: jax.Array) -> jax.Array:
    least = label
    for edge, (down, right) in edges:
      there = jnp.where(edge, _shift(label, (-down, -right), none), none)
      here = _shift(jnp.where(edge, label, none), (down, right), none)
      least = jnp.minimum(least, jnp.minimum(there, here))
    return least.ravel()[least]

  def step(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    label = spread(state[0])
    return label, jnp.any(label != state[0])

  return lax.while_loop(lambda state: state[1], step, (own, jnp.array(True)))[0]


def _merge(blocks: _Blocks, label: jax.Array, side: int) -> Peaks:
  """Adds up the blocks of each point and sorts the points by falling score."""
  rows, columns = label.shape
  own = jnp.arange(rows * columns, dtype=jnp.int32)
  count, root = blocks.count.ravel(), label.ravel()
  total = jnp.zeros_like(count).at[root].add(count)

  def mean(corner: jax.Array, inner: jax.Array) -> jax.Array:
    # Offsets from the root block, in two digits: sums of integers that fit in int32.
    offset = (corner - corner[root]) * count + inner
    high, low = (
      jnp.zeros_like(count).at[root].add(digit) / jnp.maximum(total, 1)
      for digit in (lax.div(offset, 1024), lax.rem(offset, 1024))
    )
    return corner + (high * 1024 + low)

  y = mean(own // columns * side, blocks.sum_y.ravel())
  x = mean(own % columns * side, blocks.sum_x.ravel())
  found = (root == own) & (count > 0)
  scores = jnp.where(found, blocks.score.ravel(), 0)
  order = jnp.argsort(-scores, stable=True)
  centers = jnp.where(found[:, None], jnp.stack([y, x], -1), jnp.nan)
  return Peaks(centers[order], scores[order], found.sum(dtype=jnp.int32))


def trim(peaks: Peaks) -> tuple[np.ndarray, np.ndarray]:
  """Fetches the points of one map to the host, without the unused rows.

  Args:
    peaks: what `local_maxima` found in one map.

  Returns:
    centers, float32 `[N, 2]` (y, x), and scores, float32 `[N]`, falling.
  """
  count = int(peaks.count)
  return np.asarray(peaks.centers)[:count], np.asarray(peaks.scores)[:count]


def select_peaks(
  centers: np.ndarray,
  scores: np.ndarray,
  *,
  xi: float | None = None,
  absolute: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
  """Keeps the points whose score reaches a threshold, in their order.

  Args:
    centers: `[N, 2]` (y, x), all the local maxima of one map.
    scores: `[N]`.
    xi: ξ in [0, 1]: keep scores >= ξ·max, the largest score of this map; 0
      keeps all.
    absolute: keep scores >= this, in the map's own units; for slides, where a
      maximum over everything means nothing, ξ·scale.

  Returns:
    centers `[M, 2]` and scores `[M]`.

  Raises:
    InputError: unless exactly one of `xi` and `absolute` is given, or if ξ is not
      in [0, 1].
  """
  if (xi is None) == (absolute is None):
    raise InputError("xi, absolute: give exactly one of the two thresholds")
  if xi is not None and not 0 <= xi <= 1:
    raise InputError(f"xi: expected a fraction of the maximum in [0, 1], got {xi}")
  if absolute is None:
    absolute = scores.dtype.type(xi) * scores.max(initial=0)
  kept = scores >= absolute
  return centers[kept], scores[kept]


def join_points(
  parts: Sequence[tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
  """Joins the points of tiles: by falling score, ties in raster order.

  Args:
    parts: centers `[N, 2]` (y, x) and scores `[N]` each, in the image's own pixels.

  Returns:
    float32 `[M, 2]` and `[M]`.
  """
  centers = np.concatenate([np.zeros((0, 2)), *(part[0] for part in parts)])
  scores = np.concatenate([np.zeros(0, np.float32), *(part[1] for part in parts)])
  order = np.lexsort((centers[:, 1], centers[:, 0], -scores))
  return centers[order].astype(np.float32), scores[order]


class ScoredPoints(NamedTuple):
  """All the local maxima of one image, and what a threshold means there.

  Attributes:
    centers: float32 `[N, 2]` (y, x).
    scores: float32 `[N]`, falling.
    unit: what ξ is a share of (`detection.units`); None for the highest score, as in
      the paper.
  """

  centers: np.ndarray
  scores: np.ndarray
  unit: float | None = None

  def over(self, xi: float) -> np.ndarray:
    """The centres whose scores reach a threshold, `[M, 2]`, in their order.

    Raises:
      InputError: ξ is not in [0, 1].
    """
    if self.unit is None:
      return select_peaks(self.centers, self.scores, xi=xi)[0]
    absolute = float(np.float32(xi) * np.float32(self.unit))
    return select_peaks(self.centers, self.scores, absolute=absolute)[0]


def detect_points(
  map: ArrayLike,
  *,
  min_distance: int,
  xi: float | None = None,
  absolute: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
  """Finds the nucleus centres of one proximity map.

  Args:
    map: `[H, W]`, as predicted, on the host or the accelerator.
    min_distance: radius of the window of a local maximum, in pixels; >= 1.
    xi: relative threshold, as `select_peaks` takes it.
    absolute: absolute threshold, as `select_peaks` takes it; one of the two.

  Returns:
    centers, float32 `[N, 2]` (y, x), and scores, float32 `[N]`, falling.

  Raises:
    InputError: as `local_maxima` and `select_peaks` raise it.
  """
  peaks = trim(local_maxima(map, min_distance=min_distance))
  return select_peaks(*peaks, xi=xi, absolute=absolute)
