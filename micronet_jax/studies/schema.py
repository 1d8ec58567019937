"""Every field of a study, once: which figure, which budget, which data, which seeds.

Read by configs/paper/common.py and `studies.setting`. Light, so that configs can be
read without JAX. Sections in brackets are the paper's.
"""

import dataclasses
import pathlib
import tomllib

from micronet_jax.config import Config
from micronet_jax.errors import InputError
from micronet_jax.settings import as_dict, check_ranges, from_dict, setting

MICRONET = "micronet"
# The models, in the order of Table 1, as the paper writes them.
NAMES = {"fcn": "FCN", "unet": "U-Net", "fcrna": "FCRNA", "fcrnb": "FCRNB"}
NAMES |= {"frcn": "FRCN", MICRONET: "MicroNet"}


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
  # Microns per pixel that networks see; None for the paper's 0.25.
  working_mpp: float | None = setting(None, low=0.05, high=2.0, unit="microns")
  # Side of a patch, in the networks' own pixels.
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
  fractions: tuple[float, ...] = setting((10, 20, 40, 60, 80, 100), low=1, high=100)
  # Steps after which a base is taken over [Fig. 5, row 3]; snapshots there must be.
  stages: tuple[int, ...] = setting(tuple(range(2_000, 100_001, 2_000)), low=1)
  # How many of the first blocks are frozen [Fig. 5, row 4].
  frozen: tuple[int, ...] = setting(tuple(range(10)), low=0, high=9)
  # Percentages of the auxiliary training images [Fig. 6; Fig. 11].
  percentages: tuple[float, ...] = setting((0, 1, 2, 5, 10, 20, 50), low=0, high=100)
  # Those that are mixed with fractions of the target, and balanced by γ.
  mixed: tuple[float, ...] = setting((5, 50), low=1, high=100)
  # γ [Figs. 7 and 8]; the text names the ends and 1 and 5.
  gammas: tuple[float, ...] = setting(
    (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 50, 100), above=0
  )
  # λ [Fig. 9]; the last two diverged in the paper.
  lambdas: tuple[float, ...] = setting((0, 0.005, 0.05, 0.5, 5, 50, 500, 5000), low=0)


def _read_budget(name: str) -> Budget:
  text = pathlib.Path(__file__).with_name("budgets.toml").read_text(encoding="utf-8")
  changed = tomllib.loads(text).get(name, {})
  return from_dict(Budget, {**as_dict(Budget()), **changed})


@dataclasses.dataclass(frozen=True)
class Budgets:
  """All that a study can be run at; budgets.toml has what differs from the paper's."""

  paper: Budget = dataclasses.field(default=_read_budget("paper"))
  cpu: Budget = dataclasses.field(default=_read_budget("cpu"))
  coarse: Budget = dataclasses.field(default=_read_budget("coarse"))
  smoke: Budget = dataclasses.field(default=_read_budget("smoke"))


@dataclasses.dataclass(frozen=True)
class StudyConfig:
  """One study; all that share a --workdir share their runs: none is trained twice."""

  job: str = setting("study", choices=("study",))
  # Which table or figure of the paper, at which of `budgets`.
  study: str = setting("table1")
  budget: str = setting("cpu", choices=("paper", "cpu", "coarse", "smoke"))
  # "synthetic" (23 organs), "real" (the public ones of datasets/organs.py), "nuinsseg"
  # (23, of one slide each), or the root of a `folder` data set whose index.csv names
  # organs (the paper's own).
  data: str = setting("synthetic")
  # For "real": where monuseg, gbm40, mbm and crchisto lie, for "nuinsseg" where that
  # does; "" for MICRONET_DATA.
  data_root: str = setting("")
  # Only these organs, separated by commas; "" for all (smoke: the first few; nuinsseg:
  # human ones).
  organs: str = setting("")
  # What figures 5 to 9 and 11 are about; "" for the paper's organs, else by chance.
  targets: str = setting("")
  # For table1: only these models, separated by commas ("micronet,fcrna"); "" for all.
  models: str = setting("")
  # For fig7_8 and fig9: γ and λ do not make steps longer (`Config.even_steps`).
  even_steps: bool = setting(False)
  # Where prepared data sets are kept; "" for TFDS's own place.
  data_dir: str = setting("")
  # Each run is repeated with each of these; from three on, intervals cover seeds too.
  seeds: tuple[int, ...] = setting((0,), low=0)
  # Print the runs, which are done, and the time that the others will take; no more.
  plan_only: bool = setting(False)
  # Then also take a few steps of networks that have not been timed here yet.
  measure: bool = setting(True)
  # One run after the other, or on the Ray cluster that RAY_ADDRESS names, else a local
  # one: a GPU a run where there are any, else so many CPUs.
  executor: str = setting("local", choices=("local", "ray"))
  cpus_per_run: int = setting(2, low=1)
  # What all runs begin with; what the budget and the study set there has no effect.
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
  names, shares = split_names(config.models), numbers.percentages
  steps = {*numbers.course, *numbers.stages, every}
  missing = min((s for s in steps if s % every or s > numbers.num_steps), default=0)

  def refuse(wrong: object, sentence: str) -> None:
    if wrong:
      raise InputError(sentence)

  for name in ("fractions", "percentages", "mixed", "frozen", "gammas", "lambdas"):
    values, place = getattr(numbers, name), f"{field}.{name}"
    refuse(len(set(values)) < len(values), f"{place} is {values}; give each once")
    empty = not values and name not in ("frozen", "mixed")
    refuse(empty, f"{place} is empty; give at least one number")
  wanted = f"it must be a multiple of {every}, up to num_steps, {numbers.num_steps}"
  place = f"{field}.course, stages or snapshot_every"
  refuse(missing, f"{place} names step {missing}, without a snapshot: {wanted}")
  wanted = "give 0, which the others are compared with, and at least one other"
  wrong: object = 0 not in shares or not max(shares)
  refuse(wrong, f"{field}.percentages is {shares}; {wanted}")
  wrong = not config.seeds or len(set(config.seeds)) < len(config.seeds)
  refuse(wrong, f"config.seeds is {config.seeds}; give at least one, each once")
  part = config.recipe.split.test_fraction
  wanted = "a study needs a test part"
  refuse(not part, f"config.recipe.split.test_fraction is {part}; {wanted}")
  wrong, wanted = names and config.study != "table1", "has models of its own"
  refuse(wrong, f"config.models is for table1; {config.study} {wanted}")
  wrong = config.even_steps and config.study not in ("fig7_8", "fig9")
  refuse(wrong, f"config.even_steps is for fig7_8 and fig9, not {config.study}")
  wanted = f"name {MICRONET} and at least one other of {', '.join(NAMES)}"
  wrong = names and not {MICRONET} < set(names) <= set(NAMES)
  refuse(wrong, f"config.models is {config.models!r}; {wanted}")
  return numbers


def split_names(text: str) -> list[str]:
  """The names in an option that takes several, separated by commas."""
  return [name.strip() for name in text.split(",") if name.strip()]
