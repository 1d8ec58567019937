"""Lengths that people write, and what they are in the pixels of a network.

d of Eq. 1, min_distance, matching radii, shift and elastic distortion are written in
pixels at 0.25 microns (40x, the paper's) everywhere that people see them; a network
works at a resolution of its own. Only here is one made of the other. Called by all
rooms.
"""

import dataclasses
import math

from micronet_jax.config import Config, ProximityConfig, WarpConfig

REFERENCE_MPP = 0.25
"""Microns per pixel that lengths are written in; what images are taken to have of which
nobody knows it."""

SAME_MPP = 0.01
"""Resolutions that differ by less than this share are taken as the same."""


def resolution_of(config: Config) -> float:
  """Microns per pixel that a config's network sees; 0.25 where it does not say."""
  return REFERENCE_MPP if config.working_mpp is None else config.working_mpp


def scale_between(mpp: float | None, wanted: float) -> float:
  """What an image's sides are multiplied by to bring it to another resolution.

  Args:
    mpp: microns per pixel of the image; None, of which nobody knows it, means 0.25.
    wanted: microns per pixel to have.

  Returns:
    mpp / wanted; exactly 1 if they differ by less than one in a hundred.
  """
  factor = (REFERENCE_MPP if mpp is None else mpp) / wanted
  return 1.0 if abs(factor - 1) < SAME_MPP else factor


def in_network_pixels(length: float, mpp: float) -> float:
  """A length in pixels at 0.25 microns, in pixels at `mpp`."""
  return length * scale_between(REFERENCE_MPP, mpp)


def window_radius(min_distance: int, mpp: float) -> int:
  """The radius in pixels at `mpp` of the window of a local maximum, at least 1.

  Maxima of windows of radius r are r + 1 apart, or more: this distance is what is
  kept, to the nearest whole pixel.

  Args:
    min_distance: radius in pixels at 0.25 microns.
    mpp: microns per pixel.
  """
  apart = in_network_pixels(min_distance + 1, mpp)
  return max(1, math.floor(apart + 0.5) - 1)


def warp_at(warp: WarpConfig, mpp: float) -> WarpConfig:
  """The warp with its lengths in pixels at `mpp`; the patch is in these already.

  Noise of one value a pixel, smoothed over `elastic_sigma`, has an sd in proportion to
  1 / elastic_sigma: `elastic_alpha`, which multiplies it, goes by the square, so that
  tissue is distorted alike.
  """
  return dataclasses.replace(
    warp,
    shift=in_network_pixels(warp.shift, mpp),
    elastic_sigma=in_network_pixels(warp.elastic_sigma, mpp),
    elastic_alpha=warp.elastic_alpha * in_network_pixels(1.0, mpp) ** 2,
  )


def proximity_at(proximity: ProximityConfig, mpp: float) -> ProximityConfig:
  """The same proximity map with d in pixels at `mpp`."""
  radius = in_network_pixels(proximity.radius, mpp)
  return dataclasses.replace(proximity, radius=radius)
