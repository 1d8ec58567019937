"""What a training run begins with, what it remembers, and how it is saved.

Called by `training.loop`, `training.job` and the studies.
"""

import dataclasses
import functools
import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from micronet_jax import checkpoints, models
from micronet_jax.config import RELATIVE, Config
from micronet_jax.devices import AXIS, check_devices, most_devices
from micronet_jax.errors import InputError
from micronet_jax.lengths import (
  in_network_pixels,
  proximity_at,
  resolution_of,
  warp_at,
)
from micronet_jax.models import graphs
from micronet_jax.settings import as_dict, changed
from micronet_jax.training import step as steps
from micronet_jax.training.data import Data
from micronet_jax.training.losses import loss_divisor
from micronet_jax.version import __version__
from micronet_jax.workdir import like_checkpoint, with_whole_model

log = logging.getLogger("micronet_jax")


@dataclasses.dataclass
class Record:
  """What a run remembers besides arrays; saved with every checkpoint.

  Attributes:
    best_f1: highest validation F1 so far.
    best_step: where it was.
    waiting_since: step of the last improvement or fall of the rate.
    xi, min_distance: as last chosen on the validation part.
    finished: whether the run ended.
    losses: of the steps since the last line of the log, which has their mean.
  """

  best_f1: float = -1.0
  best_step: int = 0
  waiting_since: int = 0
  xi: float = 0.5
  min_distance: int = 7
  finished: bool = False
  losses: list[float] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class TrainingRun:
  """One training run: what stays the same, and its record."""

  config: Config
  data: Data
  recipe: steps.Recipe
  numbers: steps.Numbers
  saved: checkpoints.Checkpoints
  record: Record = dataclasses.field(default_factory=Record)

  def meta(self, step: int) -> dict[str, Any]:
    """What a checkpoint says of itself."""
    config = as_dict(self.config)
    return {
      "version": __version__,
      "job": config["job"],
      "step": step,
      "model": models.complete_options(config["model"]),
      "proximity": config["proximity"],
      "normalisation": "mean and standard deviation of each channel of the image",
      "mpp": resolution_of(self.config),
      "xi": self.record.xi,
      "min_distance": self.record.min_distance,
      "threshold_rule": config["threshold_rule"] or RELATIVE,
      "smoothing": config["smoothing"] or 0.0,
      "split": dataclasses.asdict(self.data.split),
      "provenance": self.data.provenance.to_json(),
      "record": dataclasses.asdict(self.record),
      "config": config,
    }

  def save(self, kind: str, state: steps.TrainState) -> None:
    """Saves the state as one kind of checkpoint."""
    step = int(state.step)
    self.saved.save(kind, step, *as_saved(state), self.meta(step))


class Prepared(NamedTuple):
  """What training begins with.

  Attributes:
    recipe: the constants of the compiled step.
    numbers: its scalars, on the host.
    weights: `{"params", "batch_stats"}`.
    transferred: whether they come from a checkpoint.
  """

  recipe: steps.Recipe
  numbers: steps.Numbers
  weights: Any
  transferred: bool


def follow_checkpoint(config: Config, meta: Mapping[str, Any] | None) -> Config:
  """The config complete in network, resolution and rule: as chosen, as the
  checkpoint's, as usual.

  Args:
    config: of the run. The default network counts as not chosen, but where only what
      fits is taken over.
    meta: of the checkpoint that it begins with, or None.

  Raises:
    InputError: an unknown network or argument, another network or resolution than the
      checkpoint's, or more frozen blocks than there are.
  """
  if meta:
    config = like_checkpoint(_with_its_network(config, meta["model"]), meta)
  config = with_whole_model(config, like=meta["model"] if meta else None)
  most = len(models.find_model(config.model.name).BLOCKS) - 1
  if config.freeze_blocks > most:
    raise InputError(
      f"config.freeze_blocks is {config.freeze_blocks}; it must be from 0 to {most}"
    )
  return config


def _with_its_network(config: Config, stored: Mapping[str, Any]) -> Config:
  """The config with the kind of network of the checkpoint, if it has no other.

  Raises:
    InputError: it has.
  """
  asked, there = config.model.name, stored["name"]
  if asked == there or config.init_partial:
    return config
  if asked != Config().model.name:
    width = f", width {stored['width']}" if stored.get("width") else ""
    raise InputError(
      f"config.model.name is {asked!r}, but the checkpoint {config.init_from} is of"
      f" {there}{width}; set config.model.name={there}, or start from another one"
    )
  log.warning("the network is %s, as that of %s", there, config.init_from)
  return changed(config, {"model.name": there})


def prepare_training(
  config: Config, *, start: tuple[Any, Mapping[str, Any]] | None = None
) -> Prepared:
  """Makes sure that model, checkpoint and devices fit together.

  Args:
    config: of the run.
    start: weights and meta to begin from, or None for random weights.

  Raises:
    InputError: they do not.
  """
  config = follow_checkpoint(config, start[1] if start else None)
  create = functools.partial(
    models.create_model, as_dict(config.model), axis_name=AXIS, seed=config.seed
  )
  # Random weights take seconds to draw: only if they are needed.
  needed = start is None or config.init_partial
  graph, weights = graphs.split_model(create() if needed else nnx.eval_shape(create))
  if start:
    if config.init_partial:
      weights = _take_what_fits(start[0], weights, config)
    else:
      weights = checkpoints.transfer(start[0], weights)
  devices = config.num_devices or most_devices(config.batch_size)
  check_devices(config.batch_size, devices)
  optimizer, mpp = config.optimizer, resolution_of(config)
  recipe = steps.Recipe(
    model=models.find_model(config.model.name),
    graph=graph,
    warp=warp_at(config.warp, mpp),
    appearance=config.appearance,
    batch=config.batch_size,
    devices=devices,
    frozen=config.freeze_blocks,
    proximity=proximity_at(config.proximity, mpp),
    loss_floor=config.loss_floor,
    disk_radius=in_network_pixels(config.disk_radius, mpp),
    balanced=bool(config.auxiliary.name) and not config.naive_pooling,
    momentum=optimizer.momentum,
    weight_decay=optimizer.weight_decay,
    decay_steps=config.num_steps if optimizer.schedule == "cosine" else None,
  )
  divisor = 1.0
  if config.even_steps:
    lam = config.loss_lambda if recipe.model.TARGET != "disks" else 0.0
    gamma = config.gamma if recipe.balanced else None
    divisor = loss_divisor(lam=lam, gamma=gamma)
  numbers = steps.as_numbers(
    seed=config.seed,
    lam=config.loss_lambda,
    gamma=config.gamma,
    learning_rate=optimizer.learning_rate,
    divisor=divisor,
  )
  weights = jax.tree.map(jnp.asarray, weights)
  return Prepared(recipe, numbers, weights, transferred=start is not None)


def _take_what_fits(source: Any, into: Any, config: Config) -> Any:
  """Weights of another model where they fit, and says of which entries they do not.

  Raises:
    InputError: no kernel fits, or a block that is to stay as it is does not fit whole.
  """
  have, entries = checkpoints.flatten(source), checkpoints.flatten(into)
  fits = {p for p, x in entries.items() if p in have and have[p].shape == x.shape}
  left = [path for path in entries if path not in fits]
  kernels = [path for path, leaf in entries.items() if leaf.ndim > 1]
  if not fits & set(kernels):
    raise InputError(
      f"of the checkpoint {config.init_from} nothing fits the network"
      f" {config.model.name} of width {config.model.width}: no kernel has the same name"
      " and shape; set config.model as it was trained, or leave init_from out"
    )
  blocks = models.find_model(config.model.name).BLOCKS[: config.freeze_blocks]
  for path in left:
    if path.split("/")[1] in blocks:
      raise InputError(
        f"config.freeze_blocks is {config.freeze_blocks}, but {path} does not fit and"
        f" would stay random; freeze fewer than {blocks.index(path.split('/')[1]) + 1}"
      )
  if left:
    log.warning(
      "of %s %d of %d entries are taken over; these are not, and begin at random: %s",
      *(config.init_from, len(entries) - len(left), len(entries), ", ".join(left)),
    )
  taken = {p: have[p].astype(x.dtype) if p in fits else x for p, x in entries.items()}
  return checkpoints.unflatten(taken, into)


def as_saved(state: steps.TrainState) -> tuple[Any, Any]:
  """The two trees that a checkpoint holds: weights, and what training needs else."""
  training = {
    "step": state.step,
    "optimizer": state.optimizer,
    "rate_scale": state.rate_scale,
  }
  return state.weights, training


def from_saved(found: dict[str, Any], like: steps.TrainState) -> steps.TrainState:
  """The inverse of `as_saved`, on the device, in the types of `like`."""
  restored = steps.TrainState(weights=found["weights"], **found["training"])
  return jax.tree.map(lambda x, y: jnp.asarray(x, y.dtype), restored, like)
