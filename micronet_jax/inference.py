"""A trained network as a detector: image in, nucleus centres out."""

import functools
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from micronet_jax import checkpoints, detection, models
from micronet_jax.errors import InputError
from micronet_jax.input_pipeline import (
  WORKING_MPP,
  normalise,
  rescale_centers,
  rescale_image,
)
from micronet_jax.models.micronet import MIN_SIZE
from micronet_jax.train_step import merge_model, split_model


class Detections(NamedTuple):
  """Nuclei found in one image.

  Attributes:
    centers: float32 `[N, 2]` (y, x) in the image's own pixels; (0, 0) is the centre
      of the top-left pixel.
    scores: float32 `[N]`, the predicted proximity, about 1 at a clear nucleus;
      falling.
  """

  centers: np.ndarray
  scores: np.ndarray


@functools.cache
def compile_predict(graph: Any) -> Callable[[Any, jax.Array], jax.Array]:
  """A jitted function (weights, images `[B, H, W, 3]`) -> maps `[B, H, W]`."""

  @jax.jit
  def predict(weights: Any, images: jax.Array) -> jax.Array:
    return merge_model(graph, weights)(images)

  return predict


class Detector:
  """Finds nucleus centres; made by `load`, or from weights in hand.

  Attributes:
    meta: what is stored with the checkpoint: `model`, `proximity`, `xi`,
      `min_distance` and more.
  """

  def __init__(self, weights: Any, meta: Mapping[str, Any]):
    """Builds a detector.

    Args:
      weights: `{"params", "batch_stats"}` of the network that `meta["model"]` names.
      meta: at least `model`, `proximity`, `xi` and `min_distance`.

    Raises:
      InputError: the weights are not of that model.
    """
    graph, template = abstract_model(meta["model"])
    self.weights = jax.device_put(checkpoints.transfer(weights, template))
    self.meta = dict(meta)
    self._predict = compile_predict(graph)

  def with_threshold(self, *, xi: float, min_distance: int) -> "Detector":
    """The same network with another ξ and min_distance."""
    meta = {**self.meta, "xi": xi, "min_distance": min_distance}
    return Detector(self.weights, meta)

  def proximity(self, image: np.ndarray) -> jax.Array:
    """Predicts the map of one image at working resolution.

    Args:
      image: uint8 `[H, W, 3]`, H and W >= 1; smaller than 16 is reflected up to it.

    Returns:
      float32 `[H, W]`, in units of Eq. 1: about 1 at centres, 0 far from them.
    """
    height, width = image.shape[:2]
    missing = [(0, max(0, MIN_SIZE - side)) for side in (height, width)]
    padded = np.pad(normalise(image), [*missing, (0, 0)], mode="symmetric")
    maps = self._predict(self.weights, jnp.asarray(padded)[None])
    return maps[0, :height, :width] / self.meta["proximity"]["scale"]

  def peaks(
    self, images: Iterable[np.ndarray], min_distances: Iterable[int]
  ) -> dict[int, list[tuple[np.ndarray, np.ndarray]]]:
    """All local maxima of images at working resolution, for each min_distance."""
    distances = tuple(min_distances)
    found: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {d: [] for d in distances}
    for image in images:
      proximity = self.proximity(image)
      for distance in distances:
        peaks = detection.local_maxima(proximity, min_distance=distance)
        found[distance].append(detection.trim(peaks))
    return found

  def detect(self, image: np.ndarray, *, mpp: float | None = None) -> Detections:
    """Finds the nuclei of one image.

    Args:
      image: uint8 `[H, W, 3]`, RGB.
      mpp: its microns per pixel; it is then brought to 0.25, where the network
        works. Without, the image is taken as it is.

    Returns:
      The centres in the image's own pixels, with scores.

    Raises:
      InputError: an image of another shape or type, or an mpp that is not positive.
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
      raise InputError(
        f"an image is uint8 [H, W, 3], got {image.dtype} {list(image.shape)}"
      )
    if mpp is not None and not (np.isfinite(mpp) and mpp > 0):
      raise InputError(f"mpp is microns per pixel and positive, got {mpp}")
    factor = 1.0 if mpp is None else mpp / WORKING_MPP
    scaled = image if abs(factor - 1) < 0.01 else rescale_image(image, factor)
    centers, scores = detection.detect(
      self.proximity(scaled), min_distance=self.meta["min_distance"], xi=self.meta["xi"]
    )
    if scaled is not image:
      centers = rescale_centers(centers, scaled.shape, image.shape)
    return Detections(centers, scores)


@functools.cache
def _abstract_model(options: tuple[tuple[str, Any], ...]) -> tuple[Any, Any]:
  return split_model(nnx.eval_shape(lambda: models.create(dict(options))))


def abstract_model(options: Mapping[str, Any]) -> tuple[Any, Any]:
  """The graph of a network and the shapes of its weights.

  Args:
    options: the fields of `config.model`.

  Raises:
    InputError: an unknown model or a wrong argument.
  """
  hashable = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
  return _abstract_model(tuple(sorted(hashable.items())))


def load(path_or_name: str | pathlib.Path) -> Detector:
  """Loads a detector.

  Args:
    path_or_name: the folder of a run (its best checkpoint), of one checkpoint, or the
      name of packaged weights: "base".

  Raises:
    InputError: there is no such checkpoint, or it is damaged.
  """
  return Detector(*checkpoints.load_weights(str(path_or_name)))
