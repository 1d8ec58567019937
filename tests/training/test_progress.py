"""What a run leaves in its logs and on the terminal, also after it was stopped."""

import json
import sys
import time
import types

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micronet_jax.stored import read_log
from micronet_jax.training import progress
from micronet_jax.training.progress import Progress


class Clock:
  """Time that passes only when told."""

  def __init__(self):
    self.now = 1_700_000_000.0

  def __call__(self):
    return self.now


@pytest.fixture
def clock(monkeypatch):
  clock = Clock()
  monkeypatch.setattr(
    progress, "time", types.SimpleNamespace(monotonic=clock, time=time.time)
  )
  return clock


def opened(workdir, *, start=0, num_steps=100, label="run"):
  return Progress(workdir, label=label, start=start, num_steps=num_steps)


def lines_of(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def scalars(workdir):
  """What TensorBoard shows: by name, the steps and values."""
  accumulator = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator"
  )
  events = accumulator.EventAccumulator(str(workdir / "tensorboard"))
  events.Reload()
  return {
    name: [(event.step, event.value) for event in events.Scalars(name)]
    for name in events.Tags()["scalars"]
  }


CHOICE = {"f1": 0.875, "xi": 0.35, "min_distance": 7}


# The log.


def test_records(tmp_path, clock):
  with opened(tmp_path / "new" / "run") as run:
    clock.now += 4
    run.train(10, loss=0.5, learning_rate=0.01)
    run.validation(10, seconds=0.0, **CHOICE)
    clock.now += 1
    run.train(20, loss=0.25, learning_rate=0.001)
  assert lines_of(tmp_path / "new" / "run" / "log.jsonl") == [
    {"step": 10, "loss": 0.5, "learning_rate": 0.01, "steps_per_second": 2.5},
    {"step": 10, "val_f1": 0.875, "val_xi": 0.35, "val_min_distance": 7},
    {"step": 20, "loss": 0.25, "learning_rate": 0.001, "steps_per_second": 4.0},
  ]


def test_records_are_there_at_once(tmp_path):
  with opened(tmp_path) as run:
    run.train(1, loss=0.5, learning_rate=0.01)
    assert len(lines_of(tmp_path / "log.jsonl")) == 1


def test_time_of_validation_does_not_count(tmp_path, clock):
  with opened(tmp_path, start=100, num_steps=200) as run:
    clock.now += 5
    clock.now += 60
    run.validation(110, seconds=60.0, **CHOICE)
    clock.now += 5
    run.train(120, loss=0.5, learning_rate=0.01)
  # 20 steps since the start, in 10 seconds.
  assert read_log(tmp_path / "log.jsonl")[-1]["steps_per_second"] == pytest.approx(2)


def test_no_log_and_an_empty_one(tmp_path):
  assert read_log(tmp_path / "log.jsonl") == []
  (tmp_path / "log.jsonl").touch()
  assert read_log(tmp_path / "log.jsonl") == []


@settings(max_examples=60, deadline=None)
@given(count=st.integers(0, 6), data=st.data())
def test_a_log_cut_anywhere_keeps_its_whole_lines(tmp_path_factory, count, data):
  path = tmp_path_factory.getbasetemp() / "cut.jsonl"
  records = [{"step": 10 * i, "loss": 1 / (i + 1)} for i in range(count)]
  text = "".join(json.dumps(record) + "\n" for record in records)
  cut = data.draw(st.integers(0, len(text)))
  path.write_text(text[:cut])
  whole = text[:cut].count("\n")
  # A last line that lacks nothing but its end counts too.
  whole += cut < len(text) and text[cut] == "\n"
  assert read_log(path) == records[:whole]


def test_resuming_drops_what_came_after_the_checkpoint(tmp_path, clock):
  with opened(tmp_path) as run:
    for step in (10, 20, 30, 40):
      run.train(step, loss=step / 8, learning_rate=0.01)
      if step == 20:
        run.validation(step, seconds=0.0, **CHOICE)
  path = tmp_path / "log.jsonl"
  before = path.read_text().splitlines()
  path.write_text(path.read_text() + '{"step": 50, "lo')  # the power failed
  with opened(tmp_path, start=20) as run:
    # Even if nothing follows.
    assert path.read_text().splitlines() == before[:3]
    run.train(30, loss=9.0, learning_rate=0.01)
  after = path.read_text().splitlines()
  assert after[:3] == before[:3]
  assert [record["step"] for record in lines_of(path)] == [10, 20, 20, 30]
  assert lines_of(path)[-1]["loss"] == 9.0
  assert sorted(p.name for p in tmp_path.iterdir()) == ["log.jsonl", "tensorboard"]


def test_starting_over_drops_everything(tmp_path):
  with opened(tmp_path) as run:
    run.train(10, loss=1.0, learning_rate=0.01)
  with opened(tmp_path):
    pass
  assert lines_of(tmp_path / "log.jsonl") == []


def test_a_loss_that_is_not_finite_is_recorded(tmp_path):
  with opened(tmp_path) as run:
    run.train(10, loss=float("inf"), learning_rate=0.01)
  with opened(tmp_path, start=10):
    pass
  assert read_log(tmp_path / "log.jsonl")[0]["loss"] == float("inf")


def test_logs_are_closed_when_a_run_fails(tmp_path):
  with pytest.raises(RuntimeError), opened(tmp_path) as run:  # noqa: PT012
    run.train(10, loss=1.0, learning_rate=0.01)
    raise RuntimeError
  assert len(lines_of(tmp_path / "log.jsonl")) == 1
  with pytest.raises(ValueError, match="closed"):
    run.train(20, loss=1.0, learning_rate=0.01)


# TensorBoard.


def test_tensorboard_has_the_same_numbers(tmp_path, clock):
  with opened(tmp_path) as run:
    for step in (10, 20):
      clock.now += 5
      run.train(step, loss=1 / step, learning_rate=0.01)
    run.validation(20, seconds=0.0, **CHOICE)
  shown = scalars(tmp_path)
  expected = {}
  for record in read_log(tmp_path / "log.jsonl"):
    step = record.pop("step")
    for name, value in record.items():
      expected.setdefault(name, []).append((step, pytest.approx(value)))
  assert shown == expected
  assert set(shown) >= {"loss", "learning_rate", "val_f1", "val_xi"}


@pytest.mark.parametrize("start", [20, 0])
def test_tensorboard_after_resuming_shows_each_step_once(tmp_path, monkeypatch, start):
  clock = Clock()
  monkeypatch.setattr(time, "time", clock)  # tensorboardX names its files by it
  with opened(tmp_path) as run:
    for step in (10, 20, 30, 40):
      run.train(step, loss=1.0, learning_rate=0.01)
  clock.now += 60
  with opened(tmp_path, start=start) as run:
    for step in range(start + 10, 60, 10):
      run.train(step, loss=2.0, learning_rate=0.01)
  expected = [(step, 1.0 if step <= start else 2.0) for step in (10, 20, 30, 40, 50)]
  assert scalars(tmp_path)["loss"] == expected


# The terminal.


def test_plain_lines_elsewhere(tmp_path, clock, capsys):
  with opened(tmp_path, label="fold 1", num_steps=300) as run:
    clock.now += 10
    run.train(100, loss=0.123456, learning_rate=0.01)
    run.validation(100, seconds=0.0, **CHOICE)
    run.line("saved")
    run.train(200, loss=0.05, learning_rate=0.01)
  assert capsys.readouterr().out.splitlines() == [
    "fold 1  step 100/300  10.00 steps/s  loss 0.1235  0:20 left",
    "fold 1  step 100: validation F1 0.875 (ξ 0.35, min_distance 7 px)",
    "saved",
    "fold 1  step 200/300  20.00 steps/s  loss 0.0500  val F1 0.875  0:05 left",
  ]


def test_no_rate_before_the_first_step(tmp_path, clock, capsys):
  with opened(tmp_path, start=50) as run:
    run.train(50, loss=1.0, learning_rate=0.01)
  assert "? left" in capsys.readouterr().out


def screen(text, columns=80):
  """The rows that a terminal shows: carriage return, clearing, wrapping."""
  rows, column = [""], 0
  i = 0
  while i < len(text):
    if text.startswith("\033[K", i):
      rows[-1] = rows[-1][:column]
      i += 3
      continue
    if text[i] == "\r":
      column = 0
    elif text[i] == "\n":
      rows.append("")
      column = 0
    else:
      if column == columns:
        rows.append("")
        column = 0
      rows[-1] = rows[-1][:column] + text[i] + rows[-1][column + 1 :]
      column += 1
    i += 1
  return rows


@pytest.mark.parametrize("columns", [120, 60])
def test_one_line_is_rewritten_on_a_terminal(
  tmp_path, clock, capsys, monkeypatch, columns
):
  monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
  monkeypatch.setenv("COLUMNS", str(columns))
  with opened(tmp_path, num_steps=100_000, label="a-run-with-a-long-name") as run:
    run.line("begins")
    for step, loss in ((10_000, 500.0), (20_000, 50.0), (30_000, 0.5)):  # shorter
      clock.now += 3600
      run.train(step, loss=loss, learning_rate=0.01)
    run.validation(30_000, seconds=0.0, **CHOICE)
    run.train(40_000, loss=0.25, learning_rate=0.01)
    run.train(50_000, loss=0.125, learning_rate=0.01)
  rows = screen(capsys.readouterr().out, columns)
  text = "\n".join(rows)
  assert rows[0] == "begins"
  # One line up to the validation, one after it; the others were written over.
  assert rows[1].startswith("a-run-with-a-long-name  step 30000/100000")
  assert "validation F1 0.875" in text
  assert rows[-2].startswith("a-run-with-a-long-name  step 50000/100000")
  assert rows[-1] == ""
  for hidden in ("step 10000", "step 20000", "step 40000"):
    assert hidden not in text
  if columns == 120:
    assert len(rows) == 5
    assert rows[1].endswith("loss 0.5000  7:00:00 left")
  assert len(lines_of(tmp_path / "log.jsonl")) == 6


@pytest.mark.parametrize(
  ("seconds", "expected"),
  [
    (0, "0:00"),
    (0.4, "0:00"),
    (9, "0:09"),
    (59.6, "1:00"),
    (61, "1:01"),
    (3599, "59:59"),
    (3599.7, "1:00:00"),
    (3600, "1:00:00"),
    (3 * 3600 + 62, "3:01:02"),
    (100 * 3600, "100:00:00"),
  ],
)
def test_time_left(tmp_path, clock, capsys, seconds, expected):
  """After half of the steps as much time is left as went by."""
  with opened(tmp_path, num_steps=20) as run:
    clock.now += seconds
    run.train(10, loss=1.0, learning_rate=0.01)
  assert capsys.readouterr().out.endswith(f"  {expected} left\n")
