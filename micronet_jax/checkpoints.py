"""All of Orbax behind one door: save, resume, transfer, export.

A checkpoint is a folder with three items: `weights` (parameters and running
statistics), `training` (optimiser and step; absent from exported weights) and `meta`
(JSON: model, detection, split, config, and checksums of all arrays, so that damage is
seen whatever the storage lets through). Called by whoever trains or loads a network.
"""

import contextlib
import errno
import json
import pathlib
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from micronet_jax.devices import check_platform
from micronet_jax.errors import InputError
from micronet_jax.files import cannot_write
from micronet_jax.processes import process_count, process_index
from micronet_jax.recipes import PACKAGED
from micronet_jax.stored import META, check_stored
from micronet_jax.terminal import silence_closed_loops

KINDS = ("latest", "best", "snapshots")

Tree = Any  # nested dicts, tuples and named tuples of arrays


class DamagedCheckpoint(Exception):
  """A checkpoint that is incomplete or whose arrays differ from what was saved."""


def flatten(tree: Tree) -> dict[str, Any]:
  """Leaves by path, the names joined by `/`."""
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): x for path, x in leaves
  }


def _checksums(tree: Tree) -> dict[str, int]:
  return {
    path: zlib.crc32(np.ascontiguousarray(leaf).tobytes())
    for path, leaf in flatten(tree).items()
  }


def _checksum_of_meta(meta: Mapping[str, Any]) -> int:
  """The same before it is saved and when it is read, with keys in any order."""
  return zlib.crc32(json.dumps(meta, sort_keys=True).encode())


def _items(weights: Tree, training: Tree | None, meta: Mapping[str, Any]):
  """What Orbax saves; host arrays, so that no device layout is baked in."""
  weights, training = jax.device_get((weights, training))
  checksums = _checksums({"weights": weights, "training": training})
  checksums["meta"] = _checksum_of_meta(meta)
  items: dict[str, Any] = {
    "weights": ocp.args.StandardSave(weights),
    "meta": ocp.args.JsonSave({**meta, "checksums": checksums}),
  }
  if training is not None:
    items["training"] = ocp.args.StandardSave(training)
  return ocp.args.Composite(**items)


def _alone() -> ocp.options.MultiprocessingOptions:
  """Lets Orbax wait for no other process: the state is the same in all."""
  own = process_index()
  return ocp.options.MultiprocessingOptions(own, {own} if process_count() > 1 else None)


def _read(folder: pathlib.Path, templates: Mapping[str, Tree]) -> dict[str, Any]:
  """Reads items of one checkpoint folder and compares the checksums.

  Args:
    folder: of it.
    templates: for each item wanted, a tree like the one saved, or None for nested
      dicts as they lie on disk.

  Raises:
    DamagedCheckpoint: something is missing, unreadable or altered.
  """
  alone = _alone()
  options = ocp.CompositeOptions(multiprocessing_options=alone)
  handler = ocp.CompositeCheckpointHandler(composite_options=options)
  arrays = {name: ocp.args.StandardRestore(each) for name, each in templates.items()}
  wanted: dict[str, Any] = {"meta": ocp.args.JsonRestore(), **arrays}
  try:
    with ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
      restored = checkpointer.restore(folder, args=ocp.args.Composite(**wanted))
    found = {name: restored[name] for name in wanted}
    checksums = dict(found["meta"].pop("checksums"))
    meta = checksums.get("meta", _checksum_of_meta(found["meta"]))  # 0.1 kept none
  except Exception as error:  # Orbax and TensorStore raise many kinds
    _check_readable(folder, error)
    raise DamagedCheckpoint(f"{type(error).__name__} while reading") from error
  if meta != _checksum_of_meta(found["meta"]):
    raise DamagedCheckpoint("meta differs from what was saved")
  for path, value in _checksums({name: found[name] for name in templates}).items():
    if checksums.get(path) != value:
      raise DamagedCheckpoint(f"{path} differs from what was saved")
  return found


def _check_readable(folder: pathlib.Path, error: Exception) -> None:
  """Makes sure that it is the checkpoint that is at fault, which else stays.

  Raises:
    InputError: it could not be read, whatever it holds.
  """
  check_platform()
  try:
    for path in folder.rglob("*"):
      if path.is_file():
        with path.open("rb"):
          pass
      else:
        list(path.iterdir())
  except FileNotFoundError:
    return  # it is incomplete
  except OSError as other:
    raise _cannot_read(folder, other.strerror or other) from error
  if isinstance(error, MemoryError | jax.errors.JaxRuntimeError) or (
    isinstance(error, OSError)
    and error.errno not in (None, errno.ENOENT, errno.ENOTDIR, errno.EISDIR)
  ):
    raise _cannot_read(folder, error) from error


def _cannot_read(folder: pathlib.Path, reason: object) -> InputError:
  text = " ".join(str(reason).split()) or type(reason).__name__
  return InputError(f"checkpoint {folder} cannot be read ({text}); it stays as it is")


class Checkpoints:
  """The checkpoints of one run: `latest` and `best` (two each), and `snapshots`.

  Saving is asynchronous: arrays are copied to the host at once and written
  meanwhile, beside, then renamed. `close` waits for the last one.
  """

  def __init__(self, folder: pathlib.Path):
    self.folder = folder.absolute()
    self._managers: dict[str, ocp.CheckpointManager] = {}
    self._failed = False

  def _manager(self, kind: str) -> ocp.CheckpointManager:
    if kind not in self._managers:
      silence_closed_loops()
      (self.folder / kind).mkdir(parents=True, exist_ok=True)
      self._managers[kind] = ocp.CheckpointManager(
        self.folder / kind,
        item_names=("weights", "training", "meta"),
        options=ocp.CheckpointManagerOptions(
          max_to_keep=None if kind == "snapshots" else 2,
          enable_async_checkpointing=True,
          cleanup_tmp_directories=True,
          create=False,  # Orbax refuses to for one of several processes
          multiprocessing_options=_alone(),
        ),
      )
    return self._managers[kind]

  def save(
    self, kind: str, step: int, weights: Tree, training: Tree, meta: Mapping[str, Any]
  ) -> None:
    """Saves one checkpoint; one that exists for this step is left as it is.

    Raises:
      InputError: this one, or one before, cannot be written.
    """
    items = _items(weights, training, meta)
    with self._writing():
      manager = self._manager(kind)
      if step not in manager.all_steps():
        manager.save(step, args=items, force=True)

  @contextlib.contextmanager
  def _writing(self) -> Iterator[None]:
    """Says in one sentence that files cannot be written; then nothing is any more."""
    try:
      yield
    # Orbax raises what the operating system says, TensorStore ValueError of it.
    except (OSError, ValueError, RuntimeError) as error:
      self._failed = True
      last = max(self._finished(), default=None, key=lambda path: int(path.name))
      kept = f"{last.parent.name}/{last.name} is kept" if last else "nothing is saved"
      then = f"{kept}, and the same command goes on from there"
      raise cannot_write(self.folder, error, then) from error

  def _finished(self) -> list[pathlib.Path]:
    """The folders of checkpoints that are whole."""
    found = (path for kind in KINDS for path in (self.folder / kind).glob("*"))
    return [path for path in found if path.name.isdigit()]

  def restore(
    self,
    kind: str,
    weights: Tree,
    training: Tree,
    *,
    report: Callable[[str], None] = print,
  ) -> dict[str, Any] | None:
    """Restores the newest checkpoint that is whole.

    Args:
      kind: one of `KINDS`.
      weights: template, a tree of arrays like the one saved.
      training: likewise.
      report: gets one line for each damaged checkpoint, which moves to `damaged`.

    Returns:
      `{"weights", "training", "meta"}`, or None if there is no checkpoint.
    """
    if not (self.folder / kind).is_dir():
      return None
    templates = jax.tree.map(
      lambda x: np.zeros(x.shape, x.dtype), {"weights": weights, "training": training}
    )
    manager = self._manager(kind)
    for step in sorted(manager.all_steps(), reverse=True):
      folder = self.folder / kind / str(step)
      try:
        return _read(folder, templates)
      except DamagedCheckpoint as damage:
        target = self.folder / "damaged" / f"{kind}-{step}"
        report(
          f"checkpoint {folder} is damaged ({damage}): moved to {target}, "
          "using the one before"
        )
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(exist_ok=True)
        folder.rename(target)
        manager.reload()
    return None

  def newest(self, kind: str) -> pathlib.Path | None:
    """Folder of the newest finished checkpoint of a kind, if there is one."""
    if not (self.folder / kind).is_dir():
      return None
    step = self._manager(kind).latest_step()
    return None if step is None else self.folder / kind / str(step)

  def wait(self) -> None:
    """Returns when everything saved so far is on disk.

    Raises:
      InputError: it cannot be written.
    """
    with self._writing():
      for manager in self._managers.values():
        manager.wait_until_finished()

  def close(self) -> None:
    """Waits, then lets go of the folder; one that failed is not waited for.

    Raises:
      InputError: what was saved last cannot be written.
    """
    managers, self._managers = self._managers, {}
    if not self._failed:
      with self._writing():
        for manager in managers.values():
          manager.close()


def find_checkpoint(path_or_name: str) -> pathlib.Path:
  """The checkpoint folder that a path or a name stands for.

  Args:
    path_or_name: the name of weights that come with the package (`base`, `base-nc`);
      the folder of a run, which stands for its best checkpoint, or its latest if none
      is best; or the folder of one checkpoint.

  Raises:
    InputError: there is no such checkpoint.
  """
  names = sorted(p.name for p in PACKAGED.iterdir() if _is_checkpoint(p))
  if path_or_name in names:
    return PACKAGED / path_or_name
  path = pathlib.Path(path_or_name).absolute()
  if _is_checkpoint(path):
    return path
  for parent in (path, path / "checkpoints"):
    for kind in ("best", "latest"):
      steps = [p for p in (parent / kind).glob("*") if _is_checkpoint(p)]
      if steps:
        return max(steps, key=lambda p: int(p.name) if p.name.isdigit() else -1)
  raise InputError(
    f"no checkpoint at {path_or_name!r}: give the folder of a run, of a checkpoint, "
    f"or the name of packaged weights ({', '.join(names) or 'none here'})"
  )


def _is_checkpoint(path: pathlib.Path) -> bool:
  return (path / "weights").is_dir() and (path / "meta").is_dir()


def load_weights(path_or_name: str) -> tuple[Tree, dict[str, Any]]:
  """Reads parameters, running statistics and meta of a checkpoint.

  Args:
    path_or_name: as in `find_checkpoint`.

  Returns:
    `{"params", "batch_stats"}` as nested dicts of host arrays, floats in float32;
    and the meta.

  Raises:
    InputError: no such checkpoint, or a damaged one.
  """
  folder = find_checkpoint(path_or_name)
  try:
    found = _read(folder, {"weights": None})
  except DamagedCheckpoint as damage:
    raise InputError(f"checkpoint {folder} is damaged ({damage})") from damage
  weights = jax.tree.map(lambda x: np.asarray(x, np.float32), found["weights"])
  return weights, check_stored(found["meta"], META, f"the meta of checkpoint {folder}")


def export_weights(
  folder: pathlib.Path, weights: Tree, meta: Mapping[str, Any], *, dtype: str
) -> None:
  """Writes weights without optimiser, beside and then renamed.

  Args:
    folder: must not exist.
    weights: `{"params", "batch_stats"}`; parameters are stored in `dtype`,
      statistics in float32.
    meta: what `load_weights` will return, less the paths of its config.
    dtype: "bfloat16" halves the size.

  Raises:
    InputError: `folder` exists.
  """
  folder = folder.absolute()
  if folder.exists():
    raise InputError(f"{folder} exists; export to another folder or remove it first")
  weights = jax.device_get(weights)
  params = jax.tree.map(lambda x: np.asarray(x).astype(dtype), weights["params"])
  items = _items(
    {"params": params, "batch_stats": weights["batch_stats"]},
    None,
    _without_paths(meta),
  )
  with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
    checkpointer.save(folder, args=items)
  for note in folder.rglob("commit_success.txt"):
    note.write_text("Checkpoint commit was successful\n")  # without where it was


def _without_paths(tree: Any) -> Any:
  """Empties the fields of a config that name places on this machine."""
  if not isinstance(tree, Mapping):
    return tree
  return {
    key: "" if key in ("root", "data_dir") else _without_paths(value)
    for key, value in tree.items()
  }


def transfer(source: Tree, into: Tree) -> Tree:
  """Takes weights over into a tree like `into`.

  Args:
    source: nested dicts, from `load_weights`.
    into: the tree to fill, with the shapes of the model.

  Raises:
    InputError: entries (some listed) are missing, extra or mis-shaped.
  """
  have, want = flatten(source), flatten(into)
  differ = [
    f"{path} is {have[path].shape} in the checkpoint, {want[path].shape} here"
    for path in want
    if path in have and have[path].shape != want[path].shape
  ]
  differ += [f"the checkpoint lacks {path}" for path in want if path not in have]
  differ += [f"only the checkpoint has {path}" for path in have if path not in want]
  if differ:
    listed = ", ".join(differ[:3]) + (", ..." if len(differ) > 3 else "")
    raise InputError(
      "the checkpoint is of another model (same model: set config.model as it was "
      "trained; take over only what fits: config.init_partial=True): "
      f"{len(differ)} of {len(want)} entries differ: {listed}"
    )
  return unflatten({path: have[path].astype(want[path].dtype) for path in want}, into)


def unflatten(leaves: Mapping[str, Any], like: Tree) -> Tree:
  """The inverse of `flatten`, for a tree like another."""
  return jax.tree.unflatten(jax.tree.structure(like), list(leaves.values()))
