"""One image's results in numbers, ready for JSON; called by `predict.image`."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from micronet_jax.version import __version__


def summarise(
  *,
  name: str,
  shape: tuple[int, int],
  mpp: float | None,
  count: int,
  regions: Sequence[Mapping[str, float]] = (),
  tissue_mm2: float | None = None,
  seconds: float,
  threshold: float,
  weights: str,
  **more: Any,
) -> dict[str, Any]:
  """Says in numbers what was found, ready for JSON.

  Args:
    name: of the image.
    shape: (H, W) of the image, in its own pixels.
    mpp: microns per pixel; None if unknown, and then all areas and densities are
      None.
    count: nuclei found, within the regions if there are any.
    regions: parts of the image that were looked at, each with x, y (its top-left
      corner), width, height in pixels, and nuclei; none for the whole image.
    tissue_mm2: area of the tissue that was looked at, in the regions if there are any,
      without the rim around it that was searched too; None if it was not found out.
    seconds: that detection took.
    threshold: that scores had to reach.
    weights: which checkpoint.
    **more: what else should stand in the file, at its end.

  Returns:
    `nuclei_per_mm2` is over the area that `per` names: the regions (where they overlap
    counted once, what lies beyond the image not at all), else tissue, else the image.
    A region's own density is over all of its area within the image.
  """
  boxes = [_within(region, shape) for region in regions]
  searched = _mm2(_union(boxes) if boxes else shape[0] * shape[1], mpp)
  per = "regions" if regions else "image" if tissue_mm2 is None else "tissue"
  return {
    "image": name,
    "width": shape[1],
    "height": shape[0],
    "mpp": mpp,
    "nuclei": count,
    "area_mm2": searched,
    "tissue_mm2": tissue_mm2,
    "nuclei_per_mm2": _per(count, tissue_mm2 if per == "tissue" else searched),
    "per": per,
    "regions": [
      {**region, "area_mm2": area, "nuclei_per_mm2": _per(region["nuclei"], area)}
      for region, area in zip(
        regions, [_mm2(_union([box]), mpp) for box in boxes], strict=True
      )
    ],
    "threshold": threshold,
    "weights": weights,
    "seconds": round(seconds, 1),
    "version": __version__,
    **more,
  }


def _within(
  region: Mapping[str, float], shape: tuple[int, int]
) -> tuple[float, float, float, float]:
  """(left, top, right, bottom) of a region, as far as it lies on the image."""
  left, right = (region["x"], region["x"] + region["width"])
  top, bottom = (region["y"], region["y"] + region["height"])
  height, width = shape
  return max(left, 0), max(top, 0), min(right, width), min(bottom, height)


def _union(boxes: Sequence[tuple[float, float, float, float]]) -> float:
  """The area that boxes cover, overlaps counted once."""
  xs = sorted({x for left, _, right, _ in boxes for x in (left, right)})
  area = 0.0
  for west, east in itertools.pairwise(xs):
    spans = sorted((t, b) for left, t, r, b in boxes if left <= west and east <= r)
    reached = -math.inf
    for top, bottom in spans:
      area += (east - west) * max(bottom - max(top, reached), 0)
      reached = max(reached, bottom)
  return area


def _mm2(pixels: float, mpp: float | None) -> float | None:
  return None if mpp is None else round(pixels * (mpp / 1000) ** 2, 6)


def _per(count: float, area: float | None) -> float | None:
  return round(count / area, 1) if area else None
