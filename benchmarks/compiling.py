"""How XLA compiles for CPUs in the least time, for tests and for runs of tiny networks.

Imported by tests and by the benchmarks that start processes. Users' programs are
compiled as JAX does by itself: `tests/training/test_step.py` compares a step of both.
"""

from importlib import metadata

_TRIED = tuple(map(int, metadata.version("jaxlib").split(".")[:2])) < (0, 11)

QUICKLY = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
if _TRIED:  # a flag that XLA does not know ends the process
  # The loops of fusion emitters take more than twice the time.
  QUICKLY += " --xla_cpu_use_fusion_emitters=false"
  QUICKLY += " --xla_cpu_parallel_codegen_split_count=1"
"""For `XLA_FLAGS`. Results are the same but for rounding."""
