"""How the packaged weights `base` were made (micronet_jax/weights/README.md).

  python launch.py --config=configs/base.py --config.target.root=DIR \
    --workdir=runs/first
  python launch.py --config=configs/base.py:second --config.target.root=DIR \
    --config.init_from=runs/first --workdir=runs/base

DIR holds NuInsSeg (CC BY 4.0) in the layout of the `folder` data set: 665 images of 31
slides, one an organ, of man and mouse. Six slides validate; nothing is tested on here.

The first run learns from drawn artefacts too, which holds its scores down on pale
nuclei; the second takes its best network and goes on with Eq. 2 as the paper has it.
"""

import ml_collections

from configs import common

VALIDATION = (
  *("human_bladder", "human_kidney", "human_lung", "human_rectum", "human_tonsil"),
  "mouse_heart",
)


def get_config(stage: str = "first") -> ml_collections.ConfigDict:
  """Twenty-five slides at 0.5 microns, a budget of an hour on two CPU cores.

  Args:
    stage: "first" or "second", which begins with the first's best network.

  Raises:
    ValueError: it is neither.
  """
  if stage not in ("first", "second"):
    raise ValueError(f"the base has stages first and second, not {stage!r}")
  config = common.get_config()
  config.target.name = "folder"
  config.split.test_fraction = 0.0
  config.split.validation_patients = VALIDATION
  config.working_mpp = 0.5
  config.model.width = 16
  config.warp.patch = 128
  # Keratin, hair, fibres and folds, drawn: 40 of 619 images, without a nucleus.
  config.auxiliary.name = "synthetic_he"
  config.auxiliary.organs = "artefacts"
  config.auxiliary.synthetic_images = 40
  config.naive_pooling = True
  config.loss_floor = 0.03
  # Beyond the paper: a guess for long runs, since neither won or cost anything in short
  # ones (benchmarks/RESULTS.md).
  config.warp.zoom = 1.33
  config.appearance.stain = 0.25
  # Ten times the paper's rate, for a tenth of its iterations.
  config.optimizer.learning_rate = 0.1
  config.optimizer.schedule = "cosine"
  config.optimizer.weight_decay = 1e-4
  config.num_steps = 10_000
  config.eval_every = 1000
  config.threshold_rule = "absolute"
  if stage == "second":
    config.auxiliary.name = config.auxiliary.organs = ""
    config.naive_pooling = False
    config.loss_floor = 0.0
    config.optimizer.learning_rate = 0.05
    config.num_steps = 2_000
    config.eval_every = 2_000  # the last network, when the rate has fallen
    # One nucleus, one maximum: better on nearly every data set (benchmarks/RESULTS.md).
    config.smoothing = 4.0
    # The standard error of the six slides' F1: it is for tissue unlike theirs.
    config.select_slack = 0.025
  return config
