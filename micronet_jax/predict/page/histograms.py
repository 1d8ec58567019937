"""Bars in SVG, which pages show without script; called by `predict.page`."""

import html

import numpy as np
from matplotlib.ticker import MaxNLocator

_LEFT, _TOP, _WIDE, _TALL = 64, 22, 292, 118  # of the bars, in units of the picture


def draw_histogram(values: np.ndarray, edges: np.ndarray, *, axis: str) -> str:
  """Draws how many values lie between each two edges, and the median of all.

  Args:
    values: finite float `[N]`; those beyond the edges count in no bar.
    edges: rising, evenly spaced `[B + 1]`.
    axis: what the values are; text.

  Returns:
    An element of HTML; colours are those of the page.
  """
  counts, _ = np.histogram(values, edges)
  low, high = float(edges[0]), float(edges[-1])
  most = int(counts.max(initial=0)) or 1

  def x(value: float) -> float:
    return _LEFT + _WIDE * (value - low) / (high - low)

  def y(count: float) -> float:
    return _TOP + _TALL * (1 - count / most)

  base, width = y(0), _WIDE / len(counts)
  bars = "".join(
    f"M{x(edge):.2f} {base:.2f}V{y(count):.2f}h{width:.2f}V{base:.2f}z"
    for edge, count in zip(edges, counts, strict=False)
    if count
  )
  parts = [f'<path class="bars" d="{bars}"/>']
  parts.append(f'<path class="axis" d="M{_LEFT} {base}h{_WIDE}"/>')
  for tick in MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high):
    if low - 1e-9 <= tick <= high + 1e-9:
      parts.append(f'<path class="axis" fill="none" d="M{x(tick):.2f} {base}v4"/>')
      parts.append(_text(x(tick), base + 17, f"{tick:.6g}"))
  for count in sorted({0, most}):
    parts.append(_text(_LEFT - 6, y(count) + 4, f"{count:,}", anchor="end"))
  parts.append(_text(_LEFT + _WIDE / 2, base + 34, axis))
  said = f"{len(values):,} nuclei"
  if len(values):
    median = float(np.median(values))
    said += f", median {median:.3g}"
    place = x(min(max(median, low), high))
    parts.append(f'<path class="middle" d="M{place:.2f} {base}V{_TOP - 4}"/>')
    anchor = "start" if place < _LEFT + _WIDE / 2 else "end"
    label = _text(place, _TOP - 9, f"median {median:.3g}", anchor=anchor, kind="said")
    parts.append(label)
  box = f"0 0 {_LEFT + _WIDE + 12} {_TOP + _TALL + 42}"
  name = html.escape(f"Histogram of {axis}: {said}")
  return f'<svg viewBox="{box}" role="img" aria-label="{name}">{"".join(parts)}</svg>'


def _text(
  x: float, y: float, text: str, *, anchor: str = "middle", kind: str = "tick"
) -> str:
  place = f'x="{x:.2f}" y="{y:.2f}" text-anchor="{anchor}"'
  return f'<text class="{kind}" {place}>{html.escape(text)}</text>'
