"""Figures are written whole or not at all, and leave no trace."""

import sys
import threading

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from micronet_jax import figures
from micronet_jax.errors import InputError


@pytest.fixture
def figure():
  """One nucleus in the middle of a white square of 2 inches."""
  figure, (axes,) = figures.new_figure((2, 2), 1)
  axes.set(xlim=(0, 4), ylim=(0, 4))
  axes.set_axis_off()
  axes.add_line(figures.point_line(figures.NUCLEUS, [2], [2], "nucleus"))
  return figure


def test_save_png(figure, tmp_path):
  path = tmp_path / "new" / "nucleus.png"
  figures.save_figure(figure, path)
  with Image.open(path) as image:
    pixels = np.asarray(image.convert("RGB"))
  assert pixels.shape == (300, 300, 3)  # 150 dots an inch
  drawn = np.argwhere((pixels != 255).any(2))
  np.testing.assert_allclose(drawn.mean(0), 149.5, atol=1)
  # 9 points across, and the line with its rim: 9 + 1.3 + 1.6 points of 150 / 72 px.
  np.testing.assert_allclose(np.ptp(drawn, axis=0) + 1, 11.9 * 150 / 72, atol=2)
  ring = (pixels == [0x56, 0xB4, 0xE9]).all(2)
  assert ring.sum() > 50
  assert not ring[146:154, 146:154].any()  # the nucleus stays to be seen
  assert [entry.name for entry in path.parent.iterdir()] == ["nucleus.png"]
  before = path.read_bytes()
  figures.save_figure(figure, path)
  assert path.read_bytes() == before


def test_save_pdf(figure, tmp_path):
  path = tmp_path / "nucleus.pdf"
  figures.save_figure(figure, path)
  written = path.read_bytes()
  assert written.startswith(b"%PDF")
  assert b"CreationDate" not in written
  figures.save_figure(figure, path)
  assert path.read_bytes() == written


def test_save_refuses_other_endings(figure, tmp_path):
  with pytest.raises(InputError, match=r"\.png or \.pdf"):
    figures.save_figure(figure, tmp_path / "curve.docx")


def test_failed_save_leaves_the_old_picture(figure, tmp_path, monkeypatch):
  path = tmp_path / "a.png"
  path.write_bytes(b"old")

  def fail(beside, **_):
    beside.write_bytes(b"half")
    raise OSError("disk full")

  monkeypatch.setattr(figure, "savefig", fail)
  with pytest.raises(OSError, match="disk full"):
    figures.save_figure(figure, path)
  assert path.read_bytes() == b"old"
  assert len(list(tmp_path.iterdir())) == 1


def test_no_global_state(figure, tmp_path):
  settings = dict(mpl.rcParams)
  failures = []

  def draw():
    try:
      figures.save_figure(figure, tmp_path / "thread.png")
    except Exception as error:
      failures.append(error)

  thread = threading.Thread(target=draw)
  thread.start()
  thread.join()
  assert not failures
  assert dict(mpl.rcParams) == settings
  if "matplotlib.pyplot" in sys.modules:
    assert sys.modules["matplotlib.pyplot"].get_fignums() == []


def test_panels_beyond_four_columns_are_drawn_below():
  names = [[f"{target}: {kind}" for target in "ABCDEF"] for kind in ("one", "two")]
  series = {"s": [(1.0, 0.5, 0.1), (2.0, 0.6, 0.1)]}
  panels = {name: series for row in names for name in row}
  looks = figures.choose_looks(["s"])
  figure = figures.draw_panels(panels, names, looks, xlabels=["first", "second"])
  drawn = [panel for panel in figure.axes if panel.axison]
  assert len(figure.axes) == 16
  told = [(panel.get_title(), panel.get_xlabel()) for panel in drawn]
  assert told[:8] == [(t, "first") for t in "ABCD"] + [("", "second")] * 4
  assert told[8:] == [(t, "first") for t in "EF"] + [("", "second")] * 2
  assert all(panel.lines or panel.containers for panel in drawn)
  assert figure.get_size_inches()[0] <= 16
