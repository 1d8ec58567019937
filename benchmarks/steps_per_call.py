"""How long a training step takes, by how many steps one compiled call runs.

  python -m benchmarks.steps_per_call --width=16 --patch=128 --calls=1,4 --loop

Prints a table of seconds a step: median, and spread over the repeats, the variants
interleaved. XLA on the CPU runs a loop many times slower, so --loop takes minutes.
"""

import argparse
import statistics
import time

import jax
import jax.numpy as jnp

from configs import common
from micronet_jax import train_step as steps
from micronet_jax import training
from micronet_jax.datasets.sample import Sample
from micronet_jax.datasets.synthetic_he.generator import generate
from micronet_jax.input_pipeline import to_device


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--width", type=int, default=16)
  parser.add_argument("--patch", type=int, default=128)
  parser.add_argument("--batch", type=int, default=4)
  parser.add_argument("--calls", default="1,4", help="steps a call, unrolled")
  parser.add_argument("--loop", action="store_true", help="also a loop of 2 steps")
  parser.add_argument("--repeats", type=int, default=5)
  arguments = parser.parse_args()

  config = common.get_config()
  config.model.width = arguments.width
  config.warp.patch = arguments.patch
  config.batch_size = arguments.batch
  config.num_devices = 1
  recipe, weights, _ = training.prepare(config)
  made = [generate("breast", i) for i in range(4)]
  samples = [Sample(str(i), "breast", str(i), 0.25, *m) for i, m in enumerate(made)]
  pools = jnp.asarray([[0, len(samples)]], jnp.int32)
  images = to_device(samples)

  variants = [(int(k), True) for k in arguments.calls.split(",")]
  if arguments.loop:
    variants.append((2, False))
  runs = {}
  for size, unroll in variants:
    state = steps.create_state(recipe, jax.tree.map(jnp.array, weights))
    placed = steps.replicate((state, images, pools), 1)
    take = steps.compile_steps(recipe, steps_per_call=size, unroll=unroll)
    began = time.perf_counter()
    compiled = take.lower(*placed).compile()
    runs[size, unroll] = [compiled, placed, time.perf_counter() - began, []]

  for repeat in range(arguments.repeats + 1):  # the first warms up
    for (size, _), run in runs.items():
      compiled, (state, images, pools), _, seconds = run
      began = time.perf_counter()
      state, _ = jax.block_until_ready(compiled(state, images, pools))
      run[1] = (state, images, pools)
      if repeat:
        seconds.append((time.perf_counter() - began) / size)

  device = jax.devices()[0].device_kind
  print(
    f"jax {jax.__version__} on {device}; width {arguments.width}, batch "
    f"{arguments.batch}, patch {arguments.patch}"
  )
  print("| steps a call | seconds a step | spread | compile s |")
  print("|---|---|---|---|")
  for (size, unroll), (_, _, compile_s, seconds) in runs.items():
    label = f"{size}" if unroll else f"{size}, looped"
    print(
      f"| {label} | {statistics.median(seconds):.3f} | "
      f"{min(seconds):.3f}-{max(seconds):.3f} | {compile_s:.0f} |"
    )


if __name__ == "__main__":
  main()
