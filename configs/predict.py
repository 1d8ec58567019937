"""Finds the nuclei in images and slides, as `micronet detect` does.

  python launch.py --config=configs/predict.py --config.images='tiles/*.png' \
    --workdir=results

The workdir gets, for each image NAME.svs, NAME.json, NAME.csv, NAME.geojson and
NAME.overlay.png, and summary.csv with a line for each image, and for others whose
results are there. The same command goes on where it stopped; after an image that failed
the exit status is 1.
"""

import ml_collections

from configs import _schema
from micronet_jax.config import PredictConfig


def get_config() -> ml_collections.ConfigDict:
  """The defaults of `micronet detect`; `micronet_jax/config.py` says what each is."""
  options = PredictConfig()
  config = _schema.to_config_dict(options)
  config.job = "predict"
  # Files, folders (all images directly in them) and globs, separated by commas.
  config.images = ""
  # The weights: the folder of a run or a checkpoint, or the name of packaged ones.
  config.init_from = "base"
  with config.ignore_type():
    # "x,y,width,height" in the image's own pixels, separated by semicolons.
    config.regions = ""
    # Separated by commas.
    config.formats = ",".join(options.formats)
  return config
