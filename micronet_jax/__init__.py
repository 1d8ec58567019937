"""Nucleus detection in microscopy images, learned from points.

  import micronet_jax as mn
  result = mn.load("base").detect("slide.svs")  # -> centers (y, x), scores

What others may rely on is here; nothing is imported before it is asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

from micronet_jax.version import __version__

if TYPE_CHECKING:
  from micronet_jax.datasets import Sample, load_samples
  from micronet_jax.errors import InputError
  from micronet_jax.evaluation import match
  from micronet_jax.inference import Detections, Detector, load
  from micronet_jax.losses import weighted_mse
  from micronet_jax.prediction import predict
  from micronet_jax.proximity import proximity_map
  from micronet_jax.readers import open_image
  from micronet_jax.reports import evaluate
  from micronet_jax.training import train_and_evaluate

_HOMES = {
  **dict.fromkeys(("Sample", "load_samples"), "datasets"),
  **dict.fromkeys(("Detections", "Detector", "load"), "inference"),
  "InputError": "errors",
  "evaluate": "reports",
  "match": "evaluation",
  "open_image": "readers",
  "predict": "prediction",
  "proximity_map": "proximity",
  "train_and_evaluate": "training",
  "weighted_mse": "losses",
}

__all__ = [
  "Detections",
  "Detector",
  "InputError",
  "Sample",
  "__version__",
  "evaluate",
  "load",
  "load_samples",
  "match",
  "open_image",
  "predict",
  "proximity_map",
  "train_and_evaluate",
  "weighted_mse",
]


def __getattr__(name: str) -> Any:
  if name not in _HOMES:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
