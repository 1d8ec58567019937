"""Saving, resuming, transfer; what is damaged is recognised."""

import pathlib

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from networks import META

from micronet_jax import checkpoints
from micronet_jax.errors import InputError


def _trees(value: float):
  params = {"a": {"kernel": np.full((64, 5), value, np.float32)}}
  weights = {"params": params, "batch_stats": {"a": {"mean": np.arange(3.0)}}}
  trace = optax.trace(0.9, nesterov=True).init(params)
  return weights, {"optimizer": (trace,), "step": np.int32(value)}


@pytest.fixture
def saved(tmp_path):
  run = checkpoints.Checkpoints(tmp_path / "checkpoints")
  for step in (1, 2, 3):
    run.save("latest", step, *_trees(step), {"step": step, "xi": 0.5})
  run.wait()
  yield run
  run.close()


def test_a_checkpoint_comes_back_as_it_was(saved):
  found = saved.restore("latest", *_trees(0))
  weights, training = _trees(3)
  assert found["meta"] == {"step": 3, "xi": 0.5}
  np.testing.assert_array_equal(
    found["weights"]["params"]["a"]["kernel"], weights["params"]["a"]["kernel"]
  )
  assert found["training"]["step"] == 3
  assert isinstance(found["training"]["optimizer"][0], type(training["optimizer"][0]))


def test_two_are_kept_and_none_before_the_first(saved, tmp_path):
  kept = sorted(p.name for p in (tmp_path / "checkpoints/latest").iterdir())
  assert kept == ["2", "3"]
  assert saved.restore("best", *_trees(0)) is None
  assert saved.newest("best") is None
  assert saved.newest("latest") == tmp_path / "checkpoints/latest/3"


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
  return sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size)


def _cut(path: pathlib.Path) -> None:
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_checkpoint_cut_short_is_passed_over_with_one_line(saved, tmp_path):
  newest = tmp_path / "checkpoints/latest/3"
  _cut(max(_files(newest / "weights"), key=lambda p: p.stat().st_size))
  lines: list[str] = []
  found = saved.restore("latest", *_trees(0), report=lines.append)
  assert found["meta"]["step"] == 2
  assert len(lines) == 1
  assert str(newest) in lines[0]
  assert "using the one before" in lines[0]
  assert (tmp_path / "checkpoints/damaged/latest-3").is_dir()
  # The run goes on and can save that step again.
  saved.save("latest", 3, *_trees(3), {"step": 3})
  saved.wait()
  assert saved.restore("latest", *_trees(0))["meta"]["step"] == 3


@pytest.mark.parametrize("item", ["weights", "training", "meta"])
def test_a_missing_item_is_damage(saved, tmp_path, item):
  for path in _files(tmp_path / "checkpoints/latest/3" / item):
    path.unlink()
  assert saved.restore("latest", *_trees(0), report=print)["meta"]["step"] == 2


def test_altered_values_are_damage_even_if_they_can_be_read(saved, tmp_path):
  folder = tmp_path / "checkpoints/latest/3"
  meta = folder / "meta" / "metadata"
  text = meta.read_text()
  key = '"weights/params/a/kernel": '
  assert key in text
  start = text.index(key) + len(key)
  meta.write_text(text[:start] + "1" + text[start:])
  lines: list[str] = []
  assert saved.restore("latest", *_trees(0), report=lines.append)["meta"]["step"] == 2
  assert "weights/params/a/kernel differs" in lines[0]


def test_all_damaged_means_none(saved, tmp_path):
  for step in (2, 3):
    _cut(tmp_path / f"checkpoints/latest/{step}/meta/metadata")
  lines: list[str] = []
  assert saved.restore("latest", *_trees(0), report=lines.append) is None
  assert len(lines) == 2


def test_find_takes_a_run_its_checkpoints_or_one_of_them(saved, tmp_path):
  run = tmp_path
  newest = run / "checkpoints/latest/3"
  for path in (run, run / "checkpoints", newest):
    assert checkpoints.find_checkpoint(str(path)) == newest
  saved.save("best", 2, *_trees(2), {**META, "step": 2})
  saved.wait()
  assert checkpoints.find_checkpoint(str(run)) == run / "checkpoints/best/2"
  weights, meta = checkpoints.load_weights(str(run))
  assert meta["step"] == 2
  assert weights["params"]["a"]["kernel"].dtype == np.float32


def test_no_checkpoint_is_one_sentence(tmp_path):
  with pytest.raises(InputError, match=r"no checkpoint at '.*nowhere'"):
    checkpoints.find_checkpoint(str(tmp_path / "nowhere"))


def test_a_damaged_checkpoint_cannot_be_loaded(saved, tmp_path):
  _cut(tmp_path / "checkpoints/latest/3/meta/metadata")
  with pytest.raises(InputError, match="is damaged"):
    checkpoints.load_weights(str(tmp_path / "checkpoints/latest/3"))


def test_export_stores_bfloat16_and_loads_float32(tmp_path):
  weights, _ = _trees(1 / 3)
  checkpoints.export_weights(tmp_path / "out", weights, META, dtype="bfloat16")
  loaded, meta = checkpoints.load_weights(str(tmp_path / "out"))
  expected = np.asarray(jnp.asarray(1 / 3, jnp.bfloat16), np.float32)
  assert meta == META
  assert loaded["params"]["a"]["kernel"].dtype == np.float32
  np.testing.assert_array_equal(loaded["params"]["a"]["kernel"], expected)
  np.testing.assert_array_equal(loaded["batch_stats"]["a"]["mean"], np.arange(3.0))
  with pytest.raises(InputError, match="exists"):
    checkpoints.export_weights(tmp_path / "out", weights, {}, dtype="bfloat16")


def test_transfer_takes_over_what_is_the_same():
  source, _ = _trees(7)
  into, _ = _trees(0)
  taken = checkpoints.transfer(source, into)
  np.testing.assert_array_equal(
    taken["params"]["a"]["kernel"], source["params"]["a"]["kernel"]
  )


def test_transfer_lists_mismatches_on_both_sides_and_refuses():
  source = {"same": np.ones(2), "old": np.ones(1), "wide": np.ones((4, 4))}
  into = {"same": np.zeros(2), "new": np.zeros(1), "wide": np.zeros((2, 4))}
  with pytest.raises(InputError) as error:
    checkpoints.transfer(source, into)
  assert str(error.value).endswith(
    ": 3 of 3 entries differ: wide is (4, 4) in the checkpoint, (2, 4) here,"
    " the checkpoint lacks new, only the checkpoint has old"
  )


def test_transfer_counts_what_it_does_not_list():
  into = {f"{i:03}": np.zeros(1) for i in range(100)}
  with pytest.raises(
    InputError, match=r"100 of 100 entries differ: 000 .*, \.\.\.$"
  ) as e:
    checkpoints.transfer({name: np.ones(2) for name in into}, into)
  assert str(e.value).count(" here") == 3


@pytest.mark.parametrize(
  "error",
  [PermissionError(13, "Permission denied"), OSError(5, "I/O error"), MemoryError()],
)
def test_what_cannot_be_read_now_is_not_called_damaged(
  saved, tmp_path, monkeypatch, error
):
  def restore(*_, **__):
    raise error

  monkeypatch.setattr(checkpoints.ocp.Checkpointer, "restore", restore)
  with pytest.raises(InputError, match=r"cannot be read \(.*\); it stays as it is"):
    saved.restore("latest", *_trees(0))
  assert (tmp_path / "checkpoints/latest/3").is_dir()
  assert not (tmp_path / "checkpoints/damaged").exists()
