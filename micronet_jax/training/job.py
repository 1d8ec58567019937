"""Training a detector, from data to report: `train_and_evaluate(config, workdir)`."""

import pathlib
import time
from typing import Any

from micronet_jax import checkpoints
from micronet_jax.config import check_config, claim_workdir
from micronet_jax.datasets.provenance import images_seen
from micronet_jax.detection.detector import Detector
from micronet_jax.evaluation import report
from micronet_jax.evaluation.thresholds import choose_threshold
from micronet_jax.signals import caught_signals
from micronet_jax.training.data import load_data
from micronet_jax.training.loop import fit
from micronet_jax.training.run import prepare_training


def train_and_evaluate(config: Any, workdir: str | pathlib.Path) -> dict[str, Any]:
  """Trains, or resumes, and reports on held-out images.

  Args:
    config: the fields of configs/common.py.
    workdir: of the run. The same config continues the run that is there.

  Returns:
    What `report.json` holds.

  Raises:
    InputError: a field, file or checkpoint that cannot be used, or a loss that is
      not finite.
    Stopped: on SIGINT or SIGTERM, after saving.
  """
  began = time.monotonic()
  workdir = pathlib.Path(workdir)
  check_config(config)
  start = checkpoints.load_weights(config.init_from) if config.init_from else None
  prepared = prepare_training(config, start=start)
  data = load_data(config, trained_on=images_seen(start[1]) if start else ())
  claim_workdir(config, workdir)
  rows: dict[str, Detector] = {}
  if start and "base" in config.compare:
    base = Detector(*start)
    rows["base"] = base
    choice = choose_threshold(config, base, data.validation)
    rows["base, threshold re-chosen"] = base.with_threshold(
      xi=choice.xi, min_distance=choice.min_distance
    )
  with caught_signals() as stop:
    if "scratch" in config.compare:
      scratch = prepare_training(config) if start else prepared
      scratch = scratch._replace(recipe=scratch.recipe._replace(frozen=0))
      rows["from scratch"] = fit(
        config, data, workdir / "scratch", scratch, label="from scratch", stop=stop
      )
    name = "fine-tuned" if start else "trained"
    rows[name] = fit(config, data, workdir, prepared, label=name, stop=stop)
  draw_course(workdir, name)
  return report.write_report(
    workdir,
    rows,
    data.test or data.validation,
    job=config.job,
    dataset=data.name,
    part="test" if data.test else "validation",
    began=began,
  )


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
