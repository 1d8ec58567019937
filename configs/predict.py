"""Finds the nuclei in images and slides, as `micronet detect` does.

  python launch.py --config=configs/predict.py --config.images='tiles/*.png' \
    --workdir=results

The workdir gets, for each image NAME.svs, NAME.json, NAME.csv, NAME.geojson and
NAME.overlay.png, and summary.csv with a line for each image. The same command goes on
where it stopped; after an image that failed the exit status is 1.
"""

import ml_collections
from ml_collections import config_dict


def get_config() -> ml_collections.ConfigDict:
  """The defaults of `micronet detect`."""
  config = ml_collections.ConfigDict()

  config.job = "predict"
  # Files, folders (all images directly in them) and globs, separated by commas.
  config.images = ""
  # The weights: the folder of a run or a checkpoint, or the name of packaged ones.
  config.init_from = "base"

  # Microns per pixel of the images; None for what each file says.
  config.mpp = config_dict.placeholder(float)
  # Least score of a nucleus, 0 to 1; None for the checkpoint's own, on images up to
  # 1 mm² relative to the best score in them.
  config.threshold = config_dict.placeholder(float)
  # Parts to look in, "x,y,width,height" in the image's own pixels, separated by
  # semicolons; "" for all of it.
  config.regions = ""
  # Look on tissue only, not on glass; None for images beyond 1 mm² only.
  config.tissue = config_dict.placeholder(bool)
  # What to write, of csv, geojson, overlay and density.
  config.formats = "csv,geojson,overlay"

  # Longest side of what is read at once, in pixels at 0.25 microns; 0 chooses. This
  # and the next two do not change the result.
  config.tile = 0
  # Tiles on the devices at once; 0 for one a device.
  config.batch = 0
  # Devices to use; 0 for all.
  config.devices = 0

  return config
