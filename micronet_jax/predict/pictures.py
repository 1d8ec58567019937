"""A figure of an image with a ring around every nucleus.

Called by `Detections.plot`.
"""

import dataclasses
import os
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from micronet_jax.errors import InputError
from micronet_jax.imaging.opening import open_image
from micronet_jax.imaging.thumbnails import thumbnail

if TYPE_CHECKING:
  import PIL.Image
from micronet_jax.figures import NUCLEUS, PointStyle, new_figure, point_line

PICTURE_SIDE = 2048
"""Longest side of tissue in a figure, in pixels; larger images are shrunk to it."""


def nuclei_on_tissue(
  image: "str | os.PathLike[str] | np.ndarray | PIL.Image.Image",
  centers: np.ndarray,
  *,
  title: str = "",
) -> Figure:
  """Draws a ring around every nucleus of an image, however large.

  Args:
    image: what `imaging.opening.open_image` takes; large ones are drawn smaller, the
      rings with them until they are dots.
    centers: `[N, 2]` (y, x) in the image's own pixels; (0, 0) is the centre of the
      top-left pixel.
    title: above the axes; by default how many nuclei there are.

  Returns:
    The figure, its longer side about 8 inches; axes in the image's own pixels.

  Raises:
    InputError: the image cannot be read, or a centre lies beyond it.
  """
  with open_image(image) as reader:
    height, width = reader.levels[0]
    _check_on_image(centers, (height, width), reader.name)
    shrink = min(1.0, PICTURE_SIDE / max(height, width))
    pixels = thumbnail(
      reader,
      height=max(round(height * shrink), 1),
      width=max(round(width * shrink), 1),
    )
  inch = 7.2 / max(height, width)  # of one pixel of the image
  size = (max(width * inch, 2.0) + 0.8, max(height * inch, 1.0) + 0.8)
  figure, (axes,) = new_figure(size, 1)
  extent = (-0.5, width - 0.5, height - 0.5, -0.5)
  axes.imshow(pixels, extent=extent, interpolation="antialiased")
  line = point_line(
    _shrunk(NUCLEUS, 72 * inch), centers[:, 1], centers[:, 0], "nucleus"
  )
  line.set_in_layout(False)
  axes.add_line(line)
  axes.set(xlim=extent[:2], ylim=extent[2:], xlabel="x (px)", ylabel="y (px)")
  plural = "nucleus" if len(centers) == 1 else "nuclei"
  axes.set_title(title or f"{len(centers):,} {plural}", fontsize=11)
  return figure


def _check_on_image(centers: np.ndarray, shape: tuple[int, int], name: str) -> None:
  """Makes sure that points were not found in a larger image, by more than a pixel."""
  beyond = ((centers < -1.5) | (centers > np.array(shape) + 0.5)).any(axis=1)
  if beyond.any():
    y, x = centers[np.argmax(beyond)]
    raise InputError(
      f"{name} has {shape[1]} x {shape[0]} pixels, but a nucleus is at"
      f" x={x:g}, y={y:g}; give the image that the nuclei were found in."
    )


def _shrunk(mark: PointStyle, scale: float) -> PointStyle:
  """A mark for an image that has `scale` points a pixel: where they are few, a dot."""
  size = float(np.clip(mark.size * scale**0.7, 0.7, 1.3 * mark.size))
  if size < 4:  # a ring would have no hole, and outlines would hide the tissue
    return dataclasses.replace(mark, size=size / 2, width=size / 4, rim=0.0)
  return dataclasses.replace(mark, size=size)
