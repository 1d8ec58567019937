"""Training a detector, from data to report: `train_and_evaluate(config, workdir)`.

Called by `launch.py` (configs/train.py, finetune.py, auxiliary.py) and as
`micronet_jax.train_and_evaluate`; reads from top to bottom.
"""

import contextlib
import dataclasses
import pathlib
import threading
import time
from typing import Any

import jax

from micronet_jax import checkpoints, processes
from micronet_jax.config import Config, check_config
from micronet_jax.datasets.provenance import provenance_of
from micronet_jax.detection.detector import Detector
from micronet_jax.devices import check_platform, use_compilation_cache
from micronet_jax.errors import InputError
from micronet_jax.evaluation import report
from micronet_jax.evaluation.thresholds import choose_threshold
from micronet_jax.files import digest, write_json
from micronet_jax.locks import locked
from micronet_jax.settings import as_dict
from micronet_jax.signals import caught_signals
from micronet_jax.stored import DIVERGED, read_stored
from micronet_jax.training.data import Data, load_data
from micronet_jax.training.loop import Diverged, fit, stop_if_asked
from micronet_jax.training.run import follow_checkpoint, prepare_training
from micronet_jax.workdir import as_workdir, claim_workdir


def train_and_evaluate(config: Config, workdir: str | pathlib.Path) -> dict[str, Any]:
  """Trains, or resumes, and reports on held-out images, if any are.

  Args:
    config: `Config()` is the paper's recipe; `settings.changed` changes fields.
    workdir: of the run. The same config continues the run that is there.

  Returns:
    What `report.json` holds.

  Raises:
    InputError: a field, file or checkpoint that cannot be used, data that have changed
      since the run began, or a loss that is not finite.
    Stopped: on SIGINT or SIGTERM before the scores, after saving.
  """
  began = time.monotonic()
  config = check_config(config)
  workdir = as_workdir(workdir)
  check_platform()
  use_compilation_cache()
  start = checkpoints.load_weights(config.init_from) if config.init_from else None
  meta = start[1] if start else None
  config = follow_checkpoint(config, meta)
  prepared = prepare_training(config, start=start)
  seen = provenance_of(meta) if meta else None
  data = processes.after_first(lambda: load_data(config, seen=seen))
  check_processes(config, data)
  name = "fine-tuned" if start else "trained"
  with contextlib.ExitStack() as held, caught_signals() as stop:
    processes.from_first(lambda: held.enter_context(locked(workdir)))
    processes.from_first(lambda: claim_workdir(config, workdir))
    trained = fit(config, data, workdir, prepared, label=name, stop=stop)
    rows: dict[str, Detector] = {}
    failed: dict[str, str] = {}
    if data.validation:
      rows, failed = compared(config, data, workdir, start, stop)
  stop_if_asked(stop)  # from here on, signals do what they did before
  rows[name] = trained
  about = report.About(config.job, data.name, began, unit=data.split.unit)

  def conclude() -> dict[str, Any]:
    draw_course(workdir, name)
    if not data.validation:
      return report.write_unscored(workdir, name, trained, data.train, about=about)
    part = "test" if data.test else "validation"
    held_out = data.test or data.validation
    return report.write_report(
      workdir, rows, held_out, part=part, about=about, failed=failed
    )

  return processes.from_first(conclude)


def check_processes(config: Config, data: Data) -> None:
  """Makes sure that all processes train the same on the same.

  Raises:
    InputError: in a process that would not.
  """
  processes.check_alike(digest(as_dict(config)), "fields of the config")
  processes.check_alike(digest(data.provenance.to_json()), "images")
  processes.check_alike(str(jax.local_device_count()), "devices in number")


def compared(
  config: Config,
  data: Data,
  workdir: pathlib.Path,
  start: tuple[Any, dict[str, Any]] | None,
  stop: threading.Event,
) -> tuple[dict[str, Detector], dict[str, str]]:
  """What the trained network is compared with, as `config.compare` asks.

  Returns:
    Detectors by label; and by label one sentence on what failed.
  """
  rows: dict[str, Detector] = {}
  failed: dict[str, str] = {}
  if start and "base" in config.compare:
    base = Detector(*start)
    rows["base"] = base

    def choose() -> dict[str, Any]:
      choice = choose_threshold(config, base, data.validation)
      return {"xi": choice.xi, "min_distance": choice.min_distance}

    chosen = base.with_search(config).with_threshold(**processes.from_first(choose))
    rows["base, threshold re-chosen"] = chosen
  if "scratch" in config.compare:
    folder, label = workdir / "scratch", "from scratch"
    note = folder / "diverged.json"  # it would diverge again
    noted = processes.from_first(lambda: read_stored(note, DIVERGED))
    failure = (noted or {}).get("diverged")
    if not failure:
      plain = dataclasses.replace(config, init_from="", freeze_blocks=0)
      try:
        rows[label] = fit(
          plain,
          data.from_scratch(),
          folder,
          prepare_training(plain),
          label=label,
          stop=stop,
        )
      except InputError as error:
        diverged = isinstance(error, Diverged)
        if processes.process_count() > 1 and not diverged:
          raise  # not all may have it, and the others would wait
        failure = str(error)
        if diverged and processes.is_first():
          write_json(note, {"diverged": failure})
    if failure:
      print(f"{label}: {failure}", flush=True)
      failed[label] = failure
  return rows, failed


def draw_course(workdir: pathlib.Path, label: str) -> None:
  """Draws loss and validation F1 of a run, and of the one from scratch beside it."""
  from micronet_jax import figures  # matplotlib takes a second to import
  from micronet_jax.training import curves

  histories = {
    name: curves.read_history(folder)
    for name, folder in (("from scratch", workdir / "scratch"), (label, workdir))
    if (folder / "log.jsonl").exists()
  }
  if histories:
    figures.save_figure(curves.training_curves(histories), workdir / "training.png")
