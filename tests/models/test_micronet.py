"""MicroNet by hand arithmetic and by its promises; test_twins.py has its values.

Compiling is what takes the time here, so functions are compiled once, without XLA's
optimisation, or only traced where shapes or dependencies are all that is asked.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import PartitionSpec
from networks import (
  assert_near,
  batch,
  changed,
  compiled,
  dependent,
  flat,
  learn,
  network,
  predict,
  within,
)

from micronet_jax import models
from micronet_jax.devices import make_mesh
from micronet_jax.errors import InputError
from micronet_jax.models import CONTEXT_FACTORS, MicroNet
from micronet_jax.models.graphs import merge_model, split_model

DEFAULT = ("up4", "up3")
ALL = tuple(CONTEXT_FACTORS)
BLOCKS = MicroNet.BLOCKS


# --- sizes and names --------------------------------------------------------------


def by_hand(w):
  """Parameters of each block.

  A k x k convolution from i to o channels has k²·i·o, its batch normalisation 2·o.
  """
  return {
    # 3x3 3 -> w
    "input": 27 * w + 2 * w,
    # 2x2 w -> 2w: 8w² + 4w; one 3x3 2w -> 2w: 36w² + 4w
    "down1": 44 * w**2 + 8 * w,
    # 2x2 2w -> 4w: 32w² + 8w; two 3x3 4w -> 4w: 2 (144w² + 8w)
    "down2": 320 * w**2 + 24 * w,
    # 2x2 4w -> 8w: 128w² + 16w; two 3x3 8w -> 8w: 2 (576w² + 16w)
    "down3": 1280 * w**2 + 48 * w,
    # 2x2 8w -> 8w: 256w² + 16w; two as before
    "down4": 1408 * w**2 + 48 * w,
    # 2x2 8w -> 8w: 256w² + 16w; two 3x3 16w -> 16w: 2 (2304w² + 32w)
    "up4": 4864 * w**2 + 80 * w,
    # 2x2 16w -> 4w: 256w² + 8w; two 3x3 8w -> 8w: 2 (576w² + 16w)
    "up3": 1408 * w**2 + 40 * w,
    # 2x2 8w -> 2w: 64w² + 4w; one 3x3 4w -> 4w: 144w² + 8w
    "up2": 208 * w**2 + 12 * w,
    # 2x2 4w -> w: 16w² + 2w; one 3x3 2w -> 2w: 36w² + 4w
    "up1": 52 * w**2 + 6 * w,
    # 8x8 16w -> 2w: 2048w² + 4w; 4x4 8w -> 2w: 256w² + 4w
    "context": 2304 * w**2 + 8 * w,
    # 5x5 6w -> w: 150w² + 2w; 1x1 w -> 1 and its bias: w + 1
    "output": 150 * w**2 + 3 * w + 1,
  }  # 12038w² + 306w + 1


@pytest.mark.parametrize(("width", "total"), [(16, 3_086_625), (32, 12_336_705)])
def test_parameters_by_hand(width, total):
  abstract = nnx.eval_shape(
    lambda: models.create_model({"name": "micronet", "width": width})
  )
  _, weights = split_model(abstract)
  counts = {
    block: sum(leaf.size for leaf in jax.tree.leaves(params))
    for block, params in weights["params"].items()
  }
  assert counts == by_hand(width)
  assert sum(counts.values()) == total


def test_blocks_are_numbered_as_in_the_paper():
  numbers = {name: i + 1 for i, name in enumerate(BLOCKS)}
  assert numbers == {
    **{"input": 1, "down1": 2, "down2": 3, "down3": 4, "down4": 5},
    **{"up4": 6, "up3": 7, "up2": 8, "up1": 9, "output": 10},
  }
  _, weights = network("micronet")
  for tree_ in weights.values():  # the context belongs to no block
    assert set(tree_) == {*BLOCKS, "context"}
  assert set(weights["params"]["context"]) == set(DEFAULT)


def test_names_that_checkpoints_hold():
  _, weights = network("micronet")
  shapes = {path: value.shape for path, value in flat(weights).items()}
  for path, shape in {
    "params/input/conv/kernel": (3, 3, 3, 2),
    "params/down1/conv/dense/kernel": (8, 4),
    "params/down2/body/ops/op1/conv/kernel": (3, 3, 8, 8),
    "params/down4/body/ops/op2/norm/norm/scale": (16,),
    "params/up4/conv/dense/kernel": (16, 64),
    "params/context/up4/dense/kernel": (32, 256),
    "params/output/conv/conv/kernel": (5, 5, 12, 2),
    "params/output/head/kernel": (2, 1),
    "params/output/head/bias": (1,),
    "batch_stats/context/up3/norm/norm/mean": (4,),
  }.items():
    assert shapes[path] == shape
  # 1 + (2 + 3 + 3 + 3) + (3 + 3 + 2 + 2) + 2 + 1 convolutions: 3 arrays and 2
  assert len(shapes) == 25 * 5 + 2


sizes = st.integers(16, 40)


@settings(max_examples=15, deadline=None)
@given(height=sizes, width=sizes)
def test_any_size_from_16(height, width):
  graph, weights = network("micronet", context=ALL)
  images = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
  result = jax.eval_shape(functools.partial(predict, graph), weights, images)
  assert result.shape == (1, height, width)


@pytest.mark.parametrize("shape", [(15, 16), (16, 15), (1, 1)])
def test_smaller_images_are_refused(shape):
  graph, weights = network("micronet")
  message = f"at least 16 x 16 pixels, got {shape[0]} x {shape[1]}"
  with pytest.raises(ValueError, match=message):
    predict(graph, weights, jnp.zeros((1, *shape, 3)))


@pytest.mark.parametrize(
  "context", [*((name,) for name in ALL), (), ("down1", "up2", "down4")]
)
def test_every_context_at_odd_sizes(context):
  graph, weights = network("micronet", context=context)
  images = jax.ShapeDtypeStruct((2, 37, 45, 3), jnp.float32)
  result = jax.eval_shape(functools.partial(predict, graph), weights, images)
  assert result.shape == (2, 37, 45)
  # block 9 leaves 4 channels, each context 4 more
  kernel = weights["params"]["output"]["conv"]["conv"]["kernel"]
  assert kernel.shape == (5, 5, 4 + 4 * len(context), 2)


@pytest.mark.parametrize(
  "options",
  [
    {"context": ("up5",)},
    {"context": ("up1",)},
    {"context": ("up4", "up4")},
    {"context": "up4"},
    {"test_norm": "none"},
    {"width": 0},
    {"dropout": 1.0},
    {"dropout": -0.1},
  ],
  ids=str,
)
def test_unknown_options_are_refused(options):
  with pytest.raises(ValueError, match="MicroNet takes"):
    MicroNet(**options, rngs=nnx.Rngs(0))
  with pytest.raises(InputError, match="does not fit micronet: MicroNet takes"):
    models.create_model({"name": "micronet", **options})


def test_unknown_models_and_arguments_are_refused():
  with pytest.raises(InputError, match=r"'vnet'; the models are \['fcn', .*'unet'\]"):
    models.create_model({"name": "vnet"})
  with pytest.raises(InputError, match="depth"):
    models.create_model({"name": "micronet", "depth": 3})


# --- precision, statistics, dropout -----------------------------------------------


@pytest.fixture(scope="module")
def inference():
  """Compiled inference of each kind of network, width 2, two 32 x 32 images."""

  @functools.cache
  def compile_(**options):
    graph, weights = network("micronet", **options)
    predicted = compiled(functools.partial(predict, graph))
    return functools.partial(predicted, weights)

  return compile_


def test_bfloat16(inference):
  graph, weights = network("micronet", dtype="bfloat16")
  assert {leaf.dtype for leaf in jax.tree.leaves(weights)} == {jnp.dtype("float32")}
  images, maps = batch(2, 32, 32)
  gradient, (prediction, stats) = jax.eval_shape(
    functools.partial(learn, "micronet", graph), weights, images, maps
  )
  for leaf in jax.tree.leaves((gradient, prediction, stats)):
    assert leaf.dtype == jnp.float32
  result = inference(dtype="bfloat16")(images)
  expected = inference()(images)
  assert result.dtype == jnp.float32
  error = np.abs(result - expected) / np.abs(expected).max()
  assert error.mean() < 0.01  # bfloat16 rounds to 0.4 %
  assert error.max() < 0.05
  assert error.max() > 1e-4  # it does compute in bfloat16
  rounded = np.asarray(jnp.asarray(result, jnp.bfloat16), np.float32)
  assert (result != rounded).mean() > 0.9  # but for the last layer


@pytest.mark.parametrize("test_norm", ["running", "batch"])
def test_neighbours_in_the_batch_matter_by_batch_only(inference, test_norm):
  images, _ = batch(3, 32, 32)
  run = inference(test_norm=test_norm)
  first, second = run(images[[0, 1]]), run(images[[0, 2]])
  change = np.abs(first[0] - second[0]).max() / np.abs(first[0]).max()
  if test_norm == "running":
    np.testing.assert_array_equal(first[0], second[0])
  else:
    assert change > 0.01


def test_inference_by_batch_normalises_as_training_and_moves_nothing():
  images, _ = batch(2, 32, 32)
  graph, weights = network("micronet", test_norm="batch")

  @compiled
  def run(weights, images):
    model = merge_model(graph, weights)
    prediction = model(images)
    stats = nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))
    return prediction, stats, model(images, train=True)

  prediction, stats, trained = run(weights, images)
  assert not changed(weights["batch_stats"], stats)
  np.testing.assert_allclose(prediction, trained, atol=1e-5)


def keys(seed):
  return jax.random.split(jax.random.key(seed), 3)


@pytest.fixture(scope="module")
def drop():
  """Compiled forward pass in training with dropout, three 32 x 32 images."""
  graph, weights = network("micronet")
  return functools.partial(
    compiled(lambda w, x, k: predict(graph, w, x, train=True, keys=k)), weights
  )


def test_dropout_goes_with_the_example(drop):
  images, _ = batch(3, 32, 32)
  order = np.array([2, 0, 1])
  expected = np.asarray(drop(images, keys(0)))[order]
  assert_near(np.asarray(drop(images[order], keys(0)[order])), expected)
  # the same key for another image is another result
  other = np.asarray(drop(images[order], keys(0)))
  assert np.abs(other - expected).max() > 1e-3


def test_dropout_depends_on_the_keys(drop):
  images, _ = batch(3, 32, 32)
  first = drop(images, keys(0))
  np.testing.assert_array_equal(first, drop(images, keys(0)))
  assert np.abs(first - drop(images, keys(1))).max() > 1e-3


def test_dropout_follows_the_ops_of_blocks_4_and_5():
  model = nnx.eval_shape(lambda: MicroNet(width=2, dropout=0.3, rngs=nnx.Rngs(0)))
  rates = {name: getattr(model, name).body.rate for name in BLOCKS[1:9]}
  expected = {name: 0.3 if name in ("down3", "down4") else 0.0 for name in rates}
  assert rates == expected


@pytest.mark.parametrize(
  ("draws", "options", "call"),
  [
    (2, {}, {"train": True}),
    (0, {}, {"train": False}),
    (0, {}, {"train": True, "keys": None}),
    (0, {"dropout": 0.0}, {"train": True}),
    (2, {}, {"train": True, "frozen": 3}),
    (1, {}, {"train": True, "frozen": 4}),
    (0, {}, {"train": True, "frozen": 5}),
  ],
)
def test_dropout_in_training_only(draws, options, call):
  graph, weights = network("micronet", **options)
  images, _ = batch(3, 32, 32)
  call = {"keys": keys(0), **call}
  jaxpr = jax.make_jaxpr(functools.partial(predict, graph, **call))(weights, images)
  assert str(jaxpr).count("random_bits") == draws


# --- remat ------------------------------------------------------------------------


def test_remat_changes_memory_but_no_result():
  images, maps = batch(2, 96, 96)
  results, needed = [], []
  for remat in (False, True):
    graph, weights = network("micronet", axis_name="data", remat=remat)
    # Mapped, as in training: without collectives, XLA on the CPU would find the
    # repeated computations and undo the repetition.
    learning = jax.shard_map(
      functools.partial(learn, "micronet", graph, keys=keys(0)[:2]),
      mesh=make_mesh(1),
      in_specs=PartitionSpec(),
      out_specs=PartitionSpec(),
      check_vma=False,
    )
    executable = compiled(learning).lower(weights, images, maps).compile()
    needed.append(executable.memory_analysis().temp_size_in_bytes)
    gradient, (prediction, stats) = executable(weights, images, maps)
    results.append(flat({"gradient": gradient, "loss": prediction, "stats": stats}))
  kept, repeated = results
  assert kept.keys() == repeated.keys()
  for path, value in kept.items():
    assert_near(repeated[path], value, path)
  # statistics have moved, and by one step
  assert changed(weights["batch_stats"], stats) == set(flat(stats))
  assert needed[1] < 0.75 * needed[0]


# --- freezing ---------------------------------------------------------------------


@pytest.mark.parametrize("frozen", [1, 6])
def test_frozen_blocks_stay(frozen):
  graph, weights = network("micronet")
  images, maps = batch(2, 32, 32)
  run = compiled(functools.partial(learn, "micronet", graph, frozen=frozen))
  gradient, (_, stats) = run(weights, images, maps)
  free = {*BLOCKS[frozen:], "context"}
  zero = jax.tree.map(np.zeros_like, gradient)
  assert changed(zero, gradient) == within(gradient, free)
  assert changed(weights["batch_stats"], stats) == within(stats, free)


@pytest.mark.parametrize(
  ("frozen", "test_norm"), [*((k, "running") for k in range(10)), (3, "batch")]
)
def test_frozen_blocks_see_no_image(frozen, test_norm):
  graph, weights = network("micronet", test_norm=test_norm)
  images, maps = batch(2, 32, 32)
  run = functools.partial(learn, "micronet", graph, frozen=frozen)
  gradient, (_, stats) = dependent(run, weights, images, maps)
  free = {*BLOCKS[frozen:], "context"}
  for tree_ in (gradient, stats):
    assert {path for path, flag in flat(tree_).items() if flag} == within(tree_, free)
