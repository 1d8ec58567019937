"""Recipes: what jobs change of the schema's defaults, wherever they are asked for.

Called by `configs/`, of which each takes its own, and by `commands`.
"""

import pathlib

from micronet_jax.config import Config
from micronet_jax.settings import changed

PACKAGED = pathlib.Path(__file__).with_name("weights")
"""Where the weights that come with the package lie, each in a folder of its name."""

# What takes weights says this of them.
NETWORKS = """\
"base" (CC BY 4.0), "base-nc" (finds more; trained on MoNuSeg too, so for non-commercial
use only: CC BY-NC-SA 4.0), or the folder of a run or checkpoint"""

# A budget of minutes on two CPU cores; more steps help on real tissue.
FINETUNE = changed(
  Config(),
  {
    "job": "finetune",
    "init_from": "base",
    "compare": ("base", "scratch"),
    "target.synthetic_images": 24,
    "split.make_do": True,
    "warp.patch": 128,
    "num_steps": 150,
    "eval_every": 50,
    "log_every": 10,
    "optimizer.schedule": "cosine",
  },
)

EVALUATE = changed(Config(), {"job": "evaluate", "init_from": "base"})
