"""What a run is known by, what figures share, and who is chosen as a base."""

import dataclasses
import itertools
import json
import os
import pathlib
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from study_tables import Made, organ, row, rows_of, run_of, setting

from micronet_jax.config import Config
from micronet_jax.errors import InputError
from micronet_jax.settings import as_dict, changed, determining
from micronet_jax.studies import runs, study, transfer
from micronet_jax.studies.compare import summarise_matrix
from micronet_jax.studies.runs import make_run, order_runs
from micronet_jax.studies.schema import NAMES, check_study

TESTS = pathlib.Path(__file__).resolve().parents[1]

# What a run is known by.


def leaves(tree, path=()):
  for key, value in tree.items():
    if isinstance(value, dict):
      yield from leaves(value, (*path, key))
    else:
      yield ".".join((*path, key)), value


BALANCE = ("gamma", "naive_pooling", "auxiliary_percentage")
DETERMINING = {
  path: value
  for path, value in leaves(determining(run_of().config))
  if path.split(".")[0] not in (*runs.NOT_DETERMINING, *BALANCE)
}
OTHER = {
  **{"model.width": 3, "model.dropout": 0.1, "optimizer.schedule": "cosine"},
  **{"model.dtype": "bfloat16", "model.test_norm": "batch", "warp.mirror": 0.1},
  **{"model.name": "frcn", "model.context": ("up4",), "min_distances": (7,)},
  **{"working_mpp": 0.5, "threshold_rule": "absolute", "select_radius": 7.0},
  **{"loss_floor": 0.5, "smoothing": 4.0},
  "split.make_do": True,
  **{"split.validation_patients": ("p7",), "appearance.stain": 0.1},
  "even_steps": True,
}


@pytest.mark.parametrize("path", DETERMINING)
def test_every_field_that_determines_a_run_changes_its_key(path):
  value = DETERMINING[path]
  if path not in OTHER:
    value = value / 2 if isinstance(value, float) else value + 1
  assert run_of(**{path: OTHER.get(path, value)}).key != run_of().key


@given(
  log_every=st.integers(1, 99),
  data_dir=st.text(max_size=5),
  title=st.text(max_size=9),
  root=st.text(max_size=9),
  gamma=st.floats(0.1, 9),
)
def test_what_does_not_determine_a_run_does_not_change_its_key(
  log_every, data_dir, title, root, gamma
):
  fields = {"log_every": log_every, "data_dir": data_dir, "gamma": gamma}
  moved = run_of(organ(root=root, data_dir=data_dir), title=title, **fields)
  assert moved.key == run_of().key


def test_keys_are_the_same_in_another_process():
  mixed = run_of(auxiliary=[organ("liver")], gamma=2.0)
  code = "from study_tables import *; "
  code += "print(run_of(auxiliary=[organ('liver')], gamma=2.0).key)"
  path = os.pathsep.join([str(TESTS), str(TESTS.parent)])
  environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "7"}
  command = [sys.executable, "-c", code]
  assert (
    subprocess.check_output(command, env=environment, text=True) == f"{mixed.key}\n"
  )
  identity = mixed.identity()
  assert json.loads(json.dumps(identity)) == identity


def test_data_start_and_balance_determine_a_run():
  base, other = run_of(organ("kidney")), organ("liver")
  mixed = {"auxiliary": (other,), "gamma": 2.0}
  every = [
    run_of(),
    run_of(organ(digest="d2")),
    run_of(organ(images=5)),
    run_of(organ("kidney")),
    run_of(base=base),
    run_of(base=base, at="30"),
    run_of(base=run_of(organ("kidney"), seed=1)),
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


def test_a_start_comes_before_what_starts_from_it():
  first = run_of(organ("a"), title="first")
  second = run_of(organ("b"), base=first, title="second")
  third = run_of(organ("c"), base=second, title="third")
  ordered = order_runs([third, run_of(organ("d"), title="other"), second, first])
  assert [run.title for run in ordered] == ["first", "second", "third", "other"]


# The runs of a study.


def test_titles_and_settings_of_the_kinds_of_runs():
  place, breast, liver = setting(), organ("breast"), organ("liver")
  base = make_run(place, liver, 0)
  tuned = make_run(place, breast, 1, base=base, percent=10, frozen=2)
  assert tuned.label == ("MicroNet liver @best -> breast 10 %, 2 blocks frozen, seed 1")
  assert (tuned.config.target_fraction, tuned.config.freeze_blocks) == (0.1, 2)
  mixed = make_run(place, breast, 0, others=[liver], share=50, gamma=5, percent=20)
  assert mixed.title == "MicroNet breast 20 % + 50 % of liver γ 5"
  assert (mixed.config.gamma, mixed.config.naive_pooling) == (5, False)
  assert mixed.config.auxiliary_percentage == 50
  naive = make_run(place, breast, 0, model="frcn", others=[liver, organ()], share=5)
  assert naive.title == "FRCN breast + 5 % of 2 organs"
  assert naive.config.naive_pooling
  weighed = make_run(place, breast, 0, lam=50)
  assert (weighed.title, weighed.config.loss_lambda) == ("MicroNet breast λ 50", 50)
  alone = make_run(place, breast, 0)
  assert make_run(place, breast, 0, lam=5.0).key == alone.key  # the recipe's λ
  assert make_run(place, breast, 0, others=[liver], share=0).key == alone.key


def test_snapshots_are_kept_where_figure_5_reads_them():
  place, breast = setting(), organ("breast")
  base = make_run(place, organ("liver"), 0)
  with_snapshots = [base, make_run(place, breast, 0, base=base)]
  without = [
    make_run(place, breast, 0, base=base, at="30"),
    make_run(place, breast, 0, base=base, frozen=1),
    make_run(place, breast, 0, percent=10),
    make_run(place, breast, 0, model="frcn"),
    make_run(place, breast, 0, lam=50),
  ]
  assert {run.config.snapshot_every for run in with_snapshots} == {30}
  assert {run.config.snapshot_every for run in without} == {0}


def test_what_may_diverge():
  place, breast, liver = setting(), organ("breast"), [organ("liver")]
  mix = {"others": liver, "share": 5}
  assert not make_run(place, breast, 0).may_diverge
  assert make_run(place, breast, 0, model="frcn").may_diverge
  assert not make_run(place, breast, 0, **mix).may_diverge
  assert make_run(place, breast, 0, **mix, gamma=100).may_diverge
  assert not make_run(place, breast, 0, lam=0.5).may_diverge
  assert make_run(place, breast, 0, lam=50).may_diverge


def test_even_steps_are_as_long_as_those_of_the_target_alone():
  place, breast, liver = setting("fig9"), organ("breast"), [organ("liver")]
  even = dataclasses.replace(place, config=changed(place.config, {"even_steps": True}))
  for change in ({"lam": 50}, {"others": liver, "share": 5, "gamma": 1}):
    usual, run = (
      make_run(place, breast, 0, **change),
      make_run(even, breast, 0, **change),
    )
    assert (usual.config.even_steps, run.config.even_steps) == (False, True)
    # λ = 5 divides by 6, which the rate makes up for: at λ = 5, the same step.
    rates = (each.config.optimizer.learning_rate for each in (run, usual))
    assert next(rates) == pytest.approx(6 * next(rates))
    assert run.key != usual.key
  for change in ({}, {"lam": 5}, {"others": liver, "share": 5}):
    assert make_run(even, breast, 0, **change).key == (
      make_run(place, breast, 0, **change).key
    )
  chosen = setting("fig4").config
  with pytest.raises(InputError, match=r"even_steps is for fig7_8 and fig9, not fig4"):
    check_study(changed(chosen, {"even_steps": True}))


def test_runs_that_are_older_than_a_field_keep_their_keys():
  fields = run_of().identity()["config"]
  assert "even_steps" not in fields
  assert run_of(even_steps=True).identity()["config"]["even_steps"] is True


@pytest.mark.parametrize("model", NAMES)
def test_a_model_may_have_a_rate_of_its_own(model):
  assert make_run(
    setting(budget="paper"), organ(), 0, model=model
  ).config.optimizer == (Config().optimizer)
  place = setting(budget="paper", **{f"own_rates.{model}": 0.003})
  config = make_run(place, organ(), 0, model=model).config
  assert config.optimizer.learning_rate == 0.003


@pytest.mark.parametrize(
  ("model", "paper", "cpu"),
  [("micronet", 32, 8), ("fcn", 64, 16), ("unet", 64, 16), ("frcn", 32, 8)],
)
def test_networks_keep_their_proportion_to_micronet(model, paper, cpu):
  for budget, width in (("paper", paper), ("cpu", cpu)):
    config = make_run(setting(budget=budget), organ(), 0, model=model).config
    assert (config.model.width, config.model.dropout) == (width, None)  # its own


def test_the_paper_budget_is_the_papers_recipe():
  chosen = setting("table1", budget="paper")
  for name in ("micronet", "fcrna"):
    config = as_dict(make_run(chosen, organ(), 0, model=name).config)
    plain = as_dict(Config())
    plain["model"] |= {"name": name, "width": 32}
    for field in ("snapshot_every", "log_every"):  # each run's own
      del config[field], plain[field]
    assert config == plain


def keys(chosen):
  archive = Made()
  rows_of(chosen, archive)
  return {wanted.run.key for wanted in archive.wanted.values()}


def test_figures_share_their_runs():
  four, one = keys(setting()), keys(setting("table1"))
  assert four < one
  assert (len(four), len(one)) == (7, 6 * 7)
  ten = keys(setting("fig10"))
  assert ten < one
  assert not ten & four
  archive = Made()
  five = rows_of(setting("fig5"), archive)
  wanted = [each.run for each in archive.wanted.values()]
  assert {run.base.key for run in wanted if run.base} <= four
  assert {each.run for each in five if each.series == "from scratch"} & four


def test_the_paper_asks_for_as_many_runs_as_it_should():
  """Counted by hand: the figures with 23 organs and three targets."""
  names = [f"o{i:02}" for i in range(23)]
  counts = {}
  for name in study.STUDIES:
    chosen = setting(name, budget="paper", names=names, targets=names[:3])
    archive = Made(last=100_000)
    rows_of(chosen, archive) if name != "fig12" else ()
    counts[name] = len(order_runs(each.run for each in archive.wanted.values()))
  assert counts["table1"] == 6 * 23
  assert counts["fig4"] == counts["fig10"] == 23
  # All that bases are chosen from, 12 fine-tuned; 5 fractions of 5; 50 stages and 9
  # more frozen of 12 each. The end of a base is not its best, so no stage is shared.
  assert counts["fig5"] == 23 + 12 + 3 * 5 * 5 + 12 * 50 + 12 * 9
  # Row 1: 7 of 3; row 2: three lines of 6 fractions, of which 100 % is in row 1.
  assert counts["fig6"] == 3 * 7 + 3 * 3 * 5
  assert counts["fig11"] == 3 * 7
  assert counts["fig7_8"] == 23 + 12 * 9
  assert counts["fig9"] == 3 * 8
  assert counts["fig12"] == 0


# Bases from a matrix.


@given(
  scores=st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 4), min_size=1),
  random=st.integers(0, 3),
  seed=st.integers(0, 99),
)
def test_bases_against_a_search_by_brute_force(scores, random, seed):
  bases = transfer.choose_bases(scores, random=random, seed=seed)
  best, worst, *drawn = bases.values()
  assert [*bases] == ["best", "worst", *(f"random {i + 1}" for i in range(len(drawn)))]
  for name, score in scores.items():
    assert score <= scores[best]
    assert (score, name) == (scores[best], best) or score < scores[best] or name > best
    if name != best:
      assert score >= scores[worst]
  assert len(drawn) == max(0, min(random, len(scores) - 2))
  chosen = {best, worst, *drawn}
  assert chosen <= set(scores)
  assert len(chosen) == min(len(scores), 2 + len(drawn))
  turned = dict(reversed(scores.items()))
  assert bases == transfer.choose_bases(turned, random=random, seed=seed)


def test_random_bases_are_drawn_evenly():
  scores = {name: i for i, name in enumerate("abcdef")}
  drawn = [
    name
    for seed in range(600)
    for kind, name in transfer.choose_bases(scores, random=2, seed=seed).items()
    if kind.startswith("random")
  ]
  counts = [drawn.count(name) for name in "bcde"]
  assert sum(counts) == 1200
  assert stats.chisquare(counts).pvalue > 0.001


def even_matrix():
  return dict.fromkeys(itertools.product("abcd", repeat=2), 0.5)


def test_bases_come_from_the_column_of_the_target():
  f1 = even_matrix()
  f1 |= {("a", "a"): 0.99, ("b", "a"): 0.7, ("c", "a"): 0.1, ("d", "a"): 0.3}
  f1 |= {("c", "b"): 0.9, ("a", "b"): 0.2}
  chosen = setting("fig5", names="abcd", targets="ab")
  a, b = chosen.targets
  to_a = transfer.bases_of(chosen, a, Made(f1))
  assert to_a == {"best": "b", "worst": "c", "random 1": "d"}
  to_b = transfer.bases_of(chosen, b, Made(f1))
  assert to_b == {"best": "c", "worst": "a", "random 1": "d"}
  del f1["d", "b"]
  archive = Made(f1)
  assert transfer.bases_of(chosen, b, archive) == {}
  table = rows_of(chosen, archive)
  assert not any(each.panel.startswith("b:") for each in table)
  asked = {e.run.target.name for e in archive.wanted.values() if e.organ == b}
  assert asked == set("abcd")


def test_stages_and_courses_end_where_the_runs_ended():
  chosen = setting("fig5", names="abcd", targets="a")

  def steps(kind, last, place=chosen):
    table = rows_of(place, Made(even_matrix(), last=last))
    return {each.x for each in table if each.panel == f"a: {kind}" and each.x}

  assert steps("stage of the base", 120) == {30, 60, 120}
  assert steps("iterations", 120) == {30, 60, 90, 120}  # the last one wherever it is
  assert steps("iterations", 300) == {30, 60, 90, 150, 300}
  every = setting("fig5", names="abcd", targets="a", course=())
  assert steps("iterations", 300, every) == set(range(30, 301, 30))
  # Nobody knows how far they will go: they are asked for, and their rows come later.
  archive = Made(even_matrix(), last=None)
  table = rows_of(chosen, archive)
  assert {each.panel for each in table} == {
    *("a: target data", "a: frozen blocks"),
    "a: stage of the base",
  }
  assert {each.x for each in table if "stage" in each.panel} == {0}


def test_what_diverged_is_no_base_and_in_no_matrix():
  f1 = even_matrix()
  f1 |= {("b", "a"): 0.9, ("c", "a"): 0.7} | {("b", each): None for each in "abcd"}
  chosen = setting("fig10", names="abcd", targets="a")
  assert transfer.bases_of(chosen, chosen.organs[0], Made(f1))["best"] == "c"
  table = rows_of(chosen, Made(f1))
  targets, same, different = summarise_matrix(table)
  assert targets == ["a", "c", "d"]
  assert same == pytest.approx([0.5] * 3)
  assert different[0] == pytest.approx([0.7, 0.5])
  text, findings = study.judge_study(table, chosen)
  sources = [each.estimate.source for each in findings]
  assert sources == ["18 test patients", "3 organs"]
  assert "Diverged, their organs left out: FRCN b, seed 0." in text
  lost = [row("same", name, f1=None, trained_on=name) for name in "ab"]
  with pytest.raises(InputError, match="the others diverged"):
    summarise_matrix(lost)
