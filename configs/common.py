"""Every field that a configuration has, once, with the paper's values.

The sections in brackets are those of Xing et al., BMC Bioinformatics 20:472 (2019).
The other files of this folder change what differs.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
  """The paper's recipe for training from scratch."""
  config = ml_collections.ConfigDict()

  # Which job this is: "train", "finetune", "auxiliary" or "evaluate".
  config.job = "train"
  # Seed of the initial weights, of patches and dropout.
  config.seed = 0

  # Data to learn from and be tested on.
  config.target = _data_set("synthetic_he")
  # Share of the target's training images that is used [Fig. 5, row 2].
  config.target_fraction = 1.0
  # Where prepared data sets are kept; "" for TFDS's own place.
  config.data_dir = ""

  # Data of other organs to learn from as well; no name, none [Training with
  # auxiliary datasets].
  config.auxiliary = _data_set("")
  # Percentage of the auxiliary training images that is used [Fig. 6].
  config.auxiliary_percentage = 100.0
  # γ in L = γ·L_target + L_auxiliary, each over its half of the batch [Fig. 7].
  config.gamma = 1.0
  # Pool both kinds naively instead: one loss over patches of the union.
  config.naive_pooling = False

  # Split by patient within each organ [Datasets].
  config.split = ml_collections.ConfigDict()
  # Share of the patients that only tests; 0 for none.
  config.split.test_fraction = 0.5
  # Share of the other patients that ξ, min_distance and the best step are chosen on.
  config.split.validation_fraction = 0.2
  # Seed of the split.
  config.split.seed = 0

  # The network, by the arguments of its class.
  config.model = ml_collections.ConfigDict()
  config.model.name = "micronet"
  # Channels of the first block; all others scale with it [Fig. 2].
  config.model.width = 32
  # Stages that feed the multi-context aggregation [Fig. 2].
  config.model.context = ("up4", "up3")
  # Dropout rate in the last two downsampling blocks [Implementation details].
  config.model.dropout = 0.5
  # Of the computation: "float32" or "bfloat16" (parameters stay float32).
  config.model.dtype = "float32"
  # Batch normalisation at test time: "running" statistics or those of the "batch".
  config.model.test_norm = "running"
  # Compute each block again in the backward pass instead of keeping its insides:
  # less memory, more time (benchmarks/RESULTS.md).
  config.model.remat = False

  # Checkpoint to start from: the folder of a run or a checkpoint, or the name of
  # packaged weights ("base"); "" to start from scratch.
  config.init_from = ""
  # Take over what fits when the checkpoint is of another model, instead of refusing.
  config.init_partial = False
  # The first so many of the 10 blocks stay as they are [Fig. 5, row 4].
  config.freeze_blocks = 0
  # Also report the checkpoint as it was ("base") and a model trained from scratch
  # with the same budget ("scratch").
  config.compare = ()

  # Proximity map [Eq. 1]: α, d in pixels, and what the map is multiplied by.
  config.proximity = ml_collections.ConfigDict()
  config.proximity.alpha = 3.0
  config.proximity.radius = 15.0
  config.proximity.scale = 5.0
  # Radius in pixels of the disks around the centres that pixel classifiers (unet, fcn)
  # learn instead; the probability of being in one then goes through the same detection.
  config.disk_radius = 8.0
  # λ, the weight of the regions without nuclei [Eq. 2].
  config.loss_lambda = 5.0

  # Which images configs/evaluate.py scores: "all", or the "test" or "validation" part
  # of the checkpoint's own split.
  config.evaluate_part = "all"

  # How patches are drawn [Implementation details].
  config.warp = ml_collections.ConfigDict()
  # Side in pixels.
  config.warp.patch = 200
  # Rotation is uniform within ± so many degrees.
  config.warp.rotate = 180.0
  # Probability of a mirror image.
  config.warp.mirror = 0.5
  # Pixels by which a patch may reach over the border (reflected).
  config.warp.shift = 10.0
  # Probability, smoothness (px) and strength (px) of an elastic distortion.
  config.warp.elastic = 0.5
  config.warp.elastic_sigma = 5.0
  config.warp.elastic_alpha = 35.0

  # SGD with Nesterov momentum [Implementation details].
  config.optimizer = ml_collections.ConfigDict()
  config.optimizer.learning_rate = 0.01
  config.optimizer.momentum = 0.9
  config.optimizer.weight_decay = 1e-6
  # "plateau": a tenth of the rate when validation has not improved for so many steps,
  # stop under the minimum; "cosine": decay to zero over num_steps, for short runs.
  config.optimizer.schedule = "plateau"
  config.optimizer.plateau_patience = 10_000
  config.optimizer.min_learning_rate = 1e-4

  # Patches in a batch, over all devices.
  config.batch_size = 4
  # Iterations.
  config.num_steps = 100_000
  # Steps in one compiled call; 0 chooses (1 or 4 on the CPU, up to 64 elsewhere).
  config.steps_per_call = 0
  # Devices to share the batch; 0 for as many of those there as divide it.
  config.num_devices = 0

  # Steps between validations (each also saves a checkpoint).
  config.eval_every = 1_000
  # Steps between checkpoints that are kept for good; 0 for none [Fig. 5, row 3].
  config.snapshot_every = 0
  # Steps between lines of the log.
  config.log_every = 50

  # min_distance is chosen among these on the validation part, with ξ; in pixels.
  config.min_distances = (3, 5, 7, 9, 11)
  # Matching radius in pixels that the choice is made at [Evaluation metrics].
  config.select_radius = 16.0

  return config


def _data_set(name: str) -> ml_collections.ConfigDict:
  data = ml_collections.ConfigDict()
  # "synthetic_he", "folder", "monuseg", "crchisto", "bbbc038".
  data.name = name
  # Folder of the images and points (`folder`), or where the download lies.
  data.root = ""
  # Organs to use, separated by commas; "" for all there are (of synthetic_he: one,
  # prostate).
  data.organs = ""
  # Images an organ that synthetic_he makes.
  data.synthetic_images = 50
  return data
