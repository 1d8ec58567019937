"""The networks that MicroNet is compared with, by hand; test_twins.py has their values.

As in test_micronet.py, functions are compiled once, without XLA's optimisation, or only
traced where shapes or dependencies are all that is asked.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from networks import (
  assert_near,
  batch,
  changed,
  compiled,
  dependent,
  flat,
  labels,
  learn,
  network,
  predict,
  within,
)

from micronet_jax import models
from micronet_jax.errors import InputError
from micronet_jax.models.graphs import split_model

OTHERS = tuple(name for name in models.MODELS if name != "micronet")
DROPPING = ("frcn", "unet", "fcn")


# --- sizes ---------------------------------------------------------------------------


def frcn(w):
  """Parameters by block: k x k from i to o channels k²·i·o, BN of i channels 2·i.

  A residual block of c channels has two BN-ELU-3x3: 18c² + 4c.
  """
  body = {c: 18 * (c * w) ** 2 + 4 * c * w for c in (1, 2, 4, 8)}
  return {
    "down1": 6 + 3 * w + body[1],  # BN of 3, 1x1 3 -> w
    "down2": 2 * w + 2 * w**2 + 2 * body[2],
    "down3": 4 * w + 8 * w**2 + body[4],
    "down4": 8 * w + 32 * w**2 + body[8],
    "down5": body[8],
    "up4": 16 * w + 64 * w**2 + body[8],
    "up3": 16 * w + 32 * w**2 + body[4],
    "up2": 8 * w + 8 * w**2 + body[2],
    "up1": 4 * w + 2 * w**2 + body[1],
    "output": 2 * w + w + 1,
  }


def fcrna(w):
  """3x3 without bias and BN: 9·i·o + 2·o."""
  return {
    "conv1": 27 * w + 2 * w,
    "conv2": 18 * w**2 + 4 * w,
    "conv3": 72 * w**2 + 8 * w,
    "conv4": 576 * w**2 + 32 * w,
    "conv5": 576 * w**2 + 8 * w,
    "conv6": 72 * w**2 + 4 * w,
    "output": 18 * w + 1,
  }


def fcrnb(w):
  """As before; 25·i·o from the fifth on."""
  return {
    "conv1": 27 * w + 2 * w,
    "conv2": 18 * w**2 + 4 * w,
    "conv3": 72 * w**2 + 8 * w,
    "conv4": 288 * w**2 + 16 * w,
    "conv5": 1600 * w**2 + 16 * w,
    "conv6": 1600 * w**2 + 16 * w,
    "output": 200 * w + 1,
  }


def unet(w):
  """3x3 with bias: 9·i·o + o; 2x2 transposed: 4·i·o + o."""
  return {
    "down1": 27 * w + 9 * w**2 + 2 * w,
    "down2": 18 * w**2 + 36 * w**2 + 4 * w,
    "down3": 72 * w**2 + 144 * w**2 + 8 * w,
    "down4": 288 * w**2 + 576 * w**2 + 16 * w,
    "down5": 1152 * w**2 + 2304 * w**2 + 32 * w,
    # up 16 -> 8: 512; then 3x3 16 -> 8: 1152; 8 -> 8: 576
    "up4": 512 * w**2 + 1152 * w**2 + 576 * w**2 + 24 * w,
    "up3": 128 * w**2 + 288 * w**2 + 144 * w**2 + 12 * w,
    "up2": 32 * w**2 + 72 * w**2 + 36 * w**2 + 6 * w,
    "up1": 8 * w**2 + 18 * w**2 + 9 * w**2 + 3 * w,
    "output": w + 1,
  }


def fcn(w):
  """3x3 with bias: 9·i·o + o; the fully connected ones 49·i·o + o and i·o + o."""
  return {
    "conv1": 27 * w + 9 * w**2 + 2 * w,
    "conv2": 18 * w**2 + 36 * w**2 + 4 * w,
    "conv3": 72 * w**2 + 2 * 144 * w**2 + 12 * w,
    "conv4": 288 * w**2 + 2 * 576 * w**2 + 24 * w,
    "conv5": 3 * 576 * w**2 + 24 * w,
    "fc6": 49 * 8 * 64 * w**2 + 64 * w,
    "fc7": 64 * 64 * w**2 + 64 * w,
    "output": (64 * w + 1) + (8 * w + 1) + (4 * w + 1),
  }


@pytest.mark.parametrize(
  ("by_hand", "width", "total"),
  [
    (frcn, 32, 4_545_543),
    (fcrna, 32, 1_348_833),
    (fcrnb, 32, 3_673_121),
    (unet, 64, 31_031_745),
    (fcn, 64, 134_265_411),
  ],
)
def test_parameters_by_hand(by_hand, width, total):
  name = by_hand.__name__
  create = functools.partial(models.create_model, {"name": name, "width": width})
  _, weights = split_model(nnx.eval_shape(create))
  counts = {
    block: sum(leaf.size for leaf in jax.tree.leaves(params))
    for block, params in weights["params"].items()
  }
  assert counts == by_hand(width)
  assert sum(counts.values()) == total
  # the widths of the publications are the defaults
  default = nnx.eval_shape(lambda: models.find_model(name)(rngs=nnx.Rngs(0)))
  assert sum(x.size for x in jax.tree.leaves(nnx.state(default, nnx.Param))) == total
  # freezing counts in blocks, all of which there are
  assert set(models.find_model(name).BLOCKS) == set(counts)


@pytest.mark.parametrize("shape", [(32, 32), (37, 45), (47, 32), (33, 63)])
@pytest.mark.parametrize("name", OTHERS)
def test_a_map_has_the_size_of_its_image(name, shape):
  graph, weights = network(name, dtype="bfloat16")
  for size in (shape, shape[::-1]):
    images = jax.ShapeDtypeStruct((3, *size, 3), jnp.float32)
    result = jax.eval_shape(functools.partial(predict, graph), weights, images)
    assert result.shape == (3, *size)
    assert result.dtype == jnp.float32
  assert {leaf.dtype for leaf in jax.tree.leaves(weights)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
  ("name", "least"), [("frcn", 16), ("fcrna", 8), ("fcrnb", 4), ("unet", 16)]
)
def test_smaller_images_are_refused(name, least):
  graph, weights = network(name)
  run = functools.partial(jax.eval_shape, functools.partial(predict, graph), weights)
  smallest = jax.ShapeDtypeStruct((1, least, least, 3), jnp.float32)
  assert run(smallest).shape == (1, least, least)
  message = f"at least {least} x {least} pixels, got {least - 1} x {least}"
  with pytest.raises(ValueError, match=message):
    run(jax.ShapeDtypeStruct((1, least - 1, least, 3), jnp.float32))


def test_fcn_takes_any_size():
  graph, weights = network("fcn")
  for size in ((1, 1), (2, 3), (31, 1)):
    images = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    result = jax.eval_shape(functools.partial(predict, graph), weights, images)
    assert result.shape == (1, *size)


# How far the row of a pixel at offset p of a stride reaches, by hand. Convolutions
# widen [a, b] by k // 2, a pooling makes it [a // 2, b // 2], a bilinear x2
# [2a - 1, 2b + 2], x8 [8a - 4, 8b + 11], and a transposed 2x2 [2a, 2b + 1]. The
# worst p leaves no remainder downwards, and stride - 1 upwards:
#   frcn   below: 4 + 4 + 8 + 16, then + 2 at 1/16, then 4 times 2b + 4
#          above: the same 32, remainder 15, - 2 at 1/16, then 4 times 2a - 3
#   fcrna  below: 1 + 2 + 4, then + 1 at 1/8, then 3 times 2b + 3
#   fcrnb  below: 2 + 4, then + 2 at 1/4, then 2 times 2b + 4
#   unet   below: 2 + 4 + 8 + 16, then + 2 at 1/16, then 4 times 2b + 3
#   fcn    below: 2 + 4 + 12 + 24 + 48, then + 3 at 1/32, x2, x2, x8
REACH = {
  "frcn": (32 + 16 * 2 + 4 * 15, 32 + 15 + 16 * 2 + 3 * 15),
  "fcrna": (7 + 8 * 1 + 3 * 7, 7 + 7 + 8 * 1 + 2 * 7),
  "fcrnb": (6 + 4 * 2 + 4 * 3, 6 + 3 + 4 * 2 + 3 * 3),
  "unet": (30 + 16 * 2 + 3 * 15, 30 + 15 + 16 * 2 + 2 * 15),
  "fcn": (90 + 32 * 3 + 8 * (2 * 2 + 2) + 11, 90 + 31 + 32 * 3 + 8 * (2 + 1) + 4),
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_reach_is_what_a_pixel_can_change(name):
  """Of positive weights every path adds: black but for a pixel shows all that read it.

  Each image of the batch has its pixel at another place within a stride, as far from
  all borders as the network reaches.
  """
  model = models.find_model(name)
  graph, weights = network(name, width=1)

  def fill(path, leaf):
    if path[-1].key == "kernel":  # a mean, so that nothing overflows
      return jnp.full_like(leaf, 1 / np.prod(leaf.shape[:-1]))
    return jnp.full_like(leaf, path[-1].key in ("scale", "var"))

  weights = jax.tree_util.tree_map_with_path(fill, weights)
  side = 2 * (model.REACH // model.STRIDE + 1) * model.STRIDE + model.STRIDE
  places = side // 2 // model.STRIDE * model.STRIDE + np.arange(model.STRIDE)
  images = np.zeros((model.STRIDE, side, 32, 3), np.float32)
  images[np.arange(model.STRIDE), places, 16] = 1
  maps = jax.jit(functools.partial(predict, graph))(weights, images)
  rows = [np.flatnonzero(row) for row in np.asarray(maps > 0).any(2)]
  assert all(row[0] > 0 and row[-1] < side - 1 for row in rows)
  below = max(row[-1] - place for row, place in zip(rows, places, strict=True))
  above = max(place - row[0] for row, place in zip(rows, places, strict=True))
  assert (below, above) == REACH[name]
  assert max(below, above) == model.REACH


# --- freezing and dropout ------------------------------------------------------------


@pytest.mark.parametrize("frozen", [1, 5])
@pytest.mark.parametrize("name", OTHERS)
def test_frozen_blocks_see_no_image(name, frozen):
  graph, weights = network(name)
  images, maps = batch(2, 16, 16)
  run = functools.partial(learn, name, graph, frozen=frozen)
  gradient, (_, stats) = dependent(run, weights, images, maps)
  free = models.find_model(name).BLOCKS[frozen:]
  for tree in (gradient, stats):
    assert {path for path, flag in flat(tree).items() if flag} == within(tree, free)


@pytest.mark.parametrize("name", ["fcrnb", "unet"])
def test_frozen_blocks_stay(name):
  graph, weights = network(name)
  images, maps = batch(2, 16, 16)
  run = compiled(functools.partial(learn, name, graph, frozen=3))
  gradient, (_, stats) = run(weights, images, labels(name, maps))
  free = models.find_model(name).BLOCKS[3:]
  zero = jax.tree.map(np.zeros_like, gradient)
  assert changed(zero, gradient) == within(gradient, free)
  assert changed(weights["batch_stats"], stats) == within(stats, free)


def keys(seed):
  return jax.random.split(jax.random.key(seed), 3)


@pytest.mark.parametrize("name", DROPPING)
def test_dropout_goes_with_the_example(name):
  graph, weights = network(name)
  run = functools.partial(
    compiled(lambda w, x, k: predict(graph, w, x, train=True, keys=k)), weights
  )
  images, _ = batch(3, 32, 32)
  expected = np.asarray(run(images, keys(0)))
  order = np.array([2, 0, 1])
  assert_near(np.asarray(run(images[order], keys(0)[order])), expected[order])
  for other in (run(images[order], keys(0))[jnp.argsort(order)], run(images, keys(1))):
    change = np.abs(other - expected).max((1, 2)) / np.abs(expected).max()
    assert (change > 1e-3).all()


@pytest.mark.parametrize(
  ("name", "draws"), [("frcn", 10), ("unet", 2), ("fcn", 2), ("fcrna", 0), ("fcrnb", 0)]
)
def test_dropout_in_training_only(name, draws):
  images, _ = batch(3, 16, 16)

  def drawn(options=(), **call):
    graph, weights = network(name, **dict(options))
    call = {"keys": keys(0), "train": True, **call}
    run = functools.partial(predict, graph, **call)
    return str(jax.make_jaxpr(run)(weights, images)).count("name=_bernoulli")

  assert drawn() == draws
  assert drawn(train=False) == drawn(keys=None) == drawn(frozen=9) == 0
  if draws:
    assert drawn({"dropout": 0.0}) == 0
    model = nnx.eval_shape(lambda: models.create_model({"name": name, "width": 2}))
    places = [
      module.place
      for _, module in nnx.iter_graph(model)
      if isinstance(module, models.layers.Dropout) and module.rate
    ]
    assert len(set(places)) == len(places) == draws  # no two draw the same


# --- creation and what is read from the output ---------------------------------------


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"width": 0}, "width is 0; it must be at least 1"),
    ({"dropout": 1.0}, "dropout is 1.0; it must be at least 0 and below 1"),
    ({"dropout": -0.1}, "dropout is -0.1"),
    ({"test_norm": "none"}, "test_norm is 'none'; use 'running' or 'batch'"),
  ],
)
def test_bad_arguments_are_named(options, message):
  with pytest.raises(InputError, match=f"config.model does not fit frcn: {message}"):
    models.create_model({"name": "frcn", **options})
  with pytest.raises(ValueError, match=message):
    models.FRCN(**options, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("name", OTHERS)
def test_only_defaults_of_arguments_that_others_take(name):
  fields = {
    "context": ["up4", "up3"],
    "dropout": 0.5,
    "test_norm": "running",
    "remat": False,
    "dtype": "float32",
  }
  options = {"name": name, "width": 2, **fields}
  nnx.eval_shape(lambda: models.create_model(options))
  for field, value in {"context": ["up4"], "remat": True}.items():
    message = f"config.model.{field} is .*, but {name} has no such argument; it takes w"
    with pytest.raises(InputError, match=message):
      models.create_model({**options, field: value})
  with pytest.raises(InputError, match=r"model\.depth is 3, but"):
    models.create_model({**options, "depth": 3})


def test_batch_normalisation_and_dropout_belong_to_some():
  for name in ("unet", "fcn"):
    with pytest.raises(InputError, match=f"test_norm is 'batch', but {name} has no"):
      models.create_model({"name": name, "test_norm": "batch"})
  for name in ("fcrna", "fcrnb"):
    with pytest.raises(InputError, match=f"dropout is 0.1, but {name} has no"):
      models.create_model({"name": name, "dropout": 0.1})


def test_score_map_by_hand():
  output = jnp.array([[0.0, np.log(3.0)], [-np.log(3.0), 5.0]])
  for name in ("unet", "fcn"):  # odds of 1, 3 and 1/3
    scores = models.score_map(models.find_model(name), output, 5.0)
    np.testing.assert_allclose(scores.ravel()[:3], [0.5, 0.75, 0.25], rtol=1e-6)
  for name in ("micronet", "frcn", "fcrna", "fcrnb"):
    scores = models.score_map(models.find_model(name), output, 5.0)
    np.testing.assert_allclose(scores, output / 5, rtol=1e-6)
