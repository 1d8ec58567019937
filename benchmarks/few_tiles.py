"""How few annotated tiles are enough: fine-tuned and from scratch, on one tissue.

  python -m benchmarks.few_tiles --root ../shared/data/monuseg --organs prostate \
    --figure docs/few_tiles.png

The main job (configs/finetune.py), with 1, 2, 4 and 8 of the training tiles and some
seeds of patches and of the weights from scratch; tiles, validation and test patients
are always the same. Runs lie in `--workdir` and are not repeated.
"""

import argparse
import pathlib
import statistics
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from matplotlib.figure import Figure

import micronet_jax as mn
from benchmarks import report
from configs import finetune
from micronet_jax import figures
from micronet_jax.config import Config
from micronet_jax.files import digest
from micronet_jax.settings import as_dict, changed, determining, from_dict
from micronet_jax.training.data import load_data

RADIUS = "12"


class Outcome(NamedTuple):
  """One run: how much was annotated, and F1 within 12 px by detector."""

  tiles: int
  seed: int
  nuclei: int
  f1: dict[str, float]


def main(argv: Sequence[str] | None = None) -> None:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--json", default="", help="file for the numbers")
  parser.add_argument("--root", required=True, help="of a `folder` data set")
  parser.add_argument("--organs", default="")
  parser.add_argument("--weights", default="base")
  parser.add_argument("--tiles", default="1,2,4,8")
  parser.add_argument("--seeds", default="0,1,2")
  parser.add_argument("--num_steps", type=int, default=150)
  parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs"))
  parser.add_argument("--data_dir", default="", help="for prepared data")
  parser.add_argument("--figure", type=pathlib.Path)
  options = parser.parse_args(argv)
  report.print_machine()
  config = changed(
    from_dict(Config, finetune.get_config().to_dict()),
    {
      "target.name": "folder",
      "target.root": options.root,
      "target.organs": options.organs,
      "init_from": options.weights,
      "data_dir": options.data_dir,
      "num_steps": options.num_steps,
    },
  )
  outcomes: list[Outcome] = []

  def rows() -> Iterator[dict[str, Any]]:
    for tiles in map(int, options.tiles.split(",")):
      for seed in map(int, options.seeds.split(",")):
        outcome = train(config, tiles, seed, options.workdir)
        outcomes.append(outcome)
        scores = {name: f"{f1:.3f}" for name, f1 in outcome.f1.items()}
        yield {"tiles": outcome.tiles, "seed": seed, "nuclei": outcome.nuclei, **scores}

  found = report.print_table(rows())
  report.write_json(options.json, found, config=as_dict(config))
  if options.figure:
    figures.save_figure(draw(outcomes), options.figure)


def train(config: Config, tiles: int, seed: int, place: pathlib.Path) -> Outcome:
  """The main job on so many tiles; one that is finished is only scored."""
  share = min(1.0, tiles / len(load_data(config).train))
  config = changed(config, {"target_fraction": share, "seed": seed})
  used = load_data(config).train
  name = digest(determining(config))
  result = mn.train_and_evaluate(config, place / f"few-tiles-{name}")
  rows = {**result["compared"], result["detector"]: result}
  f1 = {name: row["radius_px"][RADIUS]["f1"] for name, row in rows.items()}
  return Outcome(len(used), seed, sum(len(sample.centers) for sample in used), f1)


def draw(outcomes: Sequence[Outcome]) -> Figure:
  """F1 over annotated nuclei: a dot a run, a line through the means."""
  figure, (axes,) = figures.new_figure((6.0, 4.2), 1)
  names = list(outcomes[0].f1)
  sizes = sorted({outcome.tiles for outcome in outcomes})
  for name, color, mark in zip(names, figures.COLORS, figures.MARKS, strict=False):
    dots = [(outcome.nuclei, outcome.f1[name]) for outcome in outcomes]
    axes.plot(*zip(*dots, strict=True), mark, color=color, markersize=4, alpha=0.5)
    groups = [[o for o in outcomes if o.tiles == size] for size in sizes]
    means = [
      [statistics.mean(value) for value in zip(*pairs, strict=True)]
      for pairs in ([(o.nuclei, o.f1[name]) for o in group] for group in groups)
    ]
    axes.plot(*zip(*means, strict=True), color=color, marker=mark, label=name)
  ticks = {
    round(statistics.mean(o.nuclei for o in outcomes if o.tiles == size)): size
    for size in sizes
  }
  axes.set(xscale="log", ylabel=f"F1 within {RADIUS} px")
  axes.set(xlabel="annotated nuclei that train (validation has its own)")
  axes.set_xticks(
    [*ticks],
    [f"{n}\n{size} tile{'s' if size > 1 else ''}" for n, size in ticks.items()],
  )
  axes.minorticks_off()
  axes.grid(color="0.9")
  axes.legend(frameon=False, fontsize=8)
  return figure


if __name__ == "__main__":
  main()
