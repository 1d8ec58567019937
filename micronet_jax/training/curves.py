"""The course of training: what a run logged, and its picture.

Called by `training.job`.
"""

import dataclasses
import itertools
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from micronet_jax.figures import COLORS, LINES, new_figure
from micronet_jax.stored import read_log


@dataclasses.dataclass(frozen=True, eq=False)
class History:
  """What one training run logged.

  Attributes:
    steps: `[S]`, iterations at which the loss was logged, rising.
    loss: `[S]`, > 0.
    val_steps: `[V]`, iterations at which the validation split was scored, rising.
    val_f1: `[V]`, in [0, 1].
  """

  steps: Sequence[float] | np.ndarray
  loss: Sequence[float] | np.ndarray
  val_steps: Sequence[float] | np.ndarray = ()
  val_f1: Sequence[float] | np.ndarray = ()


def training_curves(histories: Mapping[str, History], *, title: str = "") -> Figure:
  """Draws loss and validation F1 over the iterations of one run or more.

  Args:
    histories: by label, for instance "from scratch" and "fine-tuned". Of a long
      log, the loss is drawn pale as it was and strong as its moving average. A star
      marks each run's best F1, the checkpoint that is kept.
    title: above the axes.

  Returns:
    The figure, 8 x 6 inches: loss above (logarithmic), F1 below.
  """
  figure, (above, below) = new_figure((8.0, 6.0), 2, sharex=True)
  above.set_ylabel("training loss")
  styles = itertools.cycle(COLORS)
  lines = itertools.cycle(LINES)
  for (label, run), color, line in zip(histories.items(), styles, lines, strict=False):
    steps, loss, val_steps, f1 = (
      np.asarray(each, float)
      for each in (run.steps, run.loss, run.val_steps, run.val_f1)
    )
    name = label
    if len(f1):
      best = int(np.argmax(f1))
      name += f" (best F1 {f1[best]:.3f} at step {val_steps[best]:,.0f})"
      below.plot(val_steps, f1, line, color=color, marker=".", markersize=4)
      below.plot(
        val_steps[best], f1[best], "*", color=color, markersize=15, mec="white"
      )
    smooth_steps, smooth = _smoothed(steps, loss)
    if len(smooth) < len(loss):
      above.plot(steps, loss, color=color, alpha=0.25, linewidth=0.7)
      above.set_ylabel("training loss (pale: as logged)")
    above.plot(smooth_steps, smooth, line, color=color, linewidth=1.8, label=name)
  above.set(yscale="log", title=title)
  scored = any(len(run.val_f1) for run in histories.values())
  below.set(xlabel="iteration", ylabel="validation F1" + " (none)" * (not scored))
  below.xaxis.set_major_formatter(EngFormatter(sep=""))
  for axes in (above, below):
    axes.grid(color="0.9")
  if histories:
    star = Line2D([], [], linestyle="none", marker="*", markersize=12, color="0.4")
    star.set_label("best on validation: the checkpoint that is kept")
    handles = [*above.get_legend_handles_labels()[0], *[star] * scored]
    figure.legend(handles=handles, loc="outside lower center", frameon=False)
  return figure


def _smoothed(steps: np.ndarray, loss: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Averages over a window of 1/50 of a log; a log of under 100 stays as it is."""
  window = len(loss) // 50
  if window < 2:
    return steps, loss
  kernel = np.full(window, 1 / window)
  return np.convolve(steps, kernel, "valid"), np.convolve(loss, kernel, "valid")


def read_history(run: pathlib.Path) -> History:
  """What `log.jsonl` in the folder of a run holds."""
  records = read_log(run / "log.jsonl")
  trained = [r for r in records if r.get("loss") is not None]
  validated = [r for r in records if "val_f1" in r]
  return History(
    steps=[r["step"] for r in trained],
    loss=[r["loss"] for r in trained],
    val_steps=[r["step"] for r in validated],
    val_f1=[r["val_f1"] for r in validated],
  )
