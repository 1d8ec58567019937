"""Where a correction would teach most, and what an image's nuclei are by now.

A window is the more doubtful the more scores in it lie near the threshold. Called by
`annotate.site`.
"""

from typing import NamedTuple

import numpy as np
import scipy.spatial

from micronet_jax.annotate.store import Annotation, as_places
from micronet_jax.lengths import REFERENCE_MPP

NEAR = 6
"""Pixels at 0.25 microns within which a detection is the nucleus that a person marked,
or removed."""


DOUBT = 0.1
"""Distance from the threshold within which a score is doubtful."""


WINDOW = 512
"""Side of a window, in pixels at 0.25 microns."""


class Counted(NamedTuple):
  """The nuclei of an image, by people and network.

  Attributes:
    centers: float64 `[N, 2]` (y, x).
    scores: float64 `[N]`; 1 where a person said so.
  """

  centers: np.ndarray
  scores: np.ndarray


def own_pixels(length: float, mpp: float | None) -> float:
  """A length in pixels at 0.25 microns, in an image's own."""
  return length * REFERENCE_MPP / (mpp or REFERENCE_MPP)


def open_rows(
  rows: np.ndarray, annotation: Annotation, mpp: float | None
) -> np.ndarray:
  """Detections that people have not decided on.

  Those in regions are decided on, and those at a point or at a removed one.

  Args:
    rows: float32 `[N, 3]` of x, y, score.
    annotation: of the image.
    mpp: of the image.

  Returns:
    Some of the rows.
  """
  free = np.ones(len(rows), bool)
  for x, y, width, height in annotation.regions:
    inside = (rows[:, 0] >= x - 0.5) & (rows[:, 0] < x + width - 0.5)
    free &= ~(inside & (rows[:, 1] >= y - 0.5) & (rows[:, 1] < y + height - 0.5))
  said = as_places([*annotation.points, *annotation.hidden])
  if len(said) and len(rows):
    nearest, _ = scipy.spatial.cKDTree(said).query(rows[:, :2])
    free &= nearest > own_pixels(NEAR, mpp)
  return rows[free]


def nuclei_of(
  rows: np.ndarray, annotation: Annotation, mpp: float | None, threshold: float
) -> Counted:
  """All nuclei of an image: what people marked, and what else reaches the threshold."""
  return with_confirmed(open_rows(rows, annotation, mpp), annotation, threshold)


def with_confirmed(
  free: np.ndarray, annotation: Annotation, threshold: float
) -> Counted:
  """As `nuclei_of`, of rows that `open_rows` left."""
  free = free[free[:, 2] >= np.float32(threshold)]
  said = as_places(annotation.points)
  centers = np.concatenate([said, free[:, :2].astype(np.float64)])[:, ::-1]
  return Counted(centers, np.concatenate([np.ones(len(said)), free[:, 2]]))


def doubtful_windows(
  rows: np.ndarray, threshold: float, mpp: float | None, shape: tuple[int, int]
) -> list[dict[str, int]]:
  """The two windows of an image with the most scores near the threshold.

  Args:
    rows: those that people have not decided on (`open_rows`).
    threshold: of the image.
    mpp: microns per pixel.
    shape: (height, width).

  Returns:
    For each window: x, y, width, height, and how many scores are doubtful.
  """
  height, width = shape
  doubtful = rows[np.abs(rows[:, 2] - threshold) <= DOUBT, :2]
  side = max(1, round(own_pixels(WINDOW, mpp)))
  across, down = max(1, round(width / side)), max(1, round(height / side))
  columns = np.clip(doubtful[:, 0] * across // width, 0, across - 1).astype(int)
  lines = np.clip(doubtful[:, 1] * down // height, 0, down - 1).astype(int)
  held = np.bincount(lines * across + columns, minlength=across * down)
  windows = []
  for place in np.argsort(-held, kind="stable")[:2].tolist():
    if held[place]:
      line, column = divmod(place, across)
      x, y = column * width // across, line * height // down
      w = (column + 1) * width // across - x
      h = (line + 1) * height // down - y
      windows.append(
        {"x": x, "y": y, "width": w, "height": h, "doubtful": int(held[place])}
      )
  return windows
