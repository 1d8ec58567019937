"""Trained networks in formats that others read: ONNX, safetensors, StableHLO.

What is exported is the network alone, from normalised pixels to its map. Smoothing
(`config.smoothing`), maxima and threshold are the detector's and are not in it: its
card says all that a program needs around the network, and docs/export.md does it in
numpy and scipy. Called by `commands.export`.
"""

import contextlib
import glob
import json
import logging
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from micronet_jax import checkpoints, models
from micronet_jax.config import ABSOLUTE, MEDIAN, RELATIVE
from micronet_jax.detection.units import FAINT, PALEST
from micronet_jax.errors import InputError, how_to_install
from micronet_jax.files import cannot_write, replacing, write_json
from micronet_jax.lengths import REFERENCE_MPP, in_network_pixels, window_radius
from micronet_jax.models import operations
from micronet_jax.models.graphs import abstract_model, merge_model
from micronet_jax.version import __version__

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
"""Where a StableHLO program runs."""


NORMALISATION = (
  "each channel less its mean, by its standard deviation (at least 1), over the whole"
  " image in grey levels 0 to 255; over samples of tissue if it is larger than 1 mm2"
)


SEARCH = (
  "1. smooth the map by a Gaussian whose sd is smoothing_px, cut off after three sd (in"
  " whole pixels, rounded up), as the weighted mean of the image's own pixels; 0: do"
  " not. 2. take the pixels above 0 that are the highest of the square of"
  " 2 radius_px + 1 around them; equal ones within radius_px of each other are one, at"
  " their mean. 3. keep those whose value is at least the threshold"
)


THRESHOLDS = {
  ABSOLUTE: "xi",
  RELATIVE: "xi times the highest value found in the image; xi itself if the image is"
  " larger than 1 mm2",
  MEDIAN: "xi times the median of the maxima of at least faint in the image, in samples"
  " of its tissue if it is larger than 1 mm2; this median is at least palest, which it"
  " is without such maxima",
}
"""What a score must reach, by rule."""


Tree = Any  # nested dicts of arrays


def export_network(source: str, path: pathlib.Path, *, kind: str) -> None:
  """Writes a trained network, whole or not at all.

  Args:
    source: as `checkpoints.load_weights` takes it.
    path: must not exist; a folder for "micronet", else a file. Beside StableHLO, which
      has no place for it, `<path>.json`, which must not exist either, gets the card.
    kind: of `WRITERS`.

  Raises:
    InputError: no such checkpoint, `path` exists or cannot be written, a package is
      missing, or the network cannot be exported.
  """
  if kind not in WRITERS:
    raise InputError(f"format is {kind!r}; use one of {', '.join(WRITERS)}")
  weights, meta = checkpoints.load_weights(source)
  for each in (path, *([_card_of(path)] if kind == "stablehlo" else [])):
    if each.exists():
      raise InputError(f"{each} exists; export to another folder or remove it first")
  WRITERS[kind](path, weights, meta)


def describe_network(meta: Mapping[str, Any]) -> dict[str, str]:
  """The card of a network: all that a program needs to find nuclei with it, as text.

  Args:
    meta: of its checkpoint.
  """
  model = models.find_model(meta["model"]["name"])
  rule, mpp = meta.get("threshold_rule", RELATIVE), meta.get("mpp", REFERENCE_MPP)
  smoothing = meta.get("smoothing", 0.0)
  card = {
    "about": f"{meta['model']['name']} of micronet_jax {__version__}",
    "input": "images: float32 [B, H, W, 3], RGB, at mpp microns a pixel, normalised; H"
    f" and W multiples of {model.STRIDE}: an image of other sides gets zeros below and"
    " to the right once it is normalised, and its map is cut back",
    "output": "map: float32 [B, H, W], highest at the centre of a nucleus, where"
    " training aims at 1 but a network may stay far below (base: 0.3 to 0.5); neither"
    " smoothed nor searched",
    "normalisation": NORMALISATION,
    "search": SEARCH,
    "threshold": THRESHOLDS[rule],
    "mpp": mpp,
    "xi": meta["xi"],
    "threshold_rule": rule,
    "faint": FAINT,
    "palest": PALEST,
    "min_distance": meta["min_distance"],
    "radius_px": window_radius(meta["min_distance"], mpp),
    "smoothing": smoothing,
    "smoothing_px": in_network_pixels(smoothing, mpp),
    "lengths": f"min_distance and smoothing are in pixels of {REFERENCE_MPP} microns;"
    " radius_px and smoothing_px are the same in pixels of the input",
    "stride": model.STRIDE,
    "reach": model.REACH,
    "model": dict(meta["model"]),
    "proximity": dict(meta["proximity"]),
    "note": meta.get("note", ""),
  }
  return {
    name: value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    for name, value in card.items()
  }


def _network(weights: Tree, meta: Mapping[str, Any]) -> Callable[[jax.Array], Any]:
  """The function (images `[B, H, W, 3]`, normalised) -> maps `[B, H, W]`."""
  if meta["model"].get("test_norm") == "batch":
    raise InputError(
      "this checkpoint normalises by each batch (model.test_norm='batch'), so what it"
      " finds in an image would depend on others; only networks with"
      " test_norm='running' are exported as programs"
    )
  graph, template = abstract_model(meta["model"])
  weights = checkpoints.transfer(weights, template)
  model, scale = models.find_model(meta["model"]["name"]), meta["proximity"]["scale"]

  def score(images: jax.Array) -> jax.Array:
    return models.score_map(model, merge_model(graph, weights)(images), scale)

  return score


def _any_size(meta: Mapping[str, Any]) -> tuple[jax.ShapeDtypeStruct, ...]:
  """Images of any number and of any sides that the stride divides, and their corners.

  Returns:
    `[B, s h, s w, 3]`, s being the stride; and `[B, h, w, 3]`, a pixel of each s x s.
  """
  stride = models.find_model(meta["model"]["name"]).STRIDE
  count, rows, columns = jax.export.symbolic_shape("B, h, w")
  sides = (stride * rows, stride * columns), (rows, columns)
  return tuple(jax.ShapeDtypeStruct((count, *each, 3), jnp.float32) for each in sides)


def _write_folder(path: pathlib.Path, weights: Tree, meta: Mapping[str, Any]) -> None:
  try:
    checkpoints.export_weights(path, weights, meta, dtype="float32")
  except (OSError, ValueError, RuntimeError) as error:  # Orbax's and TensorStore's
    for begun in path.parent.glob(f"{glob.escape(path.name)}.orbax-checkpoint-tmp*"):
      shutil.rmtree(begun, ignore_errors=True)
    raise cannot_write(path, error, "nothing was exported") from error


def _write_safetensors(
  path: pathlib.Path, weights: Tree, meta: Mapping[str, Any]
) -> None:
  with _needs("safetensors"):
    from safetensors.numpy import save
  arrays = {
    name: np.ascontiguousarray(array)
    for name, array in checkpoints.flatten(weights).items()
  }
  with replacing(path) as beside:
    beside.write_bytes(save(arrays, metadata=describe_network(meta)))


def _write_stablehlo(
  path: pathlib.Path, weights: Tree, meta: Mapping[str, Any]
) -> None:
  network = jax.jit(_network(weights, meta))
  exported = jax.export.export(network, platforms=PLATFORMS)(_any_size(meta)[0])
  try:
    with replacing(path) as beside:
      beside.write_bytes(exported.serialize())
      write_json(_card_of(path), describe_network(meta))
  except InputError:
    with contextlib.suppress(OSError):
      _card_of(path).unlink()  # ours: there was none
    raise


def _card_of(program: pathlib.Path) -> pathlib.Path:
  """Where the card of a StableHLO program is."""
  return program.with_name(f"{program.name}.json")


def _write_onnx(path: pathlib.Path, weights: Tree, meta: Mapping[str, Any]) -> None:
  with _needs("onnx"), _quiet():
    import jax2onnx
    import onnx
  network = _network(weights, meta)
  try:
    with _quiet(), operations.plain_forms():
      model = jax2onnx.to_onnx(
        lambda images, corners: network(images),
        _any_size(meta),
        model_name=meta["model"]["name"],
        input_names=["images", "corners"],
        output_names=["map"],
      )
  except Exception as error:  # jax2onnx raises many kinds
    reason = " ".join(str(error).split())[:200]
    raise InputError(
      f"jax2onnx cannot export the model {meta['model']['name']}"
      f" ({type(error).__name__}: {reason}); use --format stablehlo"
    ) from error
  card = describe_network(meta)
  _take_corners(model.graph, int(card["stride"]))
  onnx.helper.set_model_props(model, card)
  onnx.checker.check_model(model)
  with replacing(path) as beside:
    beside.write_bytes(model.SerializeToString())


def _take_corners(graph: Any, stride: int) -> None:
  """Makes the program take the corners from the images, which then are its only input.

  jax2onnx finds h and w only where a side of an input is just that, so the corners
  were an input of which nothing but the shape is read.
  """
  from onnx import helper, numpy_helper

  numbers = {"starts": 0, "ends": 2**62, "axes": (1, 2), "steps": stride}
  for name, value in numbers.items():
    array = np.broadcast_to(np.array(value, np.int64), 2)
    graph.initializer.append(numpy_helper.from_array(array, f"corners_{name}"))
  inputs = ["images", *(f"corners_{name}" for name in numbers)]
  graph.node.insert(0, helper.make_node("Slice", inputs, ["corners"]))
  for each in [each for each in graph.input if each.name == "corners"]:
    graph.input.remove(each)
  for each in (*graph.input, *graph.output):
    for side, name in zip(each.type.tensor_type.shape.dim, "BHW", strict=False):
      side.dim_param = name


WRITERS: Mapping[str, Callable[[pathlib.Path, Tree, Mapping[str, Any]], None]] = {
  "micronet": _write_folder,
  "onnx": _write_onnx,
  "safetensors": _write_safetensors,
  "stablehlo": _write_stablehlo,
}
"""Formats, the default first."""


@contextlib.contextmanager
def _needs(extra: str) -> Iterator[None]:
  """Says in one sentence what must be installed."""
  try:
    yield
  except ImportError as error:
    raise InputError(
      f"this format needs {error.name}, which is not installed: {how_to_install(extra)}"
    ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Keeps jax2onnx's warnings, of parts that are not used here, from the terminal."""
  before = logging.root.manager.disable
  logging.disable(logging.WARNING)
  try:
    yield
  finally:
    logging.disable(before)
