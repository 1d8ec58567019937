"""Every network against its twin in PyTorch: values, gradients, running statistics."""

import numpy as np
import pytest
import torch
from networks import assert_near, batch, compiled, flat, labels, learn, network, predict
from torch.nn import functional

from benchmarks.torch_twins import compared
from benchmarks.torch_twins import micronet as micronet_twin
from micronet_jax import models

OTHERS = tuple(name for name in models.MODELS if name != "micronet")
ALL = tuple(models.CONTEXT_FACTORS)
CASES = [  # a network, its options, and (batch, height, width)
  ("micronet", {}, (2, 32, 32)),
  ("micronet", {"context": ALL}, (2, 37, 45)),
  ("micronet", {"width": 3}, (4, 16, 16)),
  ("micronet", {"width": 4, "context": ()}, (3, 17, 31)),
  *((name, {}, (2, 37, 45)) for name in OTHERS),
]


@pytest.fixture(
  scope="module", params=CASES, ids=lambda case: f"{case[0]} {case[2][1]}x{case[2][2]}"
)
def both(request):
  """What a network and its twin, in float64, make of the same batch."""
  name, options, shape = request.param
  graph, weights = network(name, **options)
  images, maps = batch(*shape)
  maps = labels(name, maps)

  @compiled
  def run(weights, images, maps):
    gradient, (prediction, stats) = learn(name, graph, weights, images, maps)
    return predict(graph, weights, images), prediction, gradient, stats

  inference, training, gradient, stats = run(weights, images, maps)
  ours = {
    "inference": np.asarray(inference),
    "training": np.asarray(training),
    "gradient": flat({"params": gradient}),
    "stats": flat({"batch_stats": stats}),
  }
  return ours, _run_twin(name, options, weights, images, maps)


def _twin_of(name, options, weights):
  """The twin with these weights; its arrays; its norms by where their variance is."""
  if name == "micronet":
    twin = micronet_twin.MicroNetTwin(**{"width": 2, **options}, dropout=0.0).double()
    twin = micronet_twin.load(twin, weights)
    found = micronet_twin.units(twin)
    norms = {f"batch_stats/{path}/norm/norm/var": unit.norm for path, unit in found}
    return twin, micronet_twin.tree, norms
  twin = compared.load(compared.TWINS[name](2).double(), flat(weights))
  norms = {f"{path}/var": norm for path, norm in compared.norms(twin)}
  return twin, compared.tree, norms


def _run_twin(name, options, weights, images, maps):
  twin, tree, norms = _twin_of(name, options, weights)
  pixels = torch.tensor(images).double().permute(0, 3, 1, 2)
  y = torch.tensor(maps).double()
  inference = twin.eval()(pixels).detach().numpy()
  counts = {}  # values behind each mean
  for path, norm in norms.items():
    norm.register_forward_hook(
      lambda module, inputs, output, path=path: counts.update(
        {path: output.numel() // output.shape[1]}
      )
    )
  training = twin.train()(pixels)
  if models.find_model(name).TARGET == "disks":
    functional.binary_cross_entropy_with_logits(training, y).backward()
  else:
    mean = y.mean((1, 2), keepdim=True)
    (0.5 * ((y + 5 * mean) * (training - 5 * y) ** 2).mean()).backward()
  stats = {k: v for k, v in tree(twin).items() if k.startswith("batch_stats")}
  # torch moves the running variance by the unbiased variance, Flax by the biased one:
  # what moved is n / (n - 1) times as much, n values behind each mean
  before = flat(weights)
  for path, n in counts.items():
    old = 0.9 * before[path].astype(float)
    stats[path] = old + (stats[path] - old) * (n - 1) / n
  return {
    "inference": inference,
    "training": training.detach().numpy(),
    "gradient": tree(twin, gradients=True),
    "stats": stats,
  }


@pytest.mark.parametrize("mode", ["inference", "training"])
def test_forward_equals_the_twin(both, mode):
  ours, twin = both
  assert_near(ours[mode], twin[mode])
  assert np.unique(twin[mode]).size > 200  # FRCN's last ReLU leaves enough


@pytest.mark.parametrize("what", ["gradient", "stats"])
def test_gradient_and_running_statistics_equal_the_twin(both, what):
  ours, twin = both
  assert ours[what].keys() == twin[what].keys()
  for path, expected in twin[what].items():
    assert_near(ours[what][path], expected, path)


def test_the_twin_gives_back_what_it_was_given():
  _, weights = network("micronet")
  twin = micronet_twin.load(micronet_twin.MicroNetTwin(width=2), weights)
  expected = flat(weights)
  actual = micronet_twin.tree(twin)
  assert actual.keys() == expected.keys()
  for path, value in actual.items():
    np.testing.assert_array_equal(value, expected[path])


def test_twins_refuse_weights_of_another_network():
  micronet = network("micronet")[1]
  with pytest.raises(ValueError, match="context/up2"):
    micronet_twin.load(micronet_twin.MicroNetTwin(width=2, context=("up2",)), micronet)
  with pytest.raises(ValueError, match="input/conv/kernel"):
    micronet_twin.load(micronet_twin.MicroNetTwin(width=3), micronet)
  fcrna = flat(network("fcrna")[1])
  with pytest.raises(ValueError, match="down1/first/conv/kernel"):
    compared.load(compared.UNetTwin(2), fcrna)
  with pytest.raises(ValueError, match="conv4/conv/kernel"):
    compared.load(compared.FCRNBTwin(2), fcrna)
