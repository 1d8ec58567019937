"""How the packaged weights were made (micronet_jax/weights/README.md).

  python launch.py --config=configs/base.py --config.target.root=DIR \
    --workdir=runs/first
  python launch.py --config=configs/base.py:second --config.target.root=DIR \
    --config.init_from=runs/first --workdir=runs/base

DIR holds NuInsSeg (CC BY 4.0) in the layout of the `folder` data set: 665 images of 31
slides, one an organ, of man and mouse. Six slides validate; nothing is tested on here.
The first run learns from drawn artefacts too, which holds its scores down on pale
nuclei; the second takes its best network and goes on with Eq. 2 as the paper has it.

  python launch.py --config=configs/base.py:nc --config.target.root=BOTH \
    --config.init_from=base --workdir=runs/base-nc

goes on from `base` with MoNuSeg (CC BY-NC-SA 4.0) beside NuInsSeg in one folder, less
its patients of prostate, which nothing here may see.
"""

import ml_collections

from configs import common

VALIDATION = (
  *("human_bladder", "human_kidney", "human_lung", "human_rectum", "human_tonsil"),
  "mouse_heart",
)

NC_VALIDATION = (
  *("TCGA-G2-A2EK", "TCGA-E2-A1B5", "TCGA-NH-A8F7", "TCGA-HE-7130"),
  *("TCGA-50-5931", "TCGA-RD-A8N9"),
)
"""Of MoNuSeg's patients one of each organ: bladder, breast, colon, kidney, lung (there
"liver") and stomach."""

STAGES = ("first", "second", "nc")


def get_config(stage: str = "first") -> ml_collections.ConfigDict:
  """Twenty-five slides at 0.5 microns, a budget of an hour on two CPU cores.

  Args:
    stage: one of `STAGES`; each but the first begins with another's best network.

  Raises:
    ValueError: it is none of them.
  """
  if stage not in STAGES:
    raise ValueError(f"the base has stages {', '.join(STAGES)}, not {stage!r}")
  config = common.get_config()
  config.target.name = "folder"
  config.split.test_fraction = 0.0
  config.split.validation_patients = VALIDATION
  config.working_mpp = 0.5
  config.model.width = 16
  config.warp.patch = 128
  # Beyond the paper: a guess for long runs, since neither won or cost anything in short
  # ones (benchmarks/RESULTS.md).
  config.warp.zoom = 1.33
  config.appearance.stain = 0.25
  # Ten times the paper's rate, for a tenth of its iterations.
  config.optimizer.learning_rate = 0.1
  config.optimizer.schedule = "cosine"
  config.optimizer.weight_decay = 1e-4
  # One nucleus, one maximum: better on nearly every data set (benchmarks/RESULTS.md).
  config.smoothing = 4.0
  # Pale and blurred tissue scores lower: so does its threshold.
  config.threshold_rule = "median"
  config.num_steps = {"first": 10_000, "second": 2_000, "nc": 6_000}[stage]
  config.eval_every = 1_000
  if stage == "first":
    # Keratin, hair, fibres and folds, drawn: 40 of 619 images, without a nucleus, to
    # which Eq. 2 would give no weight without the floor.
    config.auxiliary.name = "synthetic_he"
    config.auxiliary.organs = "artefacts"
    config.auxiliary.synthetic_images = 40
    config.naive_pooling = True
    config.loss_floor = 0.03
  else:
    config.eval_every = config.num_steps  # the last network, when the rate has fallen
  if stage == "second":
    config.optimizer.learning_rate = 0.05
  if stage == "nc":
    config.split.validation_patients = VALIDATION + NC_VALIDATION
  return config
