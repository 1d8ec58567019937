"""Nucleus detection in microscopy images, learned from points.

  import micronet_jax as mn
  result = mn.load("base").detect("slide.svs")  # -> centers (y, x), scores

What others may rely on is here; nothing is imported before it is asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

from micronet_jax.version import __version__

if TYPE_CHECKING:
  from micronet_jax.config import Config, PredictConfig
  from micronet_jax.datasets import Sample, load_samples
  from micronet_jax.detection.detector import Detector, load
  from micronet_jax.detection.points import Detections
  from micronet_jax.errors import InputError, Stopped
  from micronet_jax.evaluation.job import evaluate
  from micronet_jax.evaluation.matching import match
  from micronet_jax.imaging.opening import open_image
  from micronet_jax.predict.job import predict_images
  from micronet_jax.settings import changed
  from micronet_jax.training.job import train_and_evaluate
  from micronet_jax.training.losses import weighted_mse
  from micronet_jax.training.targets import proximity_map

_HOMES = {
  **dict.fromkeys(("Config", "PredictConfig"), "config"),
  **dict.fromkeys(("Sample", "load_samples"), "datasets"),
  **dict.fromkeys(("Detector", "load"), "detection.detector"),
  "Detections": "detection.points",
  **dict.fromkeys(("InputError", "Stopped"), "errors"),
  "changed": "settings",
  "evaluate": "evaluation.job",
  "match": "evaluation.matching",
  "open_image": "imaging.opening",
  "predict_images": "predict.job",
  "proximity_map": "training.targets",
  "train_and_evaluate": "training.job",
  "weighted_mse": "training.losses",
}

__all__ = [
  "Config",
  "Detections",
  "Detector",
  "InputError",
  "PredictConfig",
  "Sample",
  "Stopped",
  "__version__",
  "changed",
  "evaluate",
  "load",
  "load_samples",
  "match",
  "open_image",
  "predict_images",
  "proximity_map",
  "train_and_evaluate",
  "weighted_mse",
]


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
  if name not in _HOMES:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
