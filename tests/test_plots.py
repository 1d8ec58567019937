"""Pictures: what is in them, that they can be written, that they leave no trace."""

import sys
import threading

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from micronet_jax import figures
from micronet_jax.errors import InputError
from micronet_jax.evaluation import matching, pictures, scores
from micronet_jax.training.curves import History, training_curves

TILES = 4


@pytest.fixture(scope="module")
def tiles():
  """Random tiles with known numbers of matched, missed and false points."""
  rng = np.random.default_rng(0)
  images, detected, annotated, matches, titles = [], [], [], [], []
  for index in range(TILES):
    lattice = np.stack(np.meshgrid(*[np.arange(8, 100, 20.0)] * 2), -1).reshape(-1, 2)
    images.append(rng.integers(120, 255, (100, 110, 3), np.uint8))
    annotated.append(lattice[: 20 - index])
    detected.append(lattice[3 + index :] + 1)
    matches.append(matching.match(detected[-1], annotated[-1], radius=6))
    titles.append(f"kidney__{index}")
  return images, detected, annotated, matches, titles


def curve(best):
  f1 = np.array([0.5, best, 0.4])
  xi = np.array([0, 0.25, 0.5])
  return scores.Curve(xi, np.array([0.4, 0.8, 0.9]), f1[::-1], f1, np.ones(3))


def history(steps=400):
  at = np.arange(steps)
  return History(at, 1 / (1 + at), at[::40], np.sin(at[::40] / 120))


def legend_texts(figure):
  return [text.get_text() for text in figure.legends[0].get_texts()]


def marks(axes, mark):
  (line,) = [line for line in axes.get_lines() if line.get_label() == mark.label]
  return line


def assert_nothing_overlaps_or_leaves(figure):
  """The legend and every title and axis label lie within the figure, apart."""
  figure.draw_without_rendering()
  renderer = figure.canvas.get_renderer()
  texts = [t for axes in figure.axes for t in (axes.title, axes.xaxis.label)]
  texts += [axes.yaxis.label for axes in figure.axes] + figure.legends
  boxes = [each.get_window_extent(renderer) for each in texts]
  boxes = [box for box in boxes if box.width > 1]
  for index, box in enumerate(boxes):
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= figure.bbox.x1
    assert box.y1 <= figure.bbox.y1
    assert not any(box.overlaps(other) for other in boxes[:index])


def test_sheet_draws_every_point_where_it_is(tiles):
  _, detected, annotated, matches, titles = tiles
  figure = pictures.detection_sheet(*tiles, radius=6)
  totals = np.zeros(3, int)
  each = zip(figure.axes, detected, annotated, matches, titles, strict=False)
  for axes, found, truth, result, title in each:
    matched, missed, false = (
      marks(axes, mark) for mark in (pictures.MATCHED, pictures.MISSED, pictures.FALSE)
    )
    counts = [len(line.get_xdata()) for line in (matched, missed, false)]
    assert counts == [result.tp, result.fn, result.fp]
    assert min(counts) > 0
    totals += counts
    drawn = np.stack([matched.get_ydata(), matched.get_xdata()], 1)
    np.testing.assert_array_equal(drawn, found[result.pairs[:, 0]])
    lost = {(y, x) for y, x in zip(missed.get_ydata(), missed.get_xdata(), strict=True)}
    assert lost <= set(map(tuple, truth))
    heading = axes.get_title()
    f1 = scores.pool_matches([result])["f1"]
    assert heading.startswith(f"{title}\nF1 {f1:.2f} within 6 px: {counts[0]} matched")
  assert legend_texts(figure) == [
    f"{name} ({total})"
    for name, total in zip(("matched", "missed", "false"), totals, strict=True)
  ]


def test_marks_differ_in_shape_and_colour(tiles):
  axes = pictures.detection_sheet(*tiles).axes[0]
  lines = [
    marks(axes, mark) for mark in (pictures.MATCHED, pictures.MISSED, pictures.FALSE)
  ]
  assert len({line.get_marker() for line in lines}) == 3
  assert len({line.get_markeredgecolor() for line in lines}) == 3
  assert all(line.get_path_effects() for line in lines)  # the halo


@pytest.mark.parametrize(("count", "columns"), [(1, 3), (2, 3), (4, 3), (4, 2), (3, 1)])
def test_sheet_layout(tiles, count, columns):
  figure = pictures.detection_sheet(*(each[:count] for each in tiles), columns=columns)
  assert sum(bool(axes.images) for axes in figure.axes) == count
  assert_nothing_overlaps_or_leaves(figure)


def test_sheet_of_tiles_without_points(tiles):
  none = np.zeros((0, 2))
  result = matching.match(none, none)
  figure = pictures.detection_sheet([tiles[0][0]], [none], [[]], [result], ["empty"])
  assert legend_texts(figure) == ["matched (0)", "missed (0)", "false (0)"]


def test_sheet_arguments(tiles):
  with pytest.raises(InputError, match="one entry per tile"):
    pictures.detection_sheet(tiles[0], *(each[:1] for each in tiles[1:]))
  with pytest.raises(InputError, match="columns"):
    pictures.detection_sheet(*tiles, columns=0)


@pytest.mark.parametrize("count", [1, 2, 9])
def test_precision_recall(count):
  curves = {f"γ = {index}": curve(0.6 + 0.01 * index) for index in range(count)}
  figure = pictures.precision_recall(curves, title="kidney")
  axes = figure.axes[0]
  lines = [
    line for line in axes.get_lines() if line.get_label() in legend_texts(figure)
  ]
  assert len(lines) == count
  for line, (label, data) in zip(lines, curves.items(), strict=True):
    np.testing.assert_array_equal(line.get_xdata(), data.recall)
    np.testing.assert_array_equal(line.get_ydata(), data.precision)
    assert line.get_markevery() == [1]
    assert line.get_label() == f"{label}: best F1 {data.f1[1]:.3f} at ξ = 0.25"
    assert axes.get_xlim()[0] <= data.recall.min()
    assert axes.get_ylim()[0] <= data.precision.min()
  styles = {(line.get_color(), line.get_linestyle()) for line in lines}
  assert len(styles) == count
  assert_nothing_overlaps_or_leaves(figure)


def test_training_curves():
  runs = {"from scratch": history(), "fine-tuned": history(60)}
  figure = training_curves(runs, title="kidney")
  above, below = figure.axes
  assert above.get_yscale() == "log"
  assert above.get_ylabel() == "training loss (pale: as logged)"
  stars = [line for line in below.get_lines() if line.get_marker() == "*"]
  for star, run in zip(stars, runs.values(), strict=True):
    best = np.argmax(run.val_f1)
    assert star.get_xdata() == run.val_steps[best]
    assert star.get_ydata() == run.val_f1[best]
  texts = legend_texts(figure)
  assert texts[0].startswith("from scratch (best F1")
  assert len(texts) == 3
  assert_nothing_overlaps_or_leaves(figure)


def test_training_curve_smooths_long_logs_only():
  loss = np.full(1000, 2.0)
  loss[::2] = 4
  figure = training_curves({"long": History(np.arange(1000), loss)})
  pale, strong = figure.axes[0].get_lines()
  np.testing.assert_array_equal(pale.get_ydata(), loss)
  np.testing.assert_allclose(strong.get_ydata(), 3)
  assert strong.get_xdata()[0] == pytest.approx(9.5)  # the middle of the first 20
  short = training_curves({"short": History([1, 2, 3], [3, 2, 1])})
  (line,) = short.axes[0].get_lines()
  np.testing.assert_array_equal(line.get_ydata(), [3, 2, 1])


def empty_figures():
  nothing = scores.precision_recall_curve([], [])
  return [
    pictures.precision_recall({}),
    pictures.precision_recall({"nothing": nothing}),
    pictures.detection_sheet([], [], [], [], []),
    training_curves({}),
    training_curves({"nothing": History([], [])}),
  ]


@pytest.mark.parametrize("index", range(5))
def test_empty_input(index, tmp_path):
  figures.save_figure(empty_figures()[index], tmp_path / "empty.png")
  with Image.open(tmp_path / "empty.png") as image:
    assert image.size[0] >= 600


def test_save_png(tiles, tmp_path):
  path = tmp_path / "new" / "sheet.png"
  figure = pictures.detection_sheet(*tiles)
  figures.save_figure(figure, path)
  with Image.open(path) as image:
    image.verify()
    assert image.size == tuple(np.round(figure.get_size_inches() * 150))
  assert [entry.name for entry in path.parent.iterdir()] == ["sheet.png"]
  before = path.read_bytes()
  figures.save_figure(figure, path)
  assert path.read_bytes() == before


def test_save_pdf(tmp_path):
  path = tmp_path / "curve.pdf"
  figures.save_figure(pictures.precision_recall({"a": curve(0.7)}), path)
  written = path.read_bytes()
  assert written.startswith(b"%PDF")
  assert b"CreationDate" not in written


def test_save_refuses_other_endings(tmp_path):
  with pytest.raises(InputError, match=r"\.png or \.pdf"):
    figures.save_figure(pictures.precision_recall({}), tmp_path / "curve.docx")


def test_failed_save_leaves_the_old_picture(tmp_path, monkeypatch):
  path = tmp_path / "a.png"
  path.write_bytes(b"old")
  figure = pictures.precision_recall({})

  def fail(beside, **_):
    beside.write_bytes(b"half")
    raise OSError("disk full")

  monkeypatch.setattr(figure, "savefig", fail)
  with pytest.raises(OSError, match="disk full"):
    figures.save_figure(figure, path)
  assert path.read_bytes() == b"old"
  assert len(list(tmp_path.iterdir())) == 1


def test_no_global_state(tiles, tmp_path):
  settings = dict(mpl.rcParams)
  failures = []

  def draw():
    try:
      figures.save_figure(pictures.detection_sheet(*tiles), tmp_path / "thread.png")
    except Exception as error:
      failures.append(error)

  thread = threading.Thread(target=draw)
  thread.start()
  thread.join()
  assert not failures
  assert dict(mpl.rcParams) == settings
  if "matplotlib.pyplot" in sys.modules:
    assert sys.modules["matplotlib.pyplot"].get_fignums() == []
