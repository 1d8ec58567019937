"""What may be changed in a study, and what is refused before hours of training."""

import dataclasses

import pytest
from study_tables import organ, rows_of, setting

from configs.paper import common
from micronet_jax.config import Config
from micronet_jax.errors import InputError
from micronet_jax.settings import changed, from_dict
from micronet_jax.studies import schema, study
from micronet_jax.studies.schema import NAMES, Budget, StudyConfig
from micronet_jax.studies.setting import choose_targets, find_setting


def leaves(tree, path=()):
  for key, value in tree.items():
    if isinstance(value, dict):
      yield from leaves(value, (*path, key))
    else:
      yield ".".join((*path, key)), value


def test_the_config_files_are_the_schema():
  config = common.get_config("fig4")
  typed = from_dict(StudyConfig, config.to_dict())
  assert typed == StudyConfig(study="fig4")
  assert {name.name for name in dataclasses.fields(StudyConfig)} == set(config)
  config.budgets.cpu.stages = (60, 300)
  config.recipe.optimizer.momentum = 0.5
  typed = from_dict(StudyConfig, config.to_dict())
  assert typed.budgets.cpu.stages == (60, 300)
  assert typed.recipe.optimizer.momentum == 0.5


def test_the_recipe_has_only_fields_that_have_an_effect():
  """A field that a run does not take from the recipe is not there to be changed."""
  config = common.get_config("fig4")
  free = {path for path, _ in leaves(config.recipe.to_dict())}
  assert free >= {"optimizer.momentum", "warp.elastic", "loss_lambda"}
  with pytest.raises(AttributeError, match="width"):
    config.recipe.model.width = 16
  other = {"model.name": "frcn", "seed": 5, "num_steps": 7, "warp.patch": 40}
  study_config = dataclasses.replace(
    StudyConfig(), recipe=changed(Config(), other | {"optimizer.momentum": 0.5})
  )
  made = dataclasses.replace(setting(), config=study_config).recipe()
  plain = setting().recipe()
  assert made == changed(plain, {"optimizer.momentum": 0.5})


def test_budgets_differ_from_the_paper_where_their_file_says_so():
  config = StudyConfig()
  assert config.budgets.paper == Budget()
  cpu = config.budgets.cpu
  assert (cpu.width, cpu.own_rates.fcrnb) == (8, 0.01)
  assert cpu.own_rates.micronet == 0
  assert cpu.lambdas == Budget().lambdas
  assert config.budgets.smoke.num_steps == 2


@pytest.mark.parametrize(
  ("field", "value", "expected"),
  [
    ("snapshot_every", 0, "snapshot_every is 0; it must be at least 1"),
    (
      "snapshot_every",
      400,
      r"names step 300, without a snapshot|names step 30, without",
    ),
    ("stages", (30, 45), r"names step 45, without a snapshot: .* multiple of 30"),
    ("course", (330,), "names step 330"),
    ("fractions", (0, 100), "fractions is 0.0; it must be from 1 to 100"),
    ("fractions", (), "fractions is empty"),
    ("percentages", (0, 200), "percentages is 200"),
    ("percentages", (5, 50), r"percentages is \(5.0, 50.0\); give 0"),
    ("percentages", (0,), "at least one other"),
    ("mixed", (150,), "mixed is 150"),
    ("frozen", (10,), "frozen is 10; it must be from 0 to 9"),
    ("gammas", (0.0, 1.0), "gammas is 0.0; it must be above 0"),
    ("lambdas", (-1.0,), "lambdas is -1"),
    ("lambdas", ("a",), "lambdas is 'a'; it must be a number"),
    ("lambdas", (5.0, 5.0), r"lambdas is \(5.0, 5.0\); give each once"),
    ("lambdas", (), "lambdas is empty"),
    ("width", 0, "width is 0; it must be at least 1"),
    ("random_bases", -1, "random_bases is -1"),
    ("patch", 7, "config.budgets.cpu.patch is 7; it must be at least 16"),
    (
      "min_distances",
      (),
      r"min_distances .* \(set by config.budgets.cpu or config.rec",
    ),
    ("batch_sizes", 7, "no field config.budgets.cpu.batch_sizes"),
  ],
)
def test_numbers_that_would_fail_late_are_refused_at_once(field, value, expected):
  fields = {"study": "fig5", "budgets": {"cpu": {**NUMBERS, field: value}}}
  with pytest.raises(InputError, match=expected):
    find_setting(from_dict(StudyConfig, fields))


NUMBERS = dataclasses.asdict(StudyConfig().budgets.cpu)


@pytest.mark.parametrize(
  ("change", "expected"),
  [
    ({"budget": "huge"}, "config.budget is 'huge'"),
    ({"study": "fig13"}, "config.study is 'fig13'; the studies are table1, fig3"),
    ({"executor": "slurm"}, "config.executor is 'slurm'"),
    ({"seeds": ()}, r"config.seeds is \(\); give at least one"),
    ({"seeds": (1, 1)}, r"config.seeds is \(1, 1\); .* each once"),
    ({"seeds": (-1,)}, "config.seeds is -1"),
    ({"seeds": ("x",)}, "config.seeds is 'x'; it must be a whole number"),
    ({"organs": "breast"}, "at least two"),
    ({"organs": "breast,toe"}, "config.organs names 'toe'"),
    ({"targets": "toe"}, "config.targets is 'toe'; the data has"),
    ({"models": "micronet,fcrna"}, "config.models is for table1; fig6 has models of"),
    ({"study": "table1", "models": "micronet,vgg"}, "at least one other of fcn, unet"),
    ({"study": "table1", "models": "fcrna,unet"}, "name micronet and at least one"),
    ({"study": "table1", "models": "micronet"}, "name micronet and at least one"),
    ({"data": "nowhere"}, "no folder nowhere"),
    ({"recipe": {"split": {"test_fraction": 0.0}}}, "a study needs a test part"),
  ],
)
def test_configs_that_cannot_be_used(tmp_path, change, expected):
  fields = {"study": "fig6", "budget": "smoke", **change}
  with pytest.raises(InputError, match=expected):
    study.run_study(from_dict(StudyConfig, fields), tmp_path / "studies")
  assert not (tmp_path / "studies").exists()


def test_what_a_paper_file_says_is_a_study():
  assert set(schema.NAMES.values()) == {
    *("FCN", "U-Net", "FCRNA", "FCRNB", "FRCN", "MicroNet")
  }
  for name in study.STUDIES:
    assert common.get_config(name).study == name


@pytest.mark.parametrize(
  ("models", "claims"),
  [
    ("fcrna,micronet", 1 + 1),
    # Highest of the three; F1 and distance against two; recall of MicroNet.
    ("unet,micronet,fcn", 1 + 2 + 2 + 1),
    ("", 1 + 5 + 5 + 4 + 2),
  ],
)
def test_table_1_of_fewer_models_says_what_they_can_decide(models, claims):
  chosen = setting("table1", names="ab")
  config = changed(chosen.config, {"models": models})
  chosen = dataclasses.replace(chosen, config=config)
  wanted = {NAMES[name] for name in models.split(",") if name} or set(NAMES.values())
  table = rows_of(chosen)
  assert {each.series for each in table} == wanted
  text, findings = study.judge_study(table, chosen)
  assert len(findings) == claims
  assert {name for name in NAMES.values() if name in text} == wanted


def test_targets_are_the_papers_or_drawn():
  known = [organ(name) for name in ("cervix", "colorectum", "kidney", "eye", "skin")]
  paper, numbers = ("cervix", "colorectum", "kidney"), Budget()
  assert [o.name for o in choose_targets(known, paper, numbers, [])] == [*paper]
  drawn = choose_targets(known[1:], paper, numbers, [])
  assert len({o.name for o in drawn}) == 3
  assert drawn == choose_targets(known[1:], paper, numbers, [])
  asked = choose_targets(known, paper, numbers, ["eye", "skin"])
  assert [o.name for o in asked] == ["eye", "skin"]
  one = Budget(targets=1)
  assert [o.name for o in choose_targets(known, paper, one, [])] == ["cervix"]
  for wrong in (["lung"], ["eye", "eye"]):
    with pytest.raises(InputError, match=r"config\.targets is .*; give each once"):
      choose_targets(known, paper, numbers, wrong)
