"""Studies without training: what a run is known by, who is chosen, what holds."""

import csv
import dataclasses
import itertools
import json
import threading

import numpy as np
import pytest
import tissue
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from study_tables import Nothing, cell, made, organ, outcome, run_of

from configs import common as defaults
from configs.paper import common
from micronet_jax.config import as_dict
from micronet_jax.datasets.sample import Sample
from micronet_jax.errors import InputError
from micronet_jax.studies import (
  drawing,
  execution,
  findings,
  finetuning,
  generalisation,
  organs,
  plan,
  recipe,
  results,
  runs,
  setting,
  study,
  table1,
)
from micronet_jax.studies.results import Estimate
from micronet_jax.studies.runs import Run, Start

# What may be changed.


def test_the_recipe_has_only_fields_that_have_an_effect():
  config = common.get_config("fig4")
  free = set(_paths(config.recipe))
  assert free >= {"optimizer.momentum", "warp.elastic", "loss_lambda"}
  assert not free & {*recipe.BY_BUDGET, *recipe.BY_STUDY}
  whole = recipe.at_budget(config.recipe, config.budgets.paper)
  assert set(_paths(whole)) == set(_paths(defaults.get_config()))
  with pytest.raises(AttributeError, match="width"):
    config.recipe.model.width = 16


def _paths(tree):
  return (".".join(path) for path, _ in _leaves(tree.to_dict()))


@pytest.mark.parametrize("model", recipe.NAMES)
def test_a_model_may_have_a_rate_of_its_own(model):
  place = made(budget="paper")
  assert setting.single(place, organ(), 0, model=model).config.optimizer == (
    place.recipe.optimizer
  )
  numbers = place.numbers.copy_and_resolve_references()
  numbers.own_rates[model] = 0.003
  place = dataclasses.replace(place, numbers=numbers)
  config = setting.single(place, organ(), 0, model=model).config
  assert config.optimizer.learning_rate == 0.003


def test_remat_is_for_the_model_that_has_it():
  place = made()
  place.recipe.model.remat = True
  for model in recipe.NAMES:
    config = setting.single(place, organ(), 0, model=model).config
    assert config.model.remat == (model == "micronet")


@pytest.mark.parametrize(
  ("field", "value", "expected"),
  [
    ("snapshot_every", 0, "snapshot_every is 0; it must be from 1 to num_steps, 300"),
    ("snapshot_every", 400, "snapshot_every is 400"),
    ("stages", (30, 45), "stages names step 45, at which there is no snapshot"),
    ("course", (330,), "course names step 330"),
    ("fractions", (0, 100), "fractions holds 0; it must be from 1 to 100"),
    ("fractions", (), "fractions is empty"),
    ("percentages", (0, 200), "percentages holds 200"),
    ("percentages", (5, 50), "percentages is .5, 50.; give 0"),
    ("percentages", (0,), "at least one other"),
    ("mixed", (150,), "mixed holds 150"),
    ("frozen", (10,), "frozen holds 10; it must be from 0 to 9"),
    ("gammas", (0.0, 1.0), "gammas holds 0"),
    ("lambdas", (-1.0,), "lambdas holds -1"),
    ("lambdas", ("a",), "lambdas holds 'a'"),
    ("lambdas", (5.0, 5.0), r"lambdas is \(5.0, 5.0\); give each once"),
    ("lambdas", (), "lambdas is empty"),
    ("width", 0, "width is 0; it must be a whole number of at least 1"),
    ("random_bases", -1, "random_bases is -1"),
    ("patch", 7, r"patch is 7; .* \(set by config.budgets.cpu or config.recipe\)"),
  ],
)
def test_numbers_that_would_fail_late_are_refused_at_once(field, value, expected):
  config = common.get_config("fig5")
  config.budgets.cpu[field] = value
  with pytest.raises(InputError, match=expected):
    setting.from_config(config, ())


def test_a_study_needs_a_test_part():
  config = common.get_config("fig5")
  config.recipe.split.test_fraction = 0.0
  with pytest.raises(InputError, match="test_fraction is 0; a study needs a test"):
    setting.from_config(config, ())


@pytest.mark.parametrize("seeds", [(), (1, 1), ("x",), (-1,)])
def test_seeds_that_cannot_be_used(seeds):
  config = common.get_config("fig4")
  config.seeds = seeds
  with pytest.raises(InputError, match=r"config\.seeds is .*; give at least one"):
    setting.from_config(config, ())


# What a run is known by.


def _leaves(tree, path=()):
  for key, value in tree.items():
    if isinstance(value, dict):
      yield from _leaves(value, (*path, key))
    else:
      yield (*path, key), value


PLAIN = as_dict(tissue.config())
DETERMINING = [
  (path, value)
  for path, value in _leaves(PLAIN)
  if not set(path) & runs.NOT_DETERMINING
  and path[0] not in ("gamma", "naive_pooling", "auxiliary_percentage")
]


def _other(value):
  if isinstance(value, bool):
    return not value
  if isinstance(value, str):
    return value + "x"
  return [*value, 1] if isinstance(value, list) else value + 1


@pytest.mark.parametrize("path", [path for path, _ in DETERMINING], ids=".".join)
def test_every_field_that_determines_a_run_changes_its_key(path):
  value = dict(DETERMINING)[path]
  config = json.loads(json.dumps(PLAIN))
  place = config
  for name in path[:-1]:
    place = place[name]
  place[path[-1]] = _other(value)
  changed = Run("t", config, organ())
  assert changed.key != Run("t", PLAIN, organ()).key


@given(
  log_every=st.integers(1, 99),
  data_dir=st.text(max_size=5),
  title=st.text(max_size=9),
  root=st.text(max_size=9),
  gamma=st.floats(0.1, 9),
  order=st.randoms(use_true_random=False),
)
def test_what_does_not_determine_a_run_does_not_change_its_key(
  log_every, data_dir, title, root, gamma, order
):
  config = json.loads(json.dumps(PLAIN))
  config |= {"log_every": log_every, "data_dir": data_dir, "gamma": gamma}
  config["target"]["root"] = root
  names = list(config)
  order.shuffle(names)
  shuffled = {name: config[name] for name in names}
  moved = Run(title, shuffled, organ(root=root, data_dir=data_dir))
  assert moved.key == Run("t", PLAIN, organ()).key


def test_data_start_and_balance_determine_a_run():
  base = run_of(organ("kidney"))
  other = organ("liver")
  mixed = {"auxiliary": (other,), "gamma": 2.0}
  every = [
    run_of(),
    run_of(organ(digest="d2")),
    run_of(organ(images=5)),
    run_of(organ("kidney")),
    run_of(start=Start(base, "best")),
    run_of(start=Start(base, "30")),
    run_of(start=Start(run_of(organ("kidney"), seed=1), "best")),
    run_of(auxiliary=(other,)),
    run_of(**mixed),
    run_of(**mixed, auxiliary_percentage=5.0),
    run_of(**mixed, naive_pooling=True),
  ]
  keys = [run.key for run in every]
  assert len(set(keys)) == len(keys)
  # Naive pooling has no γ, and the order of the sources does not matter.
  assert run_of(**{**mixed, "gamma": 3.0}, naive_pooling=True).key == keys[-1]
  pair = other, organ("kidney")
  assert run_of(auxiliary=pair).key == run_of(auxiliary=pair[::-1]).key


@given(st.recursive(st.integers(-99, 99), lambda each: st.lists(each, max_size=3)))
def test_whole_numbers_are_the_same_as_integers_and_as_fractions(value):
  def as_floats(entry):
    return [as_floats(e) for e in entry] if isinstance(entry, list) else float(entry)

  assert runs.digest(value) == runs.digest(as_floats(value))
  assert runs.digest([True]) != runs.digest([1])


def test_keys_are_the_same_in_another_process():
  # Worked out with sha256sum of '{"a":[1.0,2.5],"b":"x"}'.
  assert runs.digest({"b": "x", "a": [1, 2.5]}) == "765aa74504c3"


# Runs that figures share.


def _keys(module, chosen, known=None):
  known = known or plan.Guessed(Nothing())
  return {cell.evaluation.run.key for cell in module.cells(chosen, known)}


def test_figures_share_their_runs():
  four = _keys(generalisation, made())
  one = _keys(table1, made(study="table1"))
  assert four < one
  assert len(four) == 7
  assert len(one) == 6 * 7
  ten = _keys(generalisation, made(study="fig10"))
  assert ten < one
  assert not ten & four
  five = finetuning.cells(made(study="fig5"), plan.Guessed(Nothing()))
  started = [c.evaluation.run for c in five if c.evaluation.run.start]
  assert {run.start.run.key for run in started} <= four
  scratch = {c.evaluation.run.key for c in five if c.series == "from scratch"}
  assert scratch & four


def test_the_paper_asks_for_as_many_runs_as_it_should():
  """Counted by hand: architecture of the figures with 23 organs and three targets."""
  names = [f"o{i:02}" for i in range(23)]
  chosen = {
    name: made(study=name, budget="paper", names=names, targets=names[:3])
    for name in study.STUDIES
  }
  counts = {}
  for name, one in chosen.items():
    cells = study.find(name).cells(one, plan.Guessed(Nothing()))
    counts[name] = len(runs.in_order(cell.evaluation.run for cell in cells))
  assert counts["table1"] == 6 * 23
  assert counts["fig4"] == counts["fig10"] == 23
  # Bases (some of 23), 12 fine-tuned; 5 fractions of 5; 50 stages and 9 more frozen of
  # 12 each. What is at the end of the base is not its best, so no stage is shared.
  tuned = 12 + 3 * 5 * 5 + 12 * 50 + 12 * 9
  assert tuned + 3 < counts["fig5"] <= tuned + 23
  # Row 1: 7 of 3; row 2: three lines of 6 fractions, of which 100 % is in row 1.
  assert counts["fig6"] == 3 * 7 + 3 * 3 * 5
  assert counts["fig11"] == 3 * 7
  gammas = len(chosen["fig7_8"].numbers.gammas)
  assert counts["fig7_8"] == 3 + 12 * gammas
  assert counts["fig9"] == 3 * 8
  assert counts["fig12"] == 0


def test_the_paper_budget_is_the_papers_recipe():
  chosen = made(study="table1", budget="paper")
  for name in ("micronet", "fcrna"):
    run = setting.single(chosen, organ(), 0, model=name)
    config = as_dict(run.config)
    plain = as_dict(defaults.get_config())
    for field in ("snapshot_every", "log_every", "target"):  # each run's own
      config.pop(field)
      plain.pop(field)
    plain["model"]["name"] = name
    assert config == plain
  unet = setting.single(chosen, organ(), 0, model="unet").config
  assert (unet.model.width, unet.model.dropout) == (64, 0.5)
  frcn = setting.single(chosen, organ(), 0, model="frcn").config
  assert (frcn.model.width, frcn.model.dropout) == (32, 0.33)


def test_patients_of_two_organs_are_not_trained_and_tested_on(monkeypatch):
  """Auxiliary images of a patient whom the target is tested on would leak."""
  pixels = np.zeros((64, 64, 3), np.uint8)
  patients = {"breast": "abcdef", "kidney": "abcdefghijkl", "liver": "mnop"}

  def load(which):
    return tuple(
      Sample(f"{which.name}{p}", which.name, p, 0.25, pixels, np.ones((1, 2), "f4"))
      for p in patients[which.name]
    )

  monkeypatch.setattr(organs, "load", load)
  breast, kidney, liver = organ("breast"), organ("kidney"), organ("liver")
  with pytest.raises(InputError, match="kidney and breast share patient"):
    execution.assemble(run_of(breast, auxiliary=[kidney]))
  data = execution.assemble(run_of(breast, auxiliary=[liver]))
  assert {s.patient for s in data.auxiliary} <= set("mnop")
  # Elsewhere the same name is another patient.
  execution.assemble(run_of(breast, auxiliary=[kidney._replace(root="there")]))


# Bases from a matrix.


@given(
  scores=st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 4), min_size=1),
  random=st.integers(0, 3),
  seed=st.integers(0, 99),
)
def test_bases_against_a_search_by_brute_force(scores, random, seed):
  bases = setting.choose_bases(scores, random=random, seed=seed)
  for name, score in scores.items():
    assert score <= scores[bases.best]
    assert (score, name) == (scores[bases.best], bases.best) or (
      score < scores[bases.best] or name > bases.best
    )
    if name != bases.best:
      assert score >= scores[bases.worst]
  assert len(bases.random) == max(0, min(random, len(scores) - 2))
  chosen = {bases.best, bases.worst, *bases.random}
  assert chosen <= set(scores)
  assert len(chosen) == min(len(scores), 2 + len(bases.random))
  assert bases == setting.choose_bases(
    dict(reversed(scores.items())), random=random, seed=seed
  )


def test_random_bases_are_drawn_evenly():
  scores = {name: i for i, name in enumerate("abcdef")}
  drawn = [
    name
    for seed in range(600)
    for name in setting.choose_bases(scores, random=2, seed=seed).random
  ]
  counts = [drawn.count(name) for name in "bcde"]
  assert sum(counts) == 1200
  assert stats.chisquare(counts).pvalue > 0.001


class Matrix:
  """A hand-made matrix of F1, trained on (row) and tested on (column)."""

  def __init__(self, f1, last=300):
    self.f1, self.last = f1, last

  def outcome(self, evaluation):
    f1 = self.f1.get((evaluation.run.target.name, evaluation.organ.name))
    # 2 tp / (2 tp + fp + fn) = f1 with tp = f1, fp + fn = 2 - 2 f1.
    return None if f1 is None else outcome(f1, 2 - 2 * f1, 0)

  def last_step(self, run):
    return self.last


def test_bases_come_from_the_column_of_the_target():
  f1 = dict.fromkeys(itertools.product("abcd", repeat=2), 0.5)
  f1 |= {("a", "a"): 0.99, ("b", "a"): 0.7, ("c", "a"): 0.1, ("d", "a"): 0.3}
  f1 |= {("c", "b"): 0.9, ("a", "b"): 0.2}
  chosen = made(study="fig5", names="abcd", targets="ab")
  to_a = setting.bases_of(chosen, chosen.organs[0], Matrix(f1))
  assert (to_a.best, to_a.worst, to_a.random) == ("b", "c", ("d",))
  to_b = setting.bases_of(chosen, chosen.organs[1], Matrix(f1))
  assert (to_b.best, to_b.worst, to_b.random) == ("c", "a", ("d",))
  del f1["d", "b"]
  assert setting.bases_of(chosen, chosen.organs[1], Matrix(f1)) is None
  cells = finetuning.cells(chosen, Matrix(f1))
  wanted = {c.evaluation.run.target.name for c in cells if c.panel == "b"}
  assert wanted == set("abcd")
  assert not any(c.panel.startswith("b:") for c in cells)


def test_stages_and_courses_end_where_the_runs_ended():
  f1 = dict.fromkeys(itertools.product("abcd", repeat=2), 0.5)
  chosen = made(study="fig5", names="abcd", targets="a")
  cells = finetuning.cells(chosen, Matrix(f1, last=120))
  stages = {c.x for c in cells if c.panel == "a: stage of the base" and c.x}
  assert stages == {30, 60, 120}
  course = {c.x for c in cells if c.panel == "a: iterations"}
  assert course == {30, 60, 90, 120}  # the last is evaluated wherever it is
  cells = finetuning.cells(chosen, Matrix(f1, last=300))
  course = {c.x for c in cells if c.panel == "a: iterations"}
  assert course == {30, 60, 90, 150, 300}
  chosen.numbers.course = ()
  cells = finetuning.cells(chosen, Matrix(f1, last=300))
  course = {c.x for c in cells if c.panel == "a: iterations"}
  assert course == set(range(30, 301, 30))


# Numbers and their uncertainty.


def test_scores_by_hand():
  one = outcome([3, 1], [1, 0], [0, 2], distance=[6.0, 4.0])
  assert one.score("precision") == 4 / 5
  assert one.score("recall") == 4 / 6
  assert one.score("f1") == pytest.approx(8 / 11)
  assert one.score("ed") == 2.5
  nothing = outcome([0], [0], [0])
  assert [nothing.score(m) for m in ("precision", "recall", "f1")] == [1, 1, 1]
  assert np.isnan(nothing.score("ed"))
  missed = outcome([0], [0], [4])
  assert [missed.score(m) for m in ("precision", "recall", "f1")] == [0, 0, 0]


def test_an_outcome_survives_its_file(tmp_path):
  one = outcome([3, 1], [1, 0], [0, 2], detected=[np.ones((2, 2)), np.zeros((0, 2))])
  path = tmp_path / "one.json"
  path.write_text(json.dumps(one.to_json()))
  again = results.from_json(json.loads(path.read_text()))
  assert again.to_json() == one.to_json()
  assert again.detected[1].shape == (0, 2)
  gone = results.lost("breast", "nan at step 3")
  assert results.from_json(gone.to_json()).diverged == "nan at step 3"


def difference(scores):
  return scores[..., 0] - scores[..., 1]


def test_three_seeds_without_differences_between_patients_give_students_interval():
  f1 = np.array([0.5, 0.6, 0.8])
  by_seed = [[outcome([v] * 6, [2 - 2 * v] * 6, [0] * 6)] * 2 for v in f1]
  by_seed = [[a, outcome([0.5] * 6, [1.0] * 6, [0] * 6)] for a, _ in by_seed]
  found = results.estimate(by_seed, difference)
  t = stats.ttest_1samp(f1 - 0.5, 0.0).confidence_interval(0.95)
  assert found.value == pytest.approx(np.mean(f1) - 0.5)
  assert (found.low, found.high) == pytest.approx((t.low, t.high))
  assert found.source == "3 seeds, 6 test patients"


def test_seeds_and_patients_add_in_squares():
  rng = np.random.default_rng(2)
  tp = rng.integers(5, 60, 12)
  one = outcome(tp, 5 + 0 * tp, 65 - tp)
  first = results.estimate([[one]], lambda scores: scores[..., 0])
  same = results.estimate([[one]] * 3, lambda scores: scores[..., 0])
  assert same[:3] == pytest.approx(first[:3])  # seeds that agree add nothing
  by_seed = [[outcome(tp, extra + 0 * tp, 65 - tp)] for extra in (3, 5, 9)]
  found = results.estimate(by_seed, lambda scores: scores[..., 0])
  scores = [outcomes[0].score("f1") for outcomes in by_seed]
  t = stats.ttest_1samp(scores, 0.0).confidence_interval(0.95)
  patients = results.estimate([by_seed[1], by_seed[1]], lambda scores: scores[..., 0])
  # Patients count much alike for the three; the sum is exact for what they add up to.
  for side, sign in (("low", -1), ("high", 1)):
    seeds = sign * (getattr(t, side) - np.mean(scores))
    both = sign * (getattr(found, side) - found.value)
    one = sign * (getattr(patients, side) - patients.value)
    assert both == pytest.approx(np.hypot(seeds, one), rel=0.02)


def test_the_bootstrap_is_as_wide_as_few_patients_ask_for():
  """Of a mean, the variance over draws is that of the mean, not (n - 1)/n of it."""
  recall = np.array([0.2, 0.5, 0.9])
  one = outcome(100 * recall, [0] * 3, 100 - 100 * recall)
  drawn = results.resample([one], "recall", seed=0)
  assert drawn.mean() == pytest.approx(recall.mean(), abs=0.01)
  assert drawn.std() == pytest.approx(stats.sem(recall), rel=0.03)


def test_what_may_diverge():
  place = made()
  breast, liver = organ("breast"), organ("liver")
  assert not setting.single(place, breast, 0).may_diverge
  assert setting.single(place, breast, 0, model="frcn").may_diverge
  assert not setting.mixed(place, breast, [liver], 0, percent=5).may_diverge
  assert setting.mixed(place, breast, [liver], 0, percent=5, gamma=100).may_diverge


def test_what_diverged_has_no_score():
  gone = results.lost("breast", "nan at step 3")
  assert all(np.isnan(gone.score(metric)) for metric in results.METRICS)


def test_what_diverged_is_left_out_everywhere():
  f1 = dict.fromkeys(itertools.product("abcd", repeat=2), 0.5)
  f1 |= {("b", "a"): 0.9, ("c", "a"): 0.7}
  matrix = Matrix(f1)
  known = matrix.outcome
  matrix.outcome = lambda e: (
    results.lost(e.organ.name, "nan") if e.run.target.name == "b" else known(e)
  )
  chosen = made(study="fig10", names="abcd", targets="a")
  assert setting.bases_of(chosen, chosen.organs[0], matrix).best == "c"
  table = [
    (c, matrix.outcome(c.evaluation)) for c in generalisation.cells(chosen, None)
  ]
  targets, same, different = generalisation.matrix(table)
  assert targets == ["a", "c", "d"]
  assert same == pytest.approx([0.5] * 3)
  assert different == pytest.approx(np.array([[0.7, 0.5], [0.5, 0.5], [0.5, 0.5]]))
  assert all(
    np.isfinite(each.estimate.value) for each in generalisation.judge(table, chosen)
  )
  assert "FRCN b, seed 0" in " ".join(generalisation.notes(table, chosen))


def test_cells_that_a_seed_lacks_are_left_out():
  """Checked by hand: a gain of 0.1 wherever there is a pair."""

  def at(f1):
    return outcome([f1] * 6, [2 - 2 * f1] * 6, [0] * 6)

  table = [
    (cell("scratch", "a", seed=0), at(0.5)),
    (cell("best", "a", 120, seed=0), at(0.6)),
    (cell("best", "a", 240, seed=0), at(0.9)),
    (cell("scratch", "b", seed=0), at(0.2)),
    (cell("scratch", "a", seed=1), at(0.4)),
    (cell("best", "a", 120, seed=1), at(0.5)),
    (cell("scratch", "b", seed=1), at(0.2)),
    (cell("best", "b", 240, seed=1), at(0.9)),
  ]
  found = findings.contrast(
    table, lambda c: c.series == "best", lambda c: c.series == "scratch"
  )
  assert found.value == pytest.approx(0.1)
  cells, by_seed = findings.aligned(table)
  assert [(c.series, c.panel, c.x) for c in cells] == [
    ("scratch", "a", 0),
    ("best", "a", 120),
    ("scratch", "b", 0),
  ]
  assert [[o.score("f1") for o in row] for row in by_seed] == [
    pytest.approx([0.5, 0.6, 0.2]),
    pytest.approx([0.4, 0.5, 0.2]),
  ]


def test_the_bootstrap_is_paired_and_over_patients():
  rng = np.random.default_rng(0)
  tp = rng.integers(5, 60, 12)
  pairs = tuple(f"p{i // 2}" for i in range(12))  # two images a patient
  one = outcome(tp, 5 + 0 * tp, 65 - tp, patients=pairs)
  same = results.estimate([[one, one]], difference)
  assert (same.value, same.low, same.high) == (0, 0, 0)
  assert same.source == "6 test patients"
  found = results.estimate([[one]], lambda scores: scores[..., 0])
  # The same by a loop that draws patients and pools their images.
  draws = []
  for _ in range(4000):
    chosen = rng.choice(6, 6)
    images = np.concatenate([[2 * c, 2 * c + 1] for c in chosen])
    t, f, m, _ = one.counts[images].sum(0)
    draws.append(2 * t / (2 * t + f + m))
  draws = found.value + np.sqrt(6 / 5) * (np.array(draws) - found.value)
  low, high = np.quantile(draws, [0.025, 0.975])
  assert (found.low, found.high) == pytest.approx((low, high), abs=0.012)
  assert found.low < found.value < found.high


def test_too_few_patients_cannot_tell():
  few = outcome([9, 8, 9], [0, 0, 0], [0, 0, 0])
  worse = outcome([1, 2, 1], [9, 9, 9], [9, 9, 9])
  found = results.estimate([[few, worse]], difference)
  assert (found.low, found.high) == (None, None)
  assert found.verdict() == "cannot tell"
  found = results.estimate([[few, worse]] * 3, difference)
  assert found.verdict() == "cannot tell"  # seeds are no patients
  assert results.interval(outcome([1], [1], [1])) is None


@pytest.mark.parametrize(
  ("low", "high", "least", "expected"),
  [
    (0.01, 0.2, 0.0, "holds"),
    (-0.01, 0.2, 0.0, "cannot tell"),
    (-0.2, -0.01, 0.0, "does not hold"),
    (0.0, 0.0, 0.0, "cannot tell"),
    (-0.005, 0.1, -0.01, "holds"),
    (-0.05, -0.02, -0.01, "does not hold"),
    (None, None, 0.0, "cannot tell"),
  ],
)
def test_verdicts(low, high, least, expected):
  assert Estimate(0.1, low, high, "").verdict(least) == expected
  given_ = findings.Finding("c", "n", Estimate(1, None, None, ""), verdict="holds")
  assert given_.decided == "holds"


def test_lines_are_means_and_deviations_over_seeds():
  def at(f1):
    return outcome([f1] * 6, [2 - 2 * f1] * 6, [0] * 6)

  table = [
    (cell("scratch", x=20, seed=0), at(0.6)),
    (cell("scratch", x=10, seed=0), at(0.5)),
    (cell("scratch", x=10, seed=1), at(0.7)),
    (cell("scratch", x=10, seed=2), results.lost("breast", "nan")),
    (cell("best", x=10, seed=0), results.lost("breast", "nan")),
  ]
  lines = drawing.series(table)
  assert list(lines) == ["scratch"]
  assert [point.x for point in lines["scratch"]] == [10, 20]
  assert lines["scratch"][0][1:] == pytest.approx((0.6, 0.2 / np.sqrt(2)))
  assert lines["scratch"][1][1:] == pytest.approx((0.6, 0.0))


def test_a_contrast_by_hand():
  def at(f1, name):
    return outcome([f1] * 6, [2 - 2 * f1] * 6, [0] * 6, name=name)

  table = [
    (cell("same", "a"), at(0.9, "a")),
    (cell("diff", "a"), at(0.5, "a")),
    (cell("diff", "a"), at(0.7, "a")),
    (cell("same", "b"), at(0.8, "b")),
    (cell("diff", "b"), at(0.6, "b")),
    (cell("diff", "b"), results.lost("b", "nan")),
    (cell("same", "c"), at(0.1, "c")),  # without a partner
  ]
  found = findings.contrast(
    table, lambda c: c.series == "same", lambda c: c.series == "diff"
  )
  assert found.value == pytest.approx(((0.9 - 0.6) + (0.8 - 0.6)) / 2)
  assert found.verdict() == "holds"
  turned = findings.contrast(
    table, lambda c: c.series == "diff", lambda c: c.series == "same"
  )
  assert turned.verdict() == "does not hold"
  none = findings.contrast(table, lambda c: False, lambda c: True)
  assert none.verdict() == "cannot tell"


def _matrix_table(f1):
  """A table of Fig. 4 with the given (trained, tested) F1, six patients each."""
  chosen = made(names=sorted({name for name, _ in f1}))
  table = []
  for each in generalisation.cells(chosen, Nothing()):
    value = f1[each.evaluation.run.target.name, each.evaluation.organ.name]
    counts = [value] * 6, [2 - 2 * value] * 6, [0] * 6
    table.append((each, outcome(*counts, name=each.evaluation.organ.name)))
  return chosen, table


@pytest.mark.parametrize("seeds", [1, 3])
def test_detectors_without_a_pair_have_no_distance_and_no_interval(seeds):
  nothing = outcome([0] * 6, [1] * 6, [2] * 6)
  found = results.estimate(
    [[nothing]] * seeds, lambda scores: scores[..., 0], metric="ed"
  )
  assert np.isnan(found.value)
  assert (found.low, found.high) == (None, None)
  assert found.verdict() == "cannot tell"


def test_figure_4_by_hand():
  f1 = {
    **{("a", "a"): 0.9, ("b", "a"): 0.5, ("c", "a"): 0.7},
    **{("a", "b"): 0.6, ("b", "b"): 0.8, ("c", "b"): 0.4},
    **{("a", "c"): 0.9, ("b", "c"): 0.5, ("c", "c"): 0.8},
  }
  chosen, table = _matrix_table(f1)
  targets, same, different = generalisation.matrix(table)
  assert targets == ["a", "b", "c"]
  assert same == pytest.approx([0.9, 0.8, 0.8])
  assert different == pytest.approx(np.array([[0.5, 0.7], [0.6, 0.4], [0.9, 0.5]]))
  higher, best = generalisation.judge(table, chosen)
  assert higher.estimate.value == pytest.approx((0.3 + 0.3 + 0.1) / 3)
  assert higher.decided == "holds"
  assert best.estimate.value == pytest.approx(2 / 3)
  assert best.decided == "holds"  # both draws of patients leave two of three
  note, threshold = generalisation.notes(table, chosen)
  assert "threshold of its own organ's validation" in threshold
  assert "c (0.800, best other 0.900)" in note
  assert "in 3 of 3 organs" in note


def test_table_1_is_mean_and_deviation_over_data_sets():
  chosen = made(study="table1", names="abc")
  rng = np.random.default_rng(1)
  table = []
  for each in table1.cells(chosen, Nothing()):
    tp = rng.integers(20, 60, 6)
    name = each.evaluation.organ.name
    table.append((each, outcome(tp, rng.integers(1, 9, 6), 60 - tp, name=name)))
  rows = table1.summary(table)
  assert list(rows) == ["FCN", "U-Net", "FCRNA", "FCRNB", "FRCN", "MicroNet"]
  for model, row in rows.items():
    f1 = [o.score("f1") for c, o in table if c.series == model]
    assert row[2] == pytest.approx((np.mean(f1), np.std(f1, ddof=1)))
  claims = table1.judge(table, chosen)
  lead = rows["MicroNet"][2][0] - max(
    row[2][0] for model, row in rows.items() if model != "MicroNet"
  )
  assert claims[0].estimate.value == pytest.approx(lead)
  against_fcn = rows["MicroNet"][2][0] - rows["FCN"][2][0]
  assert claims[1].estimate.value == pytest.approx(against_fcn)
  distances = rows["FCN"][3][0] - rows["MicroNet"][3][0]
  assert claims[6].estimate.value == pytest.approx(distances)


def test_results_csv_holds_what_the_evaluations_say(tmp_path):
  chosen = made(names="ab")
  table = [
    (cell("same", "a"), outcome([3, 1], [1, 0], [0, 2], distance=[6.0, 4.0])),
    (cell("diff", "a", x=0.5, seed=2), results.lost("a", "nan at step 3")),
    (cell("diff", "b"), outcome([3, 1] * 3, [1, 0] * 3, [0, 2] * 3)),
  ]
  findings.write_csv(tmp_path / "results.csv", chosen, table)
  with (tmp_path / "results.csv").open() as file:
    first, second, third = csv.DictReader(file)
  assert float(first["f1"]) == pytest.approx(8 / 11, abs=1e-6)
  assert float(first["ed"]) == 2.5
  assert (first["images"], first["patients"], first["nuclei"]) == ("2", "2", "6")
  assert first["f1_low"] == ""  # of two patients
  assert first["run"] == table[0][0].evaluation.run.key
  assert (second["x"], second["seed"]) == ("0.5", "2")
  assert second["diverged"] == "nan at step 3"
  assert second["f1"] == ""
  assert float(third["f1_low"]) < float(third["f1"]) < float(third["f1_high"])


# Data.


def test_the_digest_of_an_organ_is_of_its_files_alone(tmp_path):
  samples = [
    dataclasses.replace(tissue.dots(f"p{i}"), organ="ab"[i % 2]) for i in range(6)
  ]
  for place in ("one", "two"):
    tissue.write_folder(tmp_path / place, samples)
  one, two = (organs.find_organs(str(tmp_path / p)) for p in ("one", "two"))
  assert [o.name for o in one] == ["a", "b"]
  assert [o.identity() for o in one] == [o.identity() for o in two]
  points = tmp_path / "two/points/p1.csv"
  points.write_text(points.read_text() + "20,20\n")
  changed = organs.find_organs(str(tmp_path / "two"))
  assert changed[0].digest == one[0].digest
  assert changed[1].digest != one[1].digest
  with pytest.raises(InputError, match="'c'; the data has a, b"):
    organs.find_organs(str(tmp_path / "one"), only="a,c")
  with pytest.raises(InputError, match="no folder"):
    organs.find_organs(str(tmp_path / "three"))


def test_organs_of_few_patients_are_refused(tmp_path):
  patients = {"a": 3, "b": 2, "c": 4}
  samples = [
    dataclasses.replace(tissue.dots(f"{name}{i}"), organ=name)
    for name, count in patients.items()
    for i in range(count)
  ]
  tissue.write_folder(tmp_path / "mine", samples)
  few = "b: an organ needs images of at least 3 patients.*--config.organs=a,c"
  with pytest.raises(InputError, match=few):
    organs.find_organs(str(tmp_path / "mine"))
  found = organs.find_organs(str(tmp_path / "mine"), only="a,c")
  assert [(o.name, o.patients) for o in found] == [("a", 3), ("c", 4)]


def test_patients_take_turns():
  names = ["p1_a", "p1_b", "p1_c", "p2_a", "p3_a", "p3_b"]
  samples = [tissue.dots(name, nuclei=0, size=8) for name in names]
  chosen = [sample.name for sample in organs.take_turns(samples, 4)]
  assert chosen == ["p1_a", "p1_b", "p2_a", "p3_a"]
  assert len(organs.take_turns(samples, 99)) == 6


def test_large_images_are_cut_around_their_middle():
  sample = tissue.dots("p1", size=65, nuclei=8)
  cut = organs.cut_middle(sample, 33)
  assert cut.image.shape == (33, 33, 3)
  np.testing.assert_array_equal(cut.image, sample.image[16:49, 16:49])
  inside = [c for c in sample.centers if all(15.5 <= v < 48.5 for v in c)]
  np.testing.assert_allclose(cut.centers, np.array(inside).reshape(-1, 2) - 16)
  assert organs.cut_middle(sample, 65) is sample
  assert organs.cut_middle(sample, 0) is sample


def test_the_real_stand_in(real_data, monkeypatch):
  monkeypatch.delenv("MICRONET_DATA", raising=False)
  with pytest.raises(InputError, match="MICRONET_DATA"):
    organs.find_organs("real")
  found = organs.find_organs("real", root=str(real_data), images=24, side=500)
  names = "bonemarrow,brain,breast,colon,kidney,liver,prostate"
  assert [o.name for o in found] == names.split(",")
  assert len({o.digest for o in found}) == 7
  roots = {o.name: o.root for o in found}
  assert roots["colon"].endswith("crchisto")


def test_targets_are_the_papers_or_drawn():
  known = [organ(name) for name in ("cervix", "colorectum", "kidney", "eye", "skin")]
  paper = ("cervix", "colorectum", "kidney")
  chosen = setting.choose_targets(known, paper, 3)
  assert [o.name for o in chosen] == list(paper)
  drawn = setting.choose_targets(known[1:], paper, 3)
  assert len({o.name for o in drawn}) == 3
  assert drawn == setting.choose_targets(known[1:], paper, 3)
  assert [o.name for o in setting.choose_targets(known, paper, 3, "eye, skin")] == [
    "eye",
    "skin",
  ]
  with pytest.raises(InputError, match="'lung'"):
    setting.choose_targets(known, paper, 3, "lung")
  with pytest.raises(InputError, match="give each organ once"):
    setting.choose_targets(known, paper, 3, "eye,eye")


# The plan, and who works it off.


def test_the_plan_says_what_is_done_and_how_long_the_rest_takes(tmp_path):
  chosen = made(names="abc")
  known = execution.Results(tmp_path)
  runs_of = [setting.single(chosen, o, 0) for o in chosen.organs]
  text = plan.describe(generalisation.cells, chosen, known, measure=False)
  assert text.count("to do") == 3
  assert text.count("not measured yet") == 4
  device = execution.jax.devices()[0].device_kind
  record = {"step": 300, "seconds_per_step": 0.2, "diverged": None, "device": device}
  record |= {"program": runs_of[0].program()}
  folder = runs_of[0].folder(tmp_path)
  folder.mkdir(parents=True)
  (folder / "done.json").write_text(json.dumps(record))
  (runs_of[1].folder(tmp_path) / "checkpoints/latest/120").mkdir(parents=True)
  text = plan.describe(generalisation.cells, chosen, known, measure=False)
  lines = text.splitlines()
  assert lines[1].split()[-2:] == ["done", "0.0"]
  assert "stopped at 120" in lines[2]
  assert float(lines[2].split()[-1]) == pytest.approx(180 * 0.2 / 60)
  assert float(lines[3].split()[-1]) == pytest.approx(300 * 0.2 / 60)
  assert "3 runs, 1 done" in text
  later = made(study="fig5", names="abcd", targets="a")
  text = plan.describe(finetuning.cells, later, known, measure=False)
  assert "more, from bases" in text


def test_a_failed_base_fails_what_starts_from_it_and_nothing_else(
  tmp_path, monkeypatch, capsys
):
  base, fine = run_of(organ("a"), title="base"), run_of(organ("b"), title="fine")
  after = run_of(start=Start(base, "best"), title="after")
  worked = []

  def do(job, place, stop):
    worked.append(job.run.title)
    if job.run is base:
      raise InputError("the loss is not finite")

  monkeypatch.setattr(execution, "do", do)
  jobs = [execution.Job(run, ()) for run in (base, after, fine)]
  failures = execution.work_off(jobs, tmp_path, threading.Event())
  assert worked == ["base", "fine"]
  assert failures == {
    base.key: "base, seed 0: the loss is not finite",
    after.key: "after, seed 0: its base failed",
  }
  assert "failed: base, seed 0: the loss is not finite" in capsys.readouterr().out


@pytest.mark.parametrize(
  ("change", "expected"),
  [
    ({"budget": "huge"}, "config.budget is 'huge'"),
    ({"study": "fig13"}, "config.study is 'fig13'"),
    ({"executor": "slurm"}, "config.executor is 'slurm'"),
    ({"seeds": (1, 1)}, "config.seeds"),
    ({"organs": "breast"}, "at least two"),
    ({"targets": "toe"}, "'toe'"),
    ({"models": "micronet,fcrna"}, "config.models is for table1; fig6 has models of"),
    ({"study": "table1", "models": "micronet,vgg"}, "config.models names 'vgg'"),
    ({"study": "table1", "models": "fcrna,unet"}, "name micronet and at least one"),
    ({"study": "table1", "models": "micronet"}, "name micronet and at least one"),
    ({"data": "nowhere"}, "no folder nowhere"),
  ],
)
def test_configs_that_cannot_be_used(tmp_path, change, expected):
  config = common.get_config("fig6")
  config.budget = "smoke"
  for field, value in change.items():
    config[field] = value
  with pytest.raises(InputError, match=expected):
    study.run_study(config, tmp_path / "studies")
  assert not (tmp_path / "studies").exists()
