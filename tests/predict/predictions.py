"""Images to search and what a search left, for tests of the predict job."""

import csv

import numpy as np
import PIL.Image
import tissue

from micronet_jax.config import PredictConfig
from micronet_jax.predict import outputs

QUARTER_MICRON = (101_600, 101_600)  # dots an inch
SHAPE = (288, 304)
TILES = 6  # of 272 pixels: two halos of 128 and a stride
SMALL = {"tile": 272, "batch": 1, "devices": 1}
SLIDE = 200 * 200  # pixels from which on an image counts as one, in a test
ALL = tuple(outputs.FORMATS)
DEFAULT = (".csv", ".geojson", ".json", ".overlay.png")


def write_dots(path, *, shape=SHAPE):
  pixels = tissue.dots("big", size=max(shape), nuclei=max(shape) ** 2 // 2500).image
  PIL.Image.fromarray(pixels[: shape[0], : shape[1]]).save(path, dpi=QUARTER_MICRON)
  return str(path)


def options(**changes):
  return PredictConfig(**{**SMALL, **changes})


def names(folder):
  return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def read_summary(out):
  with (out / "summary.csv").open(newline="") as file:
    return list(csv.DictReader(file))


def in_order(points):
  return points[np.lexsort(points.T)]
