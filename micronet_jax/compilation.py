"""How XLA compiles the network's programs."""

import functools

import jax

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
