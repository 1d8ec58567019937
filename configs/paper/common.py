"""Every field of a study, once: which figure, which budget, which data, which seeds.

The files beside this one name their study and say what it costs. All studies that
share a --workdir share their runs: nothing is trained twice.
"""

import ml_collections

from configs import common
from micronet_jax.studies import recipe


def get_config(study: str) -> ml_collections.ConfigDict:
  """One study at the budget for CPUs, on synthetic tissue."""
  config = ml_collections.ConfigDict()
  config.job = "study"

  # Which table or figure of the paper.
  config.study = study
  # Which of `config.budgets` below.
  config.budget = "cpu"

  # "synthetic" (23 organs), "real" (the seven public ones of studies/organs.py), or
  # the root of a `folder` data set whose index.csv names organs (the paper's own).
  config.data = "synthetic"
  # For "real": where monuseg, gbm40, mbm and crchisto lie; "" for what the
  # environment variable MICRONET_DATA says.
  config.data_root = ""
  # Only these organs, separated by commas; "" for all (smoke: the first few).
  config.organs = ""
  # The organs that figures 5 to 9 and 11 are about, separated by commas; "" for the
  # paper's where there are such, else drawn by chance.
  config.targets = ""
  # For table1: only these models, separated by commas ("micronet,fcrna"); "" for all.
  config.models = ""
  # Where prepared data sets are kept; "" for TFDS's own place.
  config.data_dir = ""

  # Each run is repeated with each of these; from three on, intervals cover seeds too.
  config.seeds = (0,)

  # Print the runs, which are done, and the time that the others will take; no more.
  config.plan_only = False
  # Then also take a few steps of networks that have not been timed here yet.
  config.measure = True

  # "local": one run after the other; "ray": on the cluster that RAY_ADDRESS names, or
  # on this machine. One GPU a run where there are any, else so many CPUs.
  config.executor = "local"
  config.cpus_per_run = 2

  # What all runs begin with; other fields of configs/common.py are in the budget or
  # set by the study.
  config.recipe = recipe.without_set_fields(common.get_config())

  config.budgets = ml_collections.ConfigDict()
  config.budgets.paper = _paper()
  config.budgets.cpu = _cpu()
  config.budgets.smoke = _smoke()
  return config


def _paper() -> ml_collections.ConfigDict:
  """The paper's recipe, untouched [Implementation details]."""
  budget = ml_collections.ConfigDict()
  budget.width = 32
  budget.patch = 200
  budget.batch_size = 4
  budget.num_steps = 100_000
  budget.eval_every = 1_000
  # Steps between snapshots of MicroNets [Fig. 5, rows 1 and 3]. A snapshot of width
  # 32 with its optimiser takes about 100 MB.
  budget.snapshot_every = 2_000
  # Snapshots that are evaluated, by their steps [Fig. 5, row 1]; () for all.
  budget.course = ()
  budget.learning_rate = 0.01
  # Other rates, of models that cannot take it; 0 for none.
  budget.own_rates = ml_collections.ConfigDict(dict.fromkeys(recipe.NAMES, 0.0))
  budget.schedule = "plateau"
  # Radii among which validation chooses the search window; pixels.
  budget.min_distances = (3, 5, 7, 9, 11)
  # Organs used, the first so many; 0 for all.
  budget.organs = 0
  # Images an organ at most, patients taking turns; 0 for all (synthetic: 50).
  budget.images = 0
  # Side that larger images are cut to, around their middle, in pixels at 0.25
  # microns, and the side of synthetic images; 0 for all of it (synthetic: 500).
  budget.side = 0
  # Target organs of figures 5 to 9 and 11, and random bases for each [Table 2].
  budget.targets = 3
  budget.random_bases = 2
  # Percentages of the target's training images [Fig. 5, row 2; Fig. 6, row 2].
  budget.fractions = (10, 20, 40, 60, 80, 100)
  # Steps after which a base is taken over [Fig. 5, row 3]; snapshots there must be.
  budget.stages = tuple(range(2_000, 100_001, 2_000))
  # How many of the first blocks are frozen [Fig. 5, row 4].
  budget.frozen = tuple(range(10))
  # Percentages of the auxiliary training images [Fig. 6; Fig. 11].
  budget.percentages = (0, 1, 2, 5, 10, 20, 50)
  # Those that are mixed with fractions of the target, and balanced by γ.
  budget.mixed = (5, 50)
  # γ [Figs. 7 and 8]; the text names the ends and 1 and 5.
  budget.gammas = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 50.0, 100.0)
  # λ [Fig. 9]; the last two diverged in the paper.
  budget.lambdas = (0.0, 0.005, 0.05, 0.5, 5.0, 50.0, 500.0, 5000.0)
  return budget


def _cpu() -> ml_collections.ConfigDict:
  """Two cores: a quarter of the width, a 300th of the steps at ten times the rate."""
  budget = _paper()
  # MicroNet with 0.8 million parameters, 0.1 s a step.
  budget.width = 8
  # Several nuclei fit (a nucleus is 25 to 50 px); a quarter of the paper's area.
  budget.patch = 96
  # Short runs need the higher rate and an end of the schedule (configs/base.py).
  budget.num_steps = 300
  budget.learning_rate = 0.1
  # FCN diverged on kidney or breast with it, and U-Net is of its kind; FCRNB diverged
  # on brain and kidney with 0.03 too.
  budget.own_rates.fcn = 0.03
  budget.own_rates.unet = 0.03
  budget.own_rates.fcrnb = 0.01
  budget.schedule = "cosine"
  budget.eval_every = 100
  budget.snapshot_every = 30
  # An evaluation takes a tenth of a run's time: more where the course is steep.
  budget.course = (30, 60, 90, 150, 300)
  # The smallest organs of MoNuSeg have 24; 12 of them test.
  budget.images = 24
  # The paper's images are 500 pixels wide.
  budget.side = 500
  # Each costs a run for each of twelve bases; the paper's early, middle and late.
  budget.stages = (30, 60, 120, 180, 240, 300)
  budget.frozen = (0, 2, 4, 6, 7, 8, 9)
  # One per cent of the auxiliary images would be a single one, as two per cent is.
  budget.percentages = (0, 2, 5, 10, 20, 50)
  budget.gammas = (0.01, 0.1, 1.0, 5.0, 10.0, 100.0)
  return budget


def _smoke() -> ml_collections.ConfigDict:
  """Proves the machinery in seconds; the numbers mean nothing."""
  budget = _paper()
  budget.width = 2
  budget.patch = 32
  budget.batch_size = 2
  budget.num_steps = 2
  budget.learning_rate = 0.1
  budget.schedule = "cosine"
  budget.eval_every = 2
  budget.snapshot_every = 1
  budget.min_distances = (5,)
  budget.organs = 3
  budget.images = 4
  budget.side = 64
  budget.targets = 1
  budget.random_bases = 1
  budget.fractions = (50, 100)
  budget.stages = (1, 2)
  budget.frozen = (0, 9)
  budget.percentages = (0, 50)
  budget.mixed = (50,)
  budget.gammas = (0.1, 10.0)
  budget.lambdas = (0.0, 5.0, 5000.0)
  return budget
