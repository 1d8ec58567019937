"""The notebooks run from the first cell to the last, and are committed with outputs."""

import importlib.util
import pathlib
import re

import nbformat
import numpy as np
import pytest
import tifffile

from benchmarks.compiling import QUICKLY

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MACHINE = re.compile(
  r"/(?:work|root|home|tmp|usr|opt|mnt|var|Users|content)/|[A-Z]:\\\\|site-packages"
)
SPAM = re.compile(r"\b\w*Warning\b|\bWARNING\b|\bINFO\b|it/s\]|Traceback")

pytestmark = pytest.mark.filterwarnings("ignore:::jupyter_client")


def _execute(path):
  spec = importlib.util.spec_from_file_location("execute", FOLDER / "execute.py")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  # One device and a compiler that optimises less: small networks compile, mostly.
  return module.execute(
    path, MICRONET_BUDGET="smoke", JAX_PLATFORMS="cpu", XLA_FLAGS=QUICKLY
  )


def _outputs(notebook):
  """(cell id, output) of all cells."""
  cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
  return [(cell.id, output) for cell in cells for output in cell.outputs]


def _check_outputs(notebook):
  """No errors, nothing on the error stream, no paths of a machine, no warnings."""
  for cell, output in _outputs(notebook):
    assert output.output_type != "error", cell
    assert output.get("name") != "stderr", (cell, output.get("text"))
    for text in (output.get("text", ""), *_texts(output)):
      assert not MACHINE.search(text), (cell, text)
      assert not SPAM.search(text), (cell, text)


def _texts(output):
  data = output.get("data", {})
  return [text for kind, text in data.items() if kind.startswith("text/")]


def test_there_are_notebooks():
  assert [path.name[:2] for path in NOTEBOOKS] == ["1_", "2_", "3_"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path):
  before = path.read_bytes()
  notebook = _execute(path)
  _check_outputs(notebook)
  counts = [cell.execution_count for cell in notebook.cells if "outputs" in cell]
  assert counts == list(range(1, len(counts) + 1))
  assert any("image/png" in output.get("data", {}) for _, output in _outputs(notebook))
  assert path.read_bytes() == before
  assert not (FOLDER / "runs").exists()


def test_an_image_of_ones_own_without_nuclei_is_shown_as_such(tmp_path):
  """White, of 0.5 microns as its file says: 100 pixels are 0.0025 mm²."""
  white = np.full((100, 100, 3), 255, np.uint8)
  density = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
  tifffile.imwrite(tmp_path / "white.tif", white, photometric="rgb", **density)
  notebook = nbformat.read(FOLDER / "1_detect.ipynb", as_version=4)
  cell = next(cell for cell in notebook.cells if cell.id == "image")
  assert "IMAGE = None" in cell.source
  own = f'IMAGE = r"{tmp_path / "white.tif"}"'
  cell.source = cell.source.replace("IMAGE = None", own)
  nbformat.write(notebook, tmp_path / "own.ipynb")
  said = {
    cell: o.text
    for cell, o in _outputs(_execute(tmp_path / "own.ipynb"))
    if o.get("name") == "stdout"
  }
  assert said["detect"].splitlines() == [
    "0 nuclei in 100 x 100 pixels",
    "0.0025 mm², 0 nuclei per mm²",
  ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_committed_notebook_holds_a_whole_run(path):
  notebook = nbformat.read(path, as_version=4)
  nbformat.validate(notebook)
  _check_outputs(notebook)
  code = [cell for cell in notebook.cells if cell.cell_type == "code"]
  assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
  pictures = [o for _, o in _outputs(notebook) if "image/png" in o.get("data", {})]
  assert pictures
  assert not any("smoke" in text for _, o in _outputs(notebook) for text in _texts(o))
  for cell in notebook.cells:
    assert not MACHINE.search(cell.source), cell.id
  assert path.stat().st_size < 4_000_000
