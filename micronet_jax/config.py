"""The schema: every field of a run, once, typed, with default, range, unit and source.

`configs/*.py` are made from it and change what differs; `launch.py` and anybody else
hand it typed to `training.job`, `evaluation.job` and `predict.job`. Lengths are in
pixels at 0.25 microns. Sections in brackets are those of Xing et al., BMC
Bioinformatics 20:472 (2019).
"""

import dataclasses
import re
from typing import Any

from micronet_jax.errors import InputError, check_type
from micronet_jax.settings import as_dict, as_python, check_ranges, from_dict, setting

RELATIVE, ABSOLUTE, MEDIAN = "relative", "absolute", "median"
"""What ξ may be: a share of the highest score of an image, or a score."""

SELECT_RADIUS = {RELATIVE: 16.0, ABSOLUTE: 12.0, MEDIAN: 12.0}
"""Matching radius that ξ is chosen at by each rule, in pixels at 0.25 microns."""


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """A data set."""

  # "synthetic_he", "folder", "monuseg", "crchisto", "bbbc038", "nuinsseg"; of auxiliary
  # data "" for none.
  name: str = setting("synthetic_he")
  # Folder of the images and points (`folder`), or where the download lies.
  root: str = setting("")
  # Organs to use, separated by commas; "" for all there are (of synthetic_he: one,
  # prostate).
  organs: str = setting("")
  # Images an organ that synthetic_he makes.
  synthetic_images: int = setting(50, low=1)


@dataclasses.dataclass(frozen=True)
class SplitConfig:
  """Split by patient within each organ [Datasets]."""

  # Share of the patients that only tests; 0 for none.
  test_fraction: float = setting(0.5, low=0, high=0.95, source="Datasets")
  # Share of the other patients that ξ, min_distance and the best step are chosen on.
  validation_fraction: float = setting(0.2, above=0, high=0.95, source="Datasets")
  seed: int = setting(0, low=0, high=2**32 - 1)
  # Patients that validate, instead of a share; separated by commas.
  validation_patients: tuple[str, ...] = setting(())
  # Make do with what there is, instead of refusing it, and say so: what the initial
  # checkpoint has seen trains; of fewer patients than parts, images (or regions) are
  # split, and scores are of slides that were trained on; of fewer images, all train,
  # and nothing is held out or scored.
  make_do: bool = setting(False)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """The network, by the arguments of its class; None is the network's own default.

  With `init_from`, what is None follows the checkpoint, and so does the default name.
  """

  # "micronet", "frcn", "fcrna", "fcrnb", "unet", "fcn".
  name: str = setting("micronet")
  # Channels of the first block; all others scale with it [Fig. 2: 32].
  width: int | None = setting(None, low=1, source="Fig. 2")
  # Stages that feed the multi-context aggregation of micronet [up4, up3].
  context: tuple[str, ...] | None = setting(None, source="Fig. 2")
  # Dropout rate [Implementation details: 0.5 in the last two downsampling blocks].
  dropout: float | None = setting(None, low=0, high=0.999)
  # Of the computation (parameters stay float32).
  dtype: str = setting("float32", choices=("float32", "bfloat16"))
  # Batch normalisation at test time: "running" statistics (the default) or those of the
  # "batch".
  test_norm: str | None = setting(None, choices=("running", "batch"))
  # Compute each block again in the backward pass instead of keeping its insides: less
  # memory, more time (benchmarks/RESULTS.md).
  remat: bool = setting(False, free=True)


@dataclasses.dataclass(frozen=True)
class ProximityConfig:
  """Proximity map [Eq. 1]: α, d, and what the map is multiplied by."""

  # Beyond 80 its exponential is more than float32 holds.
  alpha: float = setting(3.0, above=0, high=80, source="Eq. 1")
  radius: float = setting(15.0, above=0, unit="px", source="Eq. 1")
  scale: float = setting(5.0, above=0, source="Implementation details")


@dataclasses.dataclass(frozen=True)
class WarpConfig:
  """How patches are drawn [Implementation details, and the authors' code]."""

  # Side of a patch, in the network's own pixels (`working_mpp`).
  patch: int = setting(200, low=16, unit="px", source="Implementation details")
  # Rotation is uniform within ± so many degrees.
  rotate: float = setting(180.0, low=0, unit="degrees")
  # Probability of a mirror image.
  mirror: float = setting(0.5, low=0, high=1)
  # How far a patch may reach over the image's border (reflected).
  shift: float = setting(10.0, low=0, unit="px")
  # Probability of an elastic distortion: uniform noise in [-1, 1], smoothed by a
  # Gaussian of sd `elastic_sigma`, times `elastic_alpha`.
  elastic: float = setting(0.5, low=0, high=1)
  elastic_sigma: float = setting(5.0, low=0.5, unit="px")
  elastic_alpha: float = setting(35.0, low=0, unit="px")
  # A patch is magnified by a factor between 1/zoom and zoom, uniform in its logarithm;
  # Eq. 1 is computed in the patch's own pixels. 1 for none, as in the paper.
  zoom: float = setting(1.0, low=1, high=2)


@dataclasses.dataclass(frozen=True)
class AppearanceConfig:
  """How colours of patches vary; 0 for not at all, as in the paper."""

  # Haematoxylin, eosin and the rest: gains within 1 ± stain each, offsets of optical
  # density within ± stain / 5; the image's normalisation follows.
  stain: float = setting(0.0, low=0, high=0.9)


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
  """SGD with Nesterov momentum [Implementation details]."""

  learning_rate: float = setting(0.01, above=0, source="Implementation details")
  momentum: float = setting(0.9, low=0, high=1, source="Implementation details")
  weight_decay: float = setting(1e-6, low=0, source="Implementation details")
  # "plateau": a tenth of the rate when validation has not improved for so many steps,
  # stop under the minimum; "cosine": decay to zero over num_steps, for short runs.
  schedule: str = setting("plateau", choices=("plateau", "cosine"))
  plateau_patience: int = setting(10_000, low=1, unit="steps")
  min_learning_rate: float = setting(1e-4, low=0)


@dataclasses.dataclass(frozen=True)
class Config:
  """A run: training, fine-tuning or evaluation; the defaults are the paper's recipe."""

  job: str = setting(
    "train", choices=("train", "finetune", "auxiliary", "evaluate", "check")
  )
  # Seed of the initial weights, of patches and dropout.
  seed: int = setting(0, low=0, high=2**32 - 1)

  # Data to learn from and be tested on.
  target: DataConfig = DataConfig()
  # Share of the target's training images that is used.
  target_fraction: float = setting(1.0, above=0, high=1, source="Fig. 5, row 2")
  # Where prepared data sets are kept; "" for TFDS's own place.
  data_dir: str = setting("", free=True)
  # Data of other organs to learn from as well [Training with auxiliary datasets].
  auxiliary: DataConfig = DataConfig(name="")
  # Percentage of the auxiliary training images that is used.
  auxiliary_percentage: float = setting(100.0, above=0, high=100, source="Fig. 6")
  # γ in L = γ·L_target + L_auxiliary, each over its half of the batch.
  gamma: float = setting(1.0, above=0, source="Fig. 7")
  # Pool both kinds naively instead: one loss over patches of the union.
  naive_pooling: bool = setting(False)
  split: SplitConfig = SplitConfig()

  model: ModelConfig = ModelConfig()
  # Microns per pixel that the network sees; None is the checkpoint's, else 0.25 (40x).
  # At 0.5 it sees twice as far, and a square millimetre costs a quarter.
  working_mpp: float | None = setting(None, low=0.05, high=2.0, unit="microns")
  # Checkpoint to start from: the folder of a run or a checkpoint, or the name of
  # packaged weights ("base", "base-nc"); "" to start from scratch.
  init_from: str = setting("")
  # Take over what fits when the checkpoint is of another model, instead of refusing.
  init_partial: bool = setting(False)
  # The first so many blocks of the network stay as they are.
  freeze_blocks: int = setting(0, low=0, source="Fig. 5, row 4")
  # Also report the checkpoint as it was ("base") and a network trained from scratch
  # with the same budget ("scratch").
  compare: tuple[str, ...] = setting((), choices=("base", "scratch"))

  proximity: ProximityConfig = ProximityConfig()
  # Radius of the disks around the centres that pixel classifiers (unet, fcn) learn
  # instead; the probability of being in one goes through the same detection.
  disk_radius: float = setting(8.0, above=0, unit="px")
  # λ, the weight of the regions without nuclei.
  loss_lambda: float = setting(5.0, low=0, source="Eq. 2")
  # Least ȳ of a patch in Eq. 2. With the paper's 0 a patch without nuclei weighs
  # nothing, so that glass, hair or keratin teach nothing.
  loss_floor: float = setting(0.0, low=0, high=1)
  # Divide the loss by 1 + λ, its mean weight in units of ȳ, and where γ balances by
  # γ + 1, so that neither makes steps longer: what is left is how it weighs.
  even_steps: bool = setting(False)
  # Which images configs/evaluate.py scores: all, or a part of the checkpoint's split.
  evaluate_part: str = setting("all", choices=("all", "test", "validation"))

  warp: WarpConfig = WarpConfig()
  appearance: AppearanceConfig = AppearanceConfig()
  optimizer: OptimizerConfig = OptimizerConfig()
  # Patches in a batch, over all devices.
  batch_size: int = setting(4, low=1, source="Implementation details")
  num_steps: int = setting(100_000, low=1, source="Implementation details")
  # Steps in one compiled call; 0 chooses (1 or 4 on the CPU, up to 64 elsewhere).
  steps_per_call: int = setting(0, low=0, free=True)
  # Devices to share the batch; 0 for as many of those there as divide it.
  num_devices: int = setting(0, low=0, free=True)

  # Steps between validations (each also saves a checkpoint).
  eval_every: int = setting(1_000, low=1)
  # Steps between checkpoints that are kept for good, each with the ξ of the validation
  # at its step or last before; 0 for none.
  snapshot_every: int = setting(0, low=0, source="Fig. 5, row 3")
  # Steps between lines of the log.
  log_every: int = setting(50, low=1, free=True)

  # What a score is compared with: "relative", ξ times the highest of the image (beyond
  # 1 mm², ξ itself), chosen by the F1 of all validation nuclei, as in the paper; or
  # "absolute", ξ itself, or "median", ξ times the median of the image's scores of 0.1
  # and more, at least 0.2 (beyond 1 mm², of samples), lower where the image is pale or
  # blurred; these two are chosen by an F1 in which each validation patient counts
  # alike. None is the checkpoint's, else "relative".
  threshold_rule: str | None = setting(
    None, choices=(RELATIVE, ABSOLUTE, MEDIAN), source="Results"
  )
  # Maps are smoothed by a Gaussian of this sd before their maxima are taken, which
  # joins weak ones of one nucleus. None is the checkpoint's, else 0, the paper's.
  smoothing: float | None = setting(None, low=0, high=20, unit="px")
  # min_distance is chosen among these on the validation part, with ξ.
  min_distances: tuple[int, ...] = setting((3, 5, 7, 9, 11), low=1, unit="px")
  # Matching radius that the choice is made at; None is the rule's, 16 (relative, the
  # paper's) or 12 (the others).
  select_radius: float | None = setting(
    None, above=0, unit="px", source="Evaluation metrics"
  )


@dataclasses.dataclass(frozen=True)
class PredictConfig:
  """How images are searched and what is written; see `Detector.detect`."""

  # Microns per pixel of the images, whatever the files say (a line tells of more than
  # 10 % between them); None for what index.csv or each file says.
  mpp: float | None = setting(None, low=0.01, high=5.0, unit="microns")
  # Least score of a nucleus; None for the checkpoint's own.
  threshold: float | None = setting(None, low=0, high=1)
  # Parts to look in: (x, y, width, height) in the image's own pixels; none for all.
  regions: tuple[tuple[int, int, int, int], ...] = setting(())
  # Look on tissue only, not on glass; None for images beyond 1 mm² only.
  tissue: bool | None = setting(None)
  formats: tuple[str, ...] = setting(
    ("csv", "geojson", "overlay"),
    choices=("csv", "geojson", "overlay", "density", "html", "parquet"),
  )
  # Of all images the k-th n-th, "k/n", for job arrays; None for all.
  shard: str | None = setting(None, free=True)
  # Longest side of what is read at once, in pixels that the network sees; None chooses.
  tile: int | None = setting(None, low=1, free=True)
  # Tiles on the devices at once; None for one a device.
  batch: int | None = setting(None, low=1, free=True)
  # Devices to use; None for all.
  devices: int | None = setting(None, low=1, free=True)
  # Here, or on a Ray cluster, where a task has one GPU, or where there is none:
  executor: str = setting("local", choices=("local", "ray"), free=True)
  cpus_per_task: int = setting(2, low=1, free=True)


def check_predict(options: PredictConfig) -> PredictConfig:
  """Checks options of the search, of whichever door.

  Returns:
    The same, in plain types: numbers may be NumPy's, and whole ones fractions.

  Raises:
    InputError: naming the field, its value and what would be right.
  """
  wanted = "a PredictConfig of micronet_jax.config, such as PredictConfig(mpp=0.5)"
  check_type(options, PredictConfig, "options", wanted)
  fields = dataclasses.fields(options)
  plain = {each.name: as_python(getattr(options, each.name)) for each in fields}
  regions = _regions(plain["regions"])
  checked = from_dict(PredictConfig, {**plain, "regions": regions}, "")
  check_ranges(checked, "")
  if checked.shard is not None:
    _check_shard(checked.shard)
  if checked.executor == "ray" and checked.devices is not None:
    raise InputError(
      f"devices is {checked.devices}, but each task on Ray has one GPU, or"
      " cpus_per_task CPUs; leave devices out"
    )
  return checked


def _check_shard(shard: str) -> None:
  found = re.fullmatch(r"([1-9]\d{0,5})/([1-9]\d{0,5})", shard)
  if not found or int(found[1]) > int(found[2]):
    raise InputError(
      f"shard is {shard!r}; use k/n with k from 1 to n, such as 3/16 for the third"
      " of 16 parts of the images"
    )


def _regions(given: Any) -> list[list[Any]]:
  """Regions with whole numbers as such; what is no list of four each is refused."""
  if not isinstance(given, list) or not all(
    isinstance(region, list) and len(region) == 4 for region in given
  ):
    raise InputError(
      f"regions is {given!r}; it must be a list of (x, y, width, height)"
    )
  return [
    [int(n) if isinstance(n, float) and n.is_integer() else n for n in region]
    for region in given
  ]


def check_config(config: Config) -> Config:
  """Checks the values that would otherwise fail late or mean nothing.

  Returns:
    The same, in plain types: numbers may be NumPy's, and folders paths.

  Raises:
    InputError: naming the field, its value and what would be right; or no `Config`.
  """
  wanted = "a Config of micronet_jax.config, such as Config(num_steps=600)"
  check_type(config, Config, "config", wanted)
  config = from_dict(Config, as_dict(config))
  check_ranges(config)
  for field in ("eval_every", "snapshot_every", "num_steps"):
    if getattr(config, field) % max(config.steps_per_call, 1):
      raise InputError(
        f"config.{field} {getattr(config, field)} is not a multiple of "
        f"config.steps_per_call {config.steps_per_call}"
      )
  if not config.min_distances:
    raise InputError("config.min_distances is (); give at least one distance")
  if "base" in config.compare and not config.init_from:
    raise InputError(
      f"config.compare is {config.compare}, but there is no base without "
      "config.init_from"
    )
  if config.freeze_blocks and not config.init_from:
    raise InputError(
      f"config.freeze_blocks is {config.freeze_blocks}, but without config.init_from "
      "the frozen blocks would stay random"
    )
  if config.auxiliary.name and not config.naive_pooling and config.batch_size % 2:
    raise InputError(
      f"config.batch_size is {config.batch_size}; target and auxiliary patches each "
      "take half of a batch, so use an even number or config.naive_pooling=True"
    )
  return config
