"""This machine's devices: the mesh, copies on it, how XLA compiles for it.

Called by whatever runs a network: `training.step`, `detection.searching`.
"""

import functools
import os
import pathlib
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from micronet_jax.errors import InputError

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


AXIS = "data"


def replicate(tree: Any, devices: int) -> Any:
  """Puts the same arrays on the first so many devices, as the compiled steps want."""
  return jax.device_put(tree, NamedSharding(make_mesh(devices), PartitionSpec()))


def make_mesh(devices: int) -> Mesh:
  """The first so many devices along one axis, `data`."""
  return Mesh(np.array(jax.devices()[:devices]), (AXIS,))


def check_count(devices: int | None) -> None:
  """Raises InputError if more devices are wanted than there are."""
  if devices is not None and devices > jax.device_count():
    raise InputError(f"devices is {devices}, but this machine has {jax.device_count()}")


def check_devices(batch: int, devices: int) -> None:
  """Makes sure that each device gets the same number of patches, at least one.

  Raises:
    InputError: it does not, or there are not so many devices.
  """
  available = jax.device_count()
  if devices > available:
    raise InputError(f"config.num_devices is {devices}, but JAX sees {available}")
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
    reason = " ".join(str(error).split())[:200]
    raise InputError(
      f"JAX finds no device of the platform {told!r}, which JAX_PLATFORMS names"
      f" ({reason}); leave JAX_PLATFORMS out to use what is there"
      if told
      else f"JAX finds no device ({reason})"
    ) from error


def leave_gpus() -> None:
  """Keeps this process, which only hands out work, off the GPUs that workers need."""
  jax.config.update("jax_platforms", "cpu")


def use_compilation_cache() -> None:
  """Keeps compiled programs between starts, where JAX has not been told a place."""
  if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
    return
  try:
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    folder = pathlib.Path(home) / "micronet_jax" / "xla"
    folder.mkdir(parents=True, exist_ok=True)
  except (OSError, RuntimeError):
    return  # only slower
  jax.config.update("jax_compilation_cache_dir", str(folder))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
