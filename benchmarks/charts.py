"""Growth over size on log axes, in the one style of `micronet_jax.figures`.

Called by `postprocess`.
"""

import statistics
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from micronet_jax.figures import COLORS, MARKS, new_figure

Growth = Mapping[str, Mapping[int, Sequence[float]]]
"""Seconds by method and size."""


def growth(panels: Mapping[str, Growth]) -> Figure:
  """Draws medians, least and most over size; a dotted line grows in proportion.

  Args:
    panels: what each shows, by its title.
  """
  figure, axes = new_figure((4.2 * len(panels), 3.8), 1, len(panels))
  for axis, (title, methods) in zip(axes, panels.items(), strict=True):
    for (name, times), color, mark in zip(methods.items(), COLORS, MARKS, strict=False):
      middle = [statistics.median(each) for each in times.values()]
      low = [m - min(each) for m, each in zip(middle, times.values(), strict=True)]
      high = [max(each) - m for m, each in zip(middle, times.values(), strict=True)]
      axis.errorbar(
        list(times),
        middle,
        yerr=[low, high],
        color=color,
        marker=mark,
        markersize=5,
        capsize=2,
        label=name,
      )
    first = next(iter(methods.values()))
    sizes, begin = list(first), statistics.median(next(iter(first.values())))
    line = [begin * size / sizes[0] for size in sizes]
    axis.plot(sizes, line, ":", color="grey", label="in proportion")
    axis.set(xscale="log", yscale="log", xlabel="nuclei", ylabel="seconds", title=title)
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, fontsize=8)
  return figure
