"""Every field of a study, once: which figure, which budget, which data, which seeds.

Read by configs/paper/common.py and `studies.setting`. Light, so that configs can be
read without JAX. Sections in brackets are the paper's.
"""

import dataclasses
import pathlib
import tomllib

from micronet_jax.config import Config, check_ranges, from_dict, setting
from micronet_jax.errors import InputError

MICRONET = "micronet"
# The models, in the order of Table 1, as the paper writes them.
NAMES = {"fcn": "FCN", "unet": "U-Net", "fcrna": "FCRNA", "fcrnb": "FCRNB"}
NAMES |= {"frcn": "FRCN", MICRONET: "MicroNet"}
# Fields of the recipe that a study sets for each run, or its budget for all.
SET_BY_STUDY = (
  *("job", "seed", "target", "target_fraction", "data_dir", "auxiliary"),
  *("auxiliary_percentage", "gamma", "naive_pooling", "model.name", "model.width"),
  *("init_from", "init_partial", "freeze_blocks", "compare", "evaluate_part"),
  *("warp.patch", "optimizer.learning_rate", "optimizer.schedule", "batch_size"),
  *("num_steps", "eval_every", "snapshot_every", "log_every", "min_distances"),
)


@dataclasses.dataclass(frozen=True)
class OwnRates:
  """Other learning rates, of models that cannot take the budget's; 0 for none."""

  fcn: float = setting(0.0, low=0)
  unet: float = setting(0.0, low=0)
  fcrna: float = setting(0.0, low=0)
  fcrnb: float = setting(0.0, low=0)
  frcn: float = setting(0.0, low=0)
  micronet: float = setting(0.0, low=0)


@dataclasses.dataclass(frozen=True)
class Budget:
  """What a study costs; the defaults are the paper's [Implementation details]."""

  # Channels of MicroNet's first block; other networks keep their proportion to it.
  width: int = setting(32, low=1)
  patch: int = setting(200, low=16, unit="px")
  batch_size: int = setting(4, low=1)
  num_steps: int = setting(100_000, low=1)
  eval_every: int = setting(1_000, low=1)
  # Steps between snapshots of MicroNets [Fig. 5]; one of width 32 takes about 100 MB.
  snapshot_every: int = setting(2_000, low=1)
  # Snapshots that are evaluated, by their steps [Fig. 5, row 1]; () for all.
  course: tuple[int, ...] = setting((), low=1)
  learning_rate: float = setting(0.01, above=0)
  own_rates: OwnRates = OwnRates()
  schedule: str = setting("plateau", choices=("plateau", "cosine"))
  # Radii among which validation chooses the search window.
  min_distances: tuple[int, ...] = setting((3, 5, 7, 9, 11), low=1, unit="px")
  organs: int = setting(0, low=0)  # used, the first so many; 0 for all
  # Images an organ at most, patients taking turns; 0 for all (synthetic: 50).
  images: int = setting(0, low=0)
  # What larger images are cut to, around their middle; 0 for all (synthetic: 500).
  side: int = setting(0, low=0, unit="px")
  # Target organs of figures 5 to 9 and 11, and random bases for each [Table 2].
  targets: int = setting(3, low=1)
  random_bases: int = setting(2, low=0)
  # Percentages of the target's training images [Fig. 5, row 2; Fig. 6, row 2].
  fractions: tuple[float, ...] = setting(
    (10.0, 20.0, 40.0, 60.0, 80.0, 100.0), low=1, high=100
  )
  # Steps after which a base is taken over [Fig. 5, row 3]; snapshots there must be.
  stages: tuple[int, ...] = setting(tuple(range(2_000, 100_001, 2_000)), low=1)
  # How many of the first blocks are frozen [Fig. 5, row 4].
  frozen: tuple[int, ...] = setting(tuple(range(10)), low=0, high=9)
  # Percentages of the auxiliary training images [Fig. 6; Fig. 11].
  percentages: tuple[float, ...] = setting(
    (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0), low=0, high=100
  )
  # Those that are mixed with fractions of the target, and balanced by γ.
  mixed: tuple[float, ...] = setting((5.0, 50.0), low=1, high=100)
  # γ [Figs. 7 and 8]; the text names the ends and 1 and 5.
  gammas: tuple[float, ...] = setting(
    (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 50.0, 100.0), above=0
  )
  # λ [Fig. 9]; the last two diverged in the paper.
  lambdas: tuple[float, ...] = setting(
    (0.0, 0.005, 0.05, 0.5, 5.0, 50.0, 500.0, 5000.0), low=0
  )


OTHERS = tomllib.loads(
  pathlib.Path(__file__).with_name("budgets.toml").read_text(encoding="utf-8")
)


@dataclasses.dataclass(frozen=True)
class Budgets:
  """All that a study can be run at; budgets.toml has what differs from the paper's."""

  paper: Budget = Budget()
  cpu: Budget = dataclasses.field(default=from_dict(Budget, OTHERS["cpu"]))
  smoke: Budget = dataclasses.field(default=from_dict(Budget, OTHERS["smoke"]))


@dataclasses.dataclass(frozen=True)
class StudyConfig:
  """One study; all that share a --workdir share their runs: none is trained twice."""

  job: str = setting("study", choices=("study",))
  # Which table or figure of the paper, at which of `budgets`.
  study: str = setting("table1")
  budget: str = setting("cpu", choices=("paper", "cpu", "smoke"))
  # "synthetic" (23 organs), "real" (the public ones of datasets/organs.py), or the root
  # of a `folder` data set whose index.csv names organs (the paper's own).
  data: str = setting("synthetic")
  # For "real": where monuseg, gbm40, mbm and crchisto lie; "" for MICRONET_DATA.
  data_root: str = setting("")
  # Only these organs, separated by commas; "" for all (smoke: the first few).
  organs: str = setting("")
  # What figures 5 to 9 and 11 are about; "" for the paper's organs, else by chance.
  targets: str = setting("")
  # For table1: only these models, separated by commas ("micronet,fcrna"); "" for all.
  models: str = setting("")
  # Where prepared data sets are kept; "" for TFDS's own place.
  data_dir: str = setting("")
  # Each run is repeated with each of these; from three on, intervals cover seeds too.
  seeds: tuple[int, ...] = setting((0,), low=0)
  # Print the runs, which are done, and the time that the others will take; no more.
  plan_only: bool = setting(False)
  # Then also take a few steps of networks that have not been timed here yet.
  measure: bool = setting(True)
  # "local": one run after the other; "ray": on the cluster that RAY_ADDRESS names, or
  # on this machine. One GPU a run where there are any, else so many CPUs.
  executor: str = setting("local", choices=("local", "ray"))
  cpus_per_run: int = setting(2, low=1)
  # What all runs begin with; `SET_BY_STUDY` is not there to be changed.
  recipe: Config = dataclasses.field(default=Config())
  budgets: Budgets = Budgets()


def check_study(config: StudyConfig) -> Budget:
  """Finds what would only fail after hours of training; gives the budget's numbers.

  Raises:
    InputError: naming the field, its value and what would be right.
  """
  check_ranges(config)
  numbers: Budget = getattr(config.budgets, config.budget)
  field, every = f"config.budgets.{config.budget}", numbers.snapshot_every
  lists = ("fractions", "percentages", "mixed", "frozen", "gammas", "lambdas")
  for name in lists:
    values = getattr(numbers, name)
    if len(set(values)) < len(values):
      raise InputError(f"{field}.{name} is {values}; give each once")
    if not values and name not in ("frozen", "mixed"):
      raise InputError(f"{field}.{name} is empty; give at least one number")
  steps = {*numbers.course, *numbers.stages, every}
  missing = min((s for s in steps if s % every or s > numbers.num_steps), default=0)
  shares, seeds = numbers.percentages, config.seeds
  names, all_names = split_names(config.models), ", ".join(NAMES)
  problems = {
    f"{field}.course, stages or snapshot_every names step {missing}, at which there is "
    f"no snapshot: it must be a multiple of snapshot_every, {every}, up to num_steps, "
    f"{numbers.num_steps}": missing,
    f"{field}.percentages is {shares}; give 0, which the others are compared with, and "
    "at least one other": 0 not in shares or not max(shares),
    f"config.seeds is {seeds}; give at least one, each once": len(set(seeds))
    < max(1, len(seeds)),
    "config.recipe.split.test_fraction is 0; a study needs a test part": not (
      config.recipe.split.test_fraction
    ),
    f"config.models is for table1; {config.study} has models of its own": names
    and config.study != "table1",
    f"config.models is {config.models!r}; name {MICRONET} and at least one other of "
    f"{all_names}": names and not {MICRONET} < set(names) <= set(NAMES),
  }
  for problem in [text for text, there in problems.items() if there]:
    raise InputError(problem)
  return numbers


def split_names(text: str) -> list[str]:
  """The names in an option that takes several, separated by commas."""
  return [name.strip() for name in text.split(",") if name.strip()]
