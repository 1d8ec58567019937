"""How a run reports itself: the terminal, a JSON-lines log, TensorBoard.

Called by `training.loop`.
"""

import contextlib
import json
import pathlib
import shutil
import sys
import time
from collections.abc import Iterator

from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog

from micronet_jax.files import cannot_write, replacing
from micronet_jax.stored import read_log


class Progress:
  """Writes one run's progress; a context manager.

  On a terminal one line is rewritten in place; elsewhere plain lines are printed.
  `log.jsonl` holds a record for each report, with its step; `tensorboard/` the same
  numbers.
  """

  def __init__(self, workdir: pathlib.Path, *, label: str, start: int, num_steps: int):
    """Opens the logs, and drops what a stopped run wrote after its checkpoint.

    Args:
      workdir: of the run; made if it is not there.
      label: what the lines begin with.
      start: the step the run starts or resumes from.
      num_steps: the step it ends at, for the time left.
    """
    path = workdir / "log.jsonl"
    kept = [record for record in read_log(path) if record["step"] <= start]
    with replacing(path) as beside:
      beside.write_text("".join(json.dumps(record) + "\n" for record in kept))
    self._folder = workdir
    with self._writing():
      self._log = path.open("a", encoding="utf-8")
    self._board = self._open_board(start + 1)
    self._label, self._start, self._num_steps = label, start, num_steps
    self._began = time.monotonic()
    self._paused = 0.0
    self._f1: float | None = None
    self._live = sys.stdout.isatty()
    self._open_line = False

  def __enter__(self) -> "Progress":
    return self

  def __exit__(self, *_: object) -> None:
    self._end_line()
    with contextlib.suppress(OSError):  # what is not written yet has been reported
      self._log.close()
      self._board.close()

  def train(self, step: int, *, loss: float, learning_rate: float) -> None:
    """Reports the mean loss since the last report."""
    seconds = max(time.monotonic() - self._began - self._paused, 1e-9)
    rate = (step - self._start) / seconds
    self._record(step, loss=loss, learning_rate=learning_rate, steps_per_second=rate)
    left = _minutes((self._num_steps - step) / rate) if rate else "?"
    score = "" if self._f1 is None else f"  val F1 {self._f1:.3f}"
    self._show(
      f"{self._label}  step {step}/{self._num_steps}  {rate:.2f} steps/s"
      f"  loss {loss:.4f}{score}  {left} left"
    )

  def validation(
    self, step: int, *, seconds: float, f1: float | None, xi: float, min_distance: int
  ) -> None:
    """Reports a validation, which took so many seconds of the run.

    Without an F1 it is a choice on the training images, as nothing is held out.
    """
    self._paused += seconds
    self._f1 = f1
    scored = {} if f1 is None else {"val_f1": f1}
    self._record(step, **scored, val_xi=xi, val_min_distance=min_distance)
    what = "nothing held out" if f1 is None else f"validation F1 {f1:.3f}"
    self.line(
      f"{self._label}  step {step}: {what}"
      f" (ξ {xi:.2f}, min_distance {min_distance:.0f} px)"
    )

  def line(self, text: str) -> None:
    """Prints a line of its own."""
    self._end_line()
    print(text, flush=True)

  def _open_board(self, step: int) -> EventsWriter:
    """Begins a file for TensorBoard, which forgets what others say from a step on.

    `SummaryWriter` would write in a thread, whose end on a full disk blocks for ever.
    """
    with self._writing():
      board = self._folder / "tensorboard"
      board.mkdir(parents=True, exist_ok=True)
      writer = EventsWriter(str(board / "events"))
      writer.write_event(Event(step=step, file_version="brain.Event:2"))
      start = SessionLog(status=SessionLog.START)
      writer.write_event(Event(step=step, session_log=start))
      return writer

  def _record(self, step: int, **numbers: float) -> None:
    with self._writing():
      self._log.write(json.dumps({"step": step, **numbers}) + "\n")
      self._log.flush()
      for name, value in numbers.items():
        said = summary.scalar(name, value)
        self._board.write_event(Event(wall_time=time.time(), step=step, summary=said))
      self._board.flush()

  @contextlib.contextmanager
  def _writing(self) -> Iterator[None]:
    try:
      yield
    except OSError as error:
      kept = "the last checkpoint is kept, and the same command goes on from there"
      raise cannot_write(self._folder, error, kept) from error

  def _show(self, text: str) -> None:
    if self._live:
      # A line that wraps could not be rewritten.
      width = shutil.get_terminal_size().columns - 1
      print(f"\r\033[K{text[:width]}", end="", flush=True)
      self._open_line = True
    else:
      print(text, flush=True)

  def _end_line(self) -> None:
    if self._open_line:
      print(flush=True)
      self._open_line = False


class NoProgress(Progress):
  """Of a process that is not the first: it reports nothing."""

  def __init__(self, workdir: pathlib.Path, *, label: str, start: int, num_steps: int):
    """Opens nothing."""

  def __exit__(self, *_: object) -> None:
    pass

  def train(self, step: int, *, loss: float, learning_rate: float) -> None:
    """Says nothing."""

  def validation(
    self, step: int, *, seconds: float, f1: float | None, xi: float, min_distance: int
  ) -> None:
    """Says nothing."""

  def line(self, text: str) -> None:
    """Says nothing."""


def _minutes(seconds: float) -> str:
  minutes, rest = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
