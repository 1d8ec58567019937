"""Devices, of this machine or of all processes: meshes, copies, how XLA compiles.

Called by whatever runs a network: `training.step`, `detection.searching`.
"""

import functools
import gc
import math
import os
import pathlib
from collections.abc import Hashable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from micronet_jax.errors import InputError
from micronet_jax.processes import process_count

CPU_OPTIONS = {"xla_cpu_experimental_ynn_fusion_type": ""}
"""No dots by way of YNNPACK: it takes two to seven times as long for the gradients of
convolution kernels (jax 0.10.2; benchmarks/RESULTS.md), and gives the same results."""


@functools.cache
def compiler_options() -> dict[str, str]:
  """Options for `jax.jit` on this platform, none where this JAX does not know them."""
  if jax.default_backend() != "cpu":
    return {}
  try:
    jax.jit(lambda: 0, compiler_options=CPU_OPTIONS).lower().compile()
  except jax.errors.JaxRuntimeError:
    return {}
  return CPU_OPTIONS


MAPPINGS = 0.5
"""Share of the mappings of memory that Linux grants a process, beyond which compiled
programs are given up."""

_compiled: set[Hashable] = set()


def make_room_for(program: Hashable) -> None:
  """Keeps a process that compiles many programs within what Linux grants it.

  On CPUs a training step takes about 1,500 mappings of memory, and Linux grants 65,530.
  XLA does not survive the last: some exception later takes the process down (jaxlib
  0.10.2). So all compiled programs are given up in time; those still needed are read
  from the cache on disk, or compiled once more.

  Args:
    program: what tells the one that is about to run from others, shapes included.
      One that was told before is not looked at again.
  """
  if program in _compiled:
    return
  if count_mappings() > MAPPINGS * _most_mappings():
    jax.clear_caches()
    gc.collect()
    _compiled.clear()
  _compiled.add(program)


def count_mappings() -> int:
  """Mappings of this process's memory; 0 where the system does not say."""
  try:
    return pathlib.Path("/proc/self/maps").read_bytes().count(b"\n")
  except OSError:
    return 0


@functools.cache
def _most_mappings() -> int:
  try:
    return int(pathlib.Path("/proc/sys/vm/max_map_count").read_text())
  except (OSError, ValueError):
    return 65_530  # Linux's default


AXIS = "data"


def replicate(tree: Any, devices: int, *, shared: bool = False) -> Any:
  """Puts the same arrays on devices, as compiled functions want them.

  Args:
    tree: of arrays, which are the same in all processes.
    devices: as `make_mesh` takes them, as `shared`.
    shared: see there.
  """
  everywhere = NamedSharding(make_mesh(devices, shared=shared), PartitionSpec())
  if everywhere.is_fully_addressable:
    return jax.device_put(tree, everywhere)
  return jax.tree.map(
    # device_put would send all of it to all processes, to compare it.
    lambda x: jax.make_array_from_process_local_data(
      everywhere, np.asarray(x), np.shape(x)
    ),
    tree,
  )


def make_mesh(devices: int, *, shared: bool = False) -> Mesh:
  """Devices along one axis, `data`.

  Args:
    devices: how many.
    shared: of all processes, the first of each and of each as many; else of this one.
  """
  if not shared:
    return Mesh(np.array(jax.local_devices()[:devices]), (AXIS,))
  each = devices // process_count()
  chosen = [jax.local_devices(process)[:each] for process in range(process_count())]
  return Mesh(np.array(chosen).reshape(-1), (AXIS,))


def most_devices(batch: int) -> int:
  """The most devices of all processes that a batch can be shared by evenly."""
  count = process_count()
  return count * math.gcd(batch // count, jax.local_device_count())


def check_count(devices: int | None) -> None:
  """Raises InputError if more devices are wanted than there are."""
  available = jax.local_device_count()
  if devices is not None and devices > available:
    raise InputError(f"devices is {devices}, but this machine has {available}")


def check_devices(batch: int, devices: int) -> None:
  """Makes sure that each device gets the same number of patches, at least one.

  Raises:
    InputError: it does not, or there are not so many devices.
  """
  available = jax.device_count()
  if devices > available:
    raise InputError(f"config.num_devices is {devices}, but JAX sees {available}")
  if devices % process_count():
    raise InputError(
      f"config.num_devices {devices} cannot be shared evenly by {process_count()} "
      f"processes: use a multiple of {process_count()}, or leave it out"
    )
  if batch < devices or batch % devices:
    raise InputError(
      f"config.batch_size {batch} cannot be shared evenly by {devices} devices: use a "
      f"multiple of {devices}, or set config.num_devices"
    )


def check_platform() -> None:
  """Makes sure that JAX finds a device, of the platform that it was told.

  Raises:
    InputError: it does not.
  """
  try:
    jax.devices()
  except (RuntimeError, AssertionError) as error:  # the latter the second time
    told = os.environ.get("JAX_PLATFORMS")
    said = " ".join(str(error).split())[:200]
    reason = f" ({said})" if said else ""
    raise InputError(
      f"JAX finds no device of the platform {told!r}, which JAX_PLATFORMS names"
      f"{reason}; leave JAX_PLATFORMS out to use what is there"
      if told
      else f"JAX finds no device{reason}"
    ) from error


def leave_gpus() -> None:
  """Keeps this process, which only hands out work, off the GPUs that workers need."""
  jax.config.update("jax_platforms", "cpu")


def use_compilation_cache() -> None:
  """Keeps compiled programs between starts, where JAX has not been told a place.

  Not for processes that train together on accelerators: only the first would find its
  programs again, and those of other machines would wait for what it tunes no more.
  """
  if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
    return
  if process_count() > 1 and jax.default_backend() != "cpu":
    return
  try:
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    folder = pathlib.Path(home) / "micronet_jax" / "xla"
    folder.mkdir(parents=True, exist_ok=True)
  except (OSError, RuntimeError):
    return  # only slower
  jax.config.update("jax_compilation_cache_dir", str(folder))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
