"""Synthetic organs are different domains, as the paper's are (Fig. 4). Slow."""

import threading

import numpy as np
import pytest
import tissue

from micronet_jax.datasets.provenance import Provenance
from micronet_jax.datasets.sample import Sample
from micronet_jax.datasets.splits import Split
from micronet_jax.datasets.synthetic_he.generator import generate
from micronet_jax.evaluation.metrics import evaluate_points
from micronet_jax.training.data import Data
from micronet_jax.training.loop import fit
from micronet_jax.training.run import prepare_training

ORGANS = ("lymph_nodes", "prostate", "eye")


def _samples(organ, indices):
  made = [(f"{organ}_{i}", *generate(organ, i, size=250)) for i in indices]
  return [Sample(n, organ, n, 0.25, image, centers) for n, image, centers in made]


@pytest.mark.slow
def test_a_model_is_better_on_its_own_organ_than_on_the_others(tmp_path):
  """Small networks at a small budget: the sign of the gap, not its size."""
  tests = {organ: _samples(organ, range(20, 24)) for organ in ORGANS}
  f1 = np.zeros((len(ORGANS), len(ORGANS)))
  for row, organ in enumerate(ORGANS):
    data = Data(
      name=organ,
      split=Split((), (), ()),
      train=_samples(organ, range(10)),
      validation=_samples(organ, range(10, 13)),
      test=[],
      auxiliary=[],
      inherited=Provenance(),
    )
    config = tissue.config(
      model__width=6,
      warp__patch=64,
      batch_size=4,
      num_steps=300,
      eval_every=100,
      log_every=50,
      min_distances=(3, 5, 7, 9),
      optimizer__learning_rate=0.1,
      optimizer__schedule="cosine",
    )
    prepared = prepare_training(config)
    detector = fit(
      config, data, tmp_path / organ, prepared, label=organ, stop=threading.Event()
    )
    for column, other in enumerate(ORGANS):
      found = [detector.detect(s.image).centers for s in tests[other]]
      scores = evaluate_points(found, [s.centers for s in tests[other]])
      f1[row, column] = scores["8"]["f1"]
  print(f1.round(3))
  same = np.diag(f1)
  others = (f1.sum(0) - same) / (len(ORGANS) - 1)  # of models from other organs
  assert (same > others).all()
  assert same.mean() - others.mean() > 0.05
