"""The checkpoints of a run over several processes: written by one, known to all.

Called by `training.loop`. The state is the same in all processes, so one has all of it;
and the others need no drive that they share with it.
"""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from micronet_jax import processes
from micronet_jax.checkpoints import Checkpoints, Tree


class SharedCheckpoints(Checkpoints):
  """Those of the first process; each call must be made by all, in the same order."""

  def save(
    self, kind: str, step: int, weights: Tree, training: Tree, meta: Mapping[str, Any]
  ) -> None:
    """Saves one checkpoint, once."""
    if processes.is_first():
      super().save(kind, step, weights, training, meta)

  def restore(
    self,
    kind: str,
    weights: Tree,
    training: Tree,
    *,
    report: Callable[[str], None] = print,
  ) -> dict[str, Any] | None:
    """Restores the newest checkpoint that is whole, the same in all processes."""
    found: dict[str, Any] = {}

    def read() -> Any:
      own = super(SharedCheckpoints, self).restore(
        kind, weights, training, report=report
      )
      found.update(own or {})
      return found.get("meta")

    meta = processes.from_first(read)
    if meta is None:
      return None
    templates = {"weights": weights, "training": training}  # whose shapes count
    arrays = {name: found.get(name, each) for name, each in templates.items()}
    return {**processes.arrays_of_first(arrays), "meta": meta}

  def newest(self, kind: str) -> pathlib.Path | None:
    """Folder of the newest finished checkpoint of a kind, if there is one."""
    own = super().newest
    name = processes.from_first(lambda: getattr(own(kind), "name", None))
    return None if name is None else self.folder / kind / name

  def wait(self) -> None:
    """Returns when everything saved so far is on disk."""
    processes.from_first(super().wait)
