"""The house: who imports whom, what starts without what, names, and sizes."""

import ast
import collections
import graphlib
import importlib
import json
import os
import pathlib
import subprocess
import sys

import grimp
import numpy as np
import PIL.Image
from networks import META, random_weights

from micronet_jax import checkpoints

ROOT = pathlib.Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "micronet_jax").rglob("*.py"))
TREES = {path.relative_to(ROOT): ast.parse(path.read_text("utf-8")) for path in FILES}
LONGEST_FILE, LONGEST_FUNCTION = 400, 60  # lines

# Of several homes, by the reason why.
SHARED_NAMES = {
  "Builder",  # TFDS finds the builder of a data set by this name
}

# What a user who only detects nuclei need not wait for, nor have.
NOT_FOR_DETECTING = (
  "micronet_jax.training",
  "micronet_jax.evaluation",
  "micronet_jax.checking",
  "micronet_jax.datasets",
  "micronet_jax.studies",
  "ml_collections",
  "tensorflow_datasets",
)


def test_rooms_import_only_what_lies_below_them():
  code = "import sys; from importlinter.cli import lint_imports;"
  code += " sys.exit(lint_imports(no_cache=True))"
  run = subprocess.run(
    [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
  )
  assert run.returncode == 0, run.stdout + run.stderr
  assert " 0 broken" in run.stdout


DETECT = """
import json, sys
from micronet_jax import cli
arguments = ["detect", "image.png", "-o", "out", "-w", "weights", "--format", "csv"]
status = cli.main(arguments)
print(json.dumps([status, sorted(sys.modules)]))
"""


def test_detecting_needs_neither_training_nor_evaluation(tmp_path):
  checkpoints.export_weights(
    tmp_path / "weights", random_weights(), META, dtype="float32"
  )
  pixels = np.random.default_rng(0).integers(90, 200, (48, 64, 3), np.uint8)
  PIL.Image.fromarray(pixels).save(tmp_path / "image.png")
  paths = {"PYTHONPATH": str(ROOT), "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "xla")}
  run = subprocess.run(
    [sys.executable, "-c", DETECT],
    cwd=tmp_path,
    env=os.environ | paths,
    capture_output=True,
    text=True,
  )
  assert run.returncode == 0, run.stderr
  status, modules = json.loads(run.stdout.splitlines()[-1])
  assert status == 0, run.stderr
  assert (tmp_path / "out/image.csv").read_text().startswith("x,y,score\n")
  assert "micronet_jax.predict.job" in modules  # it was this process that detected
  assert [name for name in modules if name.startswith(NOT_FOR_DETECTING)] == []


def public_definitions():
  """Names of public classes and functions, and the modules that define them."""
  homes = collections.defaultdict(list)
  for path, tree in TREES.items():
    for node in tree.body:
      kinds = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
      if isinstance(node, kinds) and not node.name.startswith("_"):
        homes[node.name].append(str(path))
  return homes


def test_no_module_imports_itself_by_way_of_others():
  graph = grimp.build_graph("micronet_jax", exclude_type_checking_imports=True)
  imports = graph.find_modules_directly_imported_by
  imported = {module: imports(module) for module in graph.modules}
  graphlib.TopologicalSorter(imported).prepare()  # else CycleError names the circle


def test_no_two_public_classes_or_functions_have_one_name():
  shared = {
    name: homes
    for name, homes in public_definitions().items()
    if len(homes) > 1 and name not in SHARED_NAMES
  }
  assert shared == {}


def test_modules_export_what_there_is():
  """And no name of a package is that of a module in it, which would hide it."""
  for path, tree in TREES.items():
    name = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
    if not any("__all__" in ast.dump(node) for node in tree.body):
      continue
    module = importlib.import_module(name)
    for exported in module.__all__:
      assert hasattr(module, exported), (name, exported)
      inside = [path.parent / exported / "__init__.py", path.parent / f"{exported}.py"]
      assert not any((ROOT / each).exists() for each in inside), (name, exported)


def test_files_are_short():
  lines = {str(path.relative_to(ROOT)): len(_lines(path)) for path in FILES}
  assert {path: n for path, n in lines.items() if n > LONGEST_FILE} == {}


def _lines(path):
  return path.read_text("utf-8").splitlines()


def test_functions_are_short():
  long = {
    f"{path}:{node.lineno} {node.name}": length
    for path, tree in TREES.items()
    for node in ast.walk(tree)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    and (length := node.end_lineno - node.lineno + 1) > LONGEST_FUNCTION
  }
  assert long == {}


def test_every_module_begins_with_what_it_is():
  undocumented = [
    str(path) for path, tree in TREES.items() if not ast.get_docstring(tree)
  ]
  assert undocumented == []
