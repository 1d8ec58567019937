"""Faults of a config are named before anything starts; a folder has one run."""

import importlib
import json
import pathlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tissue import config as make_config

from configs import common
from micronet_jax.config import Config, DataConfig, check_config
from micronet_jax.errors import InputError
from micronet_jax.settings import as_dict, changed, determining, from_dict
from micronet_jax.training.run import follow_checkpoint
from micronet_jax.workdir import claim_workdir, with_whole_model

CONFIGS = sorted(
  path.stem
  for path in pathlib.Path(common.__file__).parent.glob("[!_]*.py")
  if path.stem != "predict"  # has no fields in common: tests/test_cli.py
)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_configs_that_come_along_are_sound(name):
  fields = importlib.import_module(f"configs.{name}").get_config().to_dict()
  check_config(from_dict(Config, fields))


def test_the_paper_s_recipe_is_the_default():
  """The numbers of "Implementation details", by hand."""
  config = from_dict(Config, common.get_config().to_dict())
  assert config == Config()
  assert (config.batch_size, config.num_steps, config.warp.patch) == (4, 100_000, 200)
  optimizer = config.optimizer
  assert (optimizer.learning_rate, optimizer.momentum) == (0.01, 0.9)
  assert (optimizer.weight_decay, optimizer.min_learning_rate) == (1e-6, 1e-4)
  settings = config.proximity
  assert (settings.alpha, settings.radius, settings.scale) == (3.0, 15.0, 5.0)
  assert config.loss_lambda == 5.0
  whole = with_whole_model(config)
  assert (whole.threshold_rule, whole.select_radius) == ("relative", 16.0)
  assert whole.working_mpp == 0.25


@pytest.mark.parametrize(
  ("name", "width", "dropout"),
  [
    *(("micronet", 32, 0.5), ("frcn", 32, 0.33), ("unet", 64, 0.5), ("fcn", 64, 0.5)),
    *(("fcrna", 32, None), ("fcrnb", 32, None)),
  ],
)
def test_each_network_has_its_own_defaults_wherever_it_is_chosen(name, width, dropout):
  chosen = follow_checkpoint(changed(Config(), {"model.name": name}), None).model
  assert (chosen.width, chosen.dropout) == (width, dropout)
  own = changed(Config(), {"model.name": name, "model.width": 8})
  assert follow_checkpoint(own, None).model.width == 8


def test_a_checkpoint_s_network_is_followed():
  options = {"name": "micronet", "width": 16, "context": ["up4"], "dropout": 0.1}
  meta = {"model": {**options, "test_norm": "batch"}}
  followed = follow_checkpoint(Config(), meta).model
  assert (followed.width, followed.dropout) == (16, 0.1)
  assert (followed.context, followed.test_norm) == (("up4",), "batch")
  chosen = follow_checkpoint(changed(Config(), {"model.width": 8}), meta).model
  assert chosen.width == 8
  part = {"model.name": "unet", "init_partial": True}
  other = follow_checkpoint(changed(Config(), part), meta).model
  assert other.width == 64


def test_the_kind_of_a_checkpoint_s_network_is_followed_and_said(caplog):
  meta = {"model": {"name": "fcrna", "width": 2}}
  config = Config(init_from="runs/old")
  followed = follow_checkpoint(config, meta)
  assert (followed.model.name, followed.model.width) == ("fcrna", 2)
  assert followed.model.context is None
  assert caplog.messages == ["the network is fcrna, as that of runs/old"]
  assert follow_checkpoint(followed, meta) == followed
  assert follow_checkpoint(changed(config, {"model.name": "fcrna"}), meta) == followed
  assert len(caplog.messages) == 1
  partly = follow_checkpoint(changed(config, {"init_partial": True}), meta)
  assert partly.model.name == "micronet"


def test_another_network_than_the_checkpoint_s_is_refused_in_a_sentence():
  config = changed(Config(init_from="runs/old"), {"model.name": "unet"})
  with pytest.raises(InputError) as caught:
    follow_checkpoint(config, {"model": {"name": "fcrna", "width": 2}})
  assert str(caught.value) == (
    "config.model.name is 'unet', but the checkpoint runs/old is of fcrna, width 2; set"
    " config.model.name=fcrna, or start from another one"
  )


@pytest.mark.parametrize(
  ("written", "expected"),
  [
    (("base,scratch",), ("base", "scratch")),
    (["base", "scratch"], ("base", "scratch")),
    ((), ()),
    (("",), ()),
  ],
)
def test_names_may_come_with_commas_between(written, expected):
  assert from_dict(Config, {"compare": written}).compare == expected


@pytest.mark.parametrize(
  ("values", "expected"),
  [
    ({"sede": 1}, ["there is no field config.sede", "seed"]),
    ({"model": {"widht": 1}}, ["no field config.model.widht", "width"]),
    ({"seed": 1.5}, ["config.seed is 1.5", "a whole number"]),
    ({"seed": True}, ["config.seed is True", "a whole number"]),
    ({"gamma": "much"}, ["config.gamma is 'much'", "a number"]),
    ({"naive_pooling": 1}, ["config.naive_pooling is 1", "True or False"]),
    ({"target": {"root": None}}, ["config.target.root is None", "text"]),
    ({"min_distances": 5}, ["config.min_distances is 5"]),
    ({"min_distances": ["a"]}, ["config.min_distances is 'a'", "a whole number"]),
    ({"model": 3}, ["config.model is 3"]),
  ],
)
def test_values_of_another_type(values, expected):
  with pytest.raises(InputError) as caught:
    from_dict(Config, values)
  for part in expected:
    assert part in str(caught.value)


def refused(config) -> str:
  """The message, which must be one sentence for a user."""
  with pytest.raises(InputError) as caught:
    check_config(config)
  message = str(caught.value)
  assert "\n" not in message
  assert len(message) < 200
  return message


RANGES = [
  ("batch_size", 0, "at least 1"),
  ("batch_size", -4, "at least 1"),
  ("num_steps", 0, "at least 1"),
  ("eval_every", 0, "at least 1"),
  ("log_every", 0, "at least 1"),
  ("steps_per_call", -1, "at least 0"),
  ("num_devices", -1, "at least 0"),
  ("snapshot_every", -1, "at least 0"),
  ("freeze_blocks", -1, "at least 0"),
  ("seed", -1, "from 0 to 4294967295"),
  ("seed", 2**32, "from 0 to 4294967295"),
  ("loss_lambda", float("inf"), "at least 0"),
  ("min_distances", 0, "at least 1"),
  ("warp.patch", 15, "at least 16"),
  ("warp.rotate", -1.0, "at least 0"),
  ("warp.mirror", 1.5, "from 0 to 1"),
  ("warp.shift", -1.0, "at least 0"),
  ("warp.elastic", -0.1, "from 0 to 1"),
  ("warp.elastic", 50.0, "from 0 to 1"),
  ("warp.elastic_sigma", 0.0, "at least 0.5"),
  ("warp.elastic_alpha", -35.0, "at least 0"),
  ("warp.zoom", 0.9, "from 1 to 2"),
  ("appearance.stain", 1.0, "from 0 to 0.9"),
  ("target_fraction", 0.0, "above 0 and at most 1"),
  ("target_fraction", 1.01, "above 0 and at most 1"),
  ("auxiliary_percentage", 0.0, "above 0 and at most 100"),
  ("auxiliary_percentage", 100.5, "above 0 and at most 100"),
  ("gamma", 0.0, "above 0"),
  ("gamma", float("nan"), "above 0"),
  ("loss_lambda", -1.0, "at least 0"),
  ("proximity.alpha", 0.0, "above 0 and at most 80"),
  ("proximity.alpha", 81.0, "above 0 and at most 80"),
  ("proximity.radius", -15.0, "above 0"),
  ("proximity.scale", 0.0, "above 0"),
  ("model.dropout", 1.0, "from 0 to 0.999"),
  ("model.dropout", -0.1, "from 0 to 0.999"),
  ("split.test_fraction", 1.0, "from 0 to 0.95"),
  ("split.test_fraction", -0.1, "from 0 to 0.95"),
  ("split.validation_fraction", 0.0, "above 0 and at most 0.95"),
  ("split.validation_fraction", 0.99, "above 0 and at most 0.95"),
  ("optimizer.learning_rate", 0.0, "above 0"),
  ("select_radius", 0.0, "above 0"),
]


@pytest.mark.parametrize(("field", "value", "wanted"), RANGES)
def test_out_of_range(field, value, wanted):
  given = (value,) if field == "min_distances" else value
  message = refused(make_config(**{field.replace(".", "__"): given}))
  assert f"config.{field} is {value};" in message
  assert message.endswith(wanted)


BORDERS = [
  ("steps_per_call", 0),
  ("num_devices", 0),
  ("snapshot_every", 0),
  ("warp.patch", 16),
  ("warp.rotate", 0.0),
  ("warp.mirror", 1.0),
  ("warp.elastic", 0.0),
  ("target_fraction", 1.0),
  ("target_fraction", 0.01),
  ("auxiliary_percentage", 100.0),
  ("loss_lambda", 0.0),
  ("model.dropout", 0.0),
  ("split.test_fraction", 0.0),
  ("batch_size", 1),
  ("min_distances", (1,)),
]


@pytest.mark.parametrize(("field", "value"), BORDERS)
def test_at_the_border_of_a_range(field, value):
  check_config(make_config(**{field.replace(".", "__"): value}))


@pytest.mark.parametrize(
  ("changes", "expected"),
  [
    (
      {"optimizer__schedule": "linear"},
      ["config.optimizer.schedule is 'linear'", "'plateau' or 'cosine'"],
    ),
    ({"min_distances": ()}, ["config.min_distances is ()", "at least one"]),
    ({"min_distances": (3, 0)}, ["config.min_distances is 0", "at least 1"]),
    (
      {"steps_per_call": 4, "eval_every": 6},
      ["config.eval_every 6", "multiple of config.steps_per_call 4"],
    ),
    (
      {"steps_per_call": 4, "num_steps": 10},
      ["config.num_steps 10", "multiple of config.steps_per_call 4"],
    ),
    (
      {"steps_per_call": 4, "snapshot_every": 2},
      ["config.snapshot_every 2", "multiple of config.steps_per_call 4"],
    ),
    ({"compare": ("best",)}, ["config.compare is 'best'", "'scratch'", "'base'"]),
    ({"compare": ("base",)}, ["config.compare is ('base',)", "config.init_from"]),
    ({"freeze_blocks": 3}, ["config.freeze_blocks is 3", "config.init_from"]),
    (
      {"auxiliary__name": "folder", "batch_size": 3},
      ["config.batch_size is 3", "even", "config.naive_pooling=True"],
    ),
  ],
)
def test_fields_that_do_not_go_together(changes, expected):
  message = refused(make_config(**changes))
  for part in expected:
    assert part in message


@pytest.mark.parametrize(
  "changes",
  [
    {"optimizer__schedule": "cosine"},
    {"steps_per_call": 4, "num_steps": 8, "eval_every": 4, "snapshot_every": 4},
    {"compare": ("base", "scratch"), "init_from": "base"},
    {"compare": ("scratch",)},
    {"freeze_blocks": 9, "init_from": "base"},
    {"auxiliary__name": "folder", "batch_size": 3, "naive_pooling": True},
    {"batch_size": 3},
  ],
)
def test_fields_that_go_together(changes):
  check_config(make_config(**changes))


def test_what_python_gives_is_brought_to_plain_types():
  given = Config(
    gamma=np.float32(2),
    num_steps=np.int64(7),
    min_distances=[3, 5],
    target=DataConfig("folder", root=pathlib.Path("mine")),
  )
  target = DataConfig("folder", root="mine")
  plain = Config(gamma=2.0, num_steps=7, min_distances=(3, 5), target=target)
  assert check_config(given) == plain
  assert changed(Config(), {"gamma": np.float32(2)}) == Config(gamma=2.0)
  root = {"target.root": pathlib.Path("mine"), "target.name": "folder"}
  assert changed(Config(), root).target == target
  assert as_dict(given) == as_dict(plain)


def test_what_is_of_no_plain_type_is_refused_in_one_sentence():
  with pytest.raises(InputError, match=r"config\.gamma is .*; it must be a number"):
    check_config(Config(gamma=object()))


@pytest.mark.parametrize("field", ["modl.width", "seed.width", "model.width.x"])
def test_a_field_that_there_is_not_is_refused(field):
  with pytest.raises(InputError, match=r"config\.(modl|seed|model\.width)"):
    changed(Config(), {field: 8})


def test_more_frozen_blocks_than_the_network_has():
  config = make_config(freeze_blocks=10, init_from="base")
  with pytest.raises(InputError, match=r"freeze_blocks is 10; it must be from 0 to 9"):
    follow_checkpoint(config, None)


def test_a_config_as_json_gives_it_back():
  plain = as_dict(Config())
  assert plain == json.loads(json.dumps(plain))
  assert plain["min_distances"] == [3, 5, 7, 9, 11]
  assert plain["model"]["width"] is None
  assert from_dict(Config, plain) == Config()


# The folder of a run.


def files(folder):
  return sorted(path.name for path in folder.iterdir())


def claim_refused(config, workdir) -> str:
  before = {p: p.read_bytes() for p in workdir.parent.rglob("*") if p.is_file()}
  with pytest.raises(InputError) as caught:
    claim_workdir(config, workdir)
  after = {p: p.read_bytes() for p in workdir.parent.rglob("*") if p.is_file()}
  assert before == after
  return str(caught.value)


def test_a_new_folder_gets_the_config(tmp_path):
  workdir = tmp_path / "runs" / "new"
  config = make_config()
  claim_workdir(config, workdir)
  assert files(workdir) == ["config.json"]
  stored = json.loads((workdir / "config.json").read_text())
  assert stored == as_dict(with_whole_model(config))


def test_the_same_config_may_go_on(tmp_path):
  for _ in range(3):
    claim_workdir(make_config(), tmp_path)
  (tmp_path / "log.jsonl").write_text("kept\n")
  claim_workdir(make_config(), tmp_path)
  assert files(tmp_path) == ["config.json", "log.jsonl"]
  assert (tmp_path / "log.jsonl").read_text() == "kept\n"


@pytest.mark.parametrize(
  "name",
  [
    "report.json",
    "log.jsonl",
    "detections.png",
    "precision_recall.png",
    "training.png",
  ],
)
@pytest.mark.parametrize("link", [False, True])
def test_files_of_somebody_else_are_not_replaced(tmp_path, name, link):
  path = tmp_path / "run" / name
  path.parent.mkdir()
  path.symlink_to("nowhere") if link else path.write_text("mine")
  message = claim_refused(make_config(), path.parent)
  assert f"{path} is there and was not written by this program" in message
  assert "\n" not in message
  assert files(path.parent) == [name]


def test_files_that_a_run_leaves_alone_may_lie_in_its_folder(tmp_path):
  for name in ("lock", "notes.txt", "job.out"):  # the first is of a run that waits
    (tmp_path / name).write_text("")
  claim_workdir(make_config(), tmp_path)
  # A run whose damaged config was removed, as it says, goes on.
  (tmp_path / "checkpoints/latest").mkdir(parents=True)
  (tmp_path / "report.json").write_text("{}")
  (tmp_path / "config.json").unlink()
  claim_workdir(make_config(), tmp_path)


def test_fields_that_differ_are_listed(tmp_path):
  claim_workdir(make_config(), tmp_path / "run")
  other = make_config(
    seed=3, model__width=4, target__organs="kidney", min_distances=(5, 7)
  )
  message = claim_refused(other, tmp_path / "run")
  first, *lines = message.splitlines()
  assert str(tmp_path / "run") in first
  assert "--workdir" in first
  assert [line.strip() for line in lines] == [
    "config.min_distances was [5], now [5, 7]",
    "config.model.width was 2, now 4",
    "config.seed was 0, now 3",
    "config.target.organs was '', now 'kidney'",
  ]


FREE = {
  **{"log_every": 7, "num_devices": 2, "steps_per_call": 2, "data_dir": "/elsewhere"},
  "model__remat": True,
}


def test_free_fields_may_change(tmp_path):
  claim_workdir(make_config(), tmp_path)
  other = make_config(**FREE)
  assert determining(other) == determining(make_config())
  claim_workdir(other, tmp_path)
  stored = json.loads((tmp_path / "config.json").read_text())
  assert stored == as_dict(with_whole_model(other))


def test_only_these_fields_are_free():
  free = {path for path, _ in leaves(as_dict(Config()))}
  free -= {path for path, _ in leaves(determining(Config()))}
  assert free == {tuple(field.split("__")) for field in FREE}


def test_the_folder_of_version_0_1_may_go_on(tmp_path):
  """It had the network's arguments whole, MicroNet's for every network."""
  older = as_dict(make_config(model__name="fcrna"))
  older["model"] |= {"dropout": 0.5, "context": ["up4", "up3"]}
  (tmp_path / "config.json").write_text(json.dumps(older))
  claim_workdir(make_config(model__name="fcrna"), tmp_path)


def leaves(tree, path=()):
  for name, value in tree.items():
    if isinstance(value, dict):
      yield from leaves(value, (*path, name))
    else:
      yield (*path, name), value


CHOSEN = {
  "job": "finetune",
  "compare": ["scratch"],
  "evaluate_part": "test",
  "model.name": "frcn",
  "model.context": ["up4"],
  "model.dtype": "bfloat16",
  "model.test_norm": "batch",
  "model.width": 7,
  "model.dropout": 0.25,
  "optimizer.schedule": "cosine",
  "split.validation_patients": ["p7"],
  "select_radius": 7.0,
  "smoothing": 4.0,
  "threshold_rule": "absolute",
  "working_mpp": 0.5,
}


def different(path, value):
  if path in CHOSEN:
    return CHOSEN[path]
  if isinstance(value, list):
    return [*value, 99]
  return {bool: lambda: not value, str: lambda: value + "x"}.get(
    type(value), lambda: value + 1
  )()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp("claims")


@settings(max_examples=60, deadline=None)
@given(field=st.sampled_from([path for path, _ in leaves(as_dict(make_config()))]))
def test_every_other_field_counts(folder, field):
  workdir, path = folder / "-".join(field), ".".join(field)
  mine = make_config()
  claim_workdir(mine, workdir)
  value = dict(leaves(as_dict(mine)))[field]
  other = changed(mine, {path: different(path, value)})
  if "__".join(field) in FREE:
    claim_workdir(other, workdir)
  else:
    message = claim_refused(other, workdir)
    assert f"config.{path} was " in message


def test_a_config_of_another_version_is_refused_in_one_sentence(tmp_path):
  newer = {**as_dict(make_config()), "not_there_yet": 0.5}
  (tmp_path / "run").mkdir()
  (tmp_path / "run" / "config.json").write_text(json.dumps(newer))
  message = claim_refused(make_config(), tmp_path / "run")
  assert "another version" in message
  assert "config.not_there_yet" in message
  assert "--workdir" in message


@pytest.mark.parametrize(
  "content", [b"", b'{"seed": 0, "mod', b"\xff\xfe\x00", b"\0" * 100, b"[1, 2]"]
)
def test_a_damaged_config(tmp_path, content):
  path = tmp_path / "run" / "config.json"
  path.parent.mkdir()
  path.write_bytes(content)
  message = claim_refused(make_config(), path.parent)
  assert str(path) in message
  assert "remove it" in message


def test_a_folder_where_the_config_should_be(tmp_path):
  path = tmp_path / "run" / "config.json"
  path.mkdir(parents=True)
  assert str(path) in claim_refused(make_config(), path.parent)
  assert files(path.parent) == ["config.json"]


@pytest.mark.parametrize("below", ["", "deeper", "deeper/still"])
def test_a_file_in_the_way(tmp_path, below):
  blocker = tmp_path / "file"
  blocker.write_text("mine")
  message = claim_refused(make_config(), blocker / below)
  assert str(blocker / below) in message
  assert "cannot be written" in message
  assert "--workdir" in message


def test_a_disk_that_fills_up_leaves_the_old_config(tmp_path, monkeypatch):
  workdir = tmp_path / "run"
  claim_workdir(make_config(), workdir)
  old = (workdir / "config.json").read_bytes()
  write = pathlib.Path.write_text

  def fill_up(self, text, *arguments, **options):
    write(self, text[:20], *arguments, **options)
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(pathlib.Path, "write_text", fill_up)
  with pytest.raises(InputError, match="No space left on device"):
    claim_workdir(make_config(log_every=9), workdir)
  with pytest.raises(InputError, match="No space left on device"):
    claim_workdir(make_config(), tmp_path / "other")
  monkeypatch.undo()
  assert (workdir / "config.json").read_bytes() == old
  assert not (tmp_path / "other" / "config.json").exists()
  # And nothing keeps either from going on.
  for folder in (workdir, tmp_path / "other"):
    claim_workdir(make_config(), folder)
    assert files(folder) == ["config.json"]
