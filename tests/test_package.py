"""What others may rely on: the names of the package and what importing it costs."""

import inspect
import pathlib
import subprocess
import sys
import zipfile

import pytest
from hatchling.build import build_wheel

import micronet_jax as mn

ROOT = pathlib.Path(__file__).resolve().parents[1]

CONTRACT = {
  "load": ["path_or_name"],
  "match": ["detected", "annotated", "*radius=16.0"],
  "proximity_map": ["centers", "shape", "*alpha=3.0", "*radius=15.0"],
  "weighted_mse": ["prediction", "target", "*lam=5.0", "*scale=5.0"],
}


def test_importing_the_package_imports_nothing_heavy():
  code = "import sys, micronet_jax; print([m for m in ('jax', 'orbax', 'matplotlib')"
  code += " if m in sys.modules]); print(micronet_jax.proximity_map.__name__)"
  run = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  assert run.stdout.split("\n")[:2] == ["[]", "proximity_map"]


def test_public_names_are_classes_and_functions_of_the_package_that_say_what_they_do():
  root = pathlib.Path(mn.__file__).parent
  assert set(mn.__all__) <= set(dir(mn))  # what editors offer
  for name in set(mn.__all__) - {"__version__"}:
    each = getattr(mn, name)
    assert each.__name__ == name
    assert root in pathlib.Path(inspect.getsourcefile(each)).parents
    assert inspect.getdoc(each)
  with pytest.raises(AttributeError, match="no attribute 'nothing'"):
    _ = mn.nothing


@pytest.mark.parametrize("name", CONTRACT)
def test_arguments_and_defaults_that_others_rely_on(name):
  found = [
    "*" * (each.kind is each.KEYWORD_ONLY)
    + each.name
    + ("" if each.default is each.empty else f"={each.default!r}")
    for each in inspect.signature(getattr(mn, name)).parameters.values()
  ]
  assert found[: len(CONTRACT[name])] == CONTRACT[name]


def test_the_wheel_holds_all_that_the_package_is_made_of(tmp_path, monkeypatch):
  monkeypatch.chdir(ROOT)
  with zipfile.ZipFile(tmp_path / build_wheel(str(tmp_path))) as wheel:
    held = set(wheel.namelist())
    [about] = {name.split("/")[0] for name in held if ".dist-info/" in name}
    doors = wheel.read(f"{about}/entry_points.txt").decode().splitlines()
  package = {
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "micronet_jax").rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
  }
  assert package <= held
  static = "micronet_jax/annotate/static"
  assert {
    *("micronet_jax/napari.yaml", "micronet_jax/predict/page/page.html"),
    *(f"{static}/index.html", f"{static}/openseadragon/openseadragon.min.js"),
    f"{about}/licenses/{static}/openseadragon/LICENSE.txt",
    f"{about}/licenses/micronet_jax/weights/LICENSE",
  } <= held
  assert "micronet = micronet_jax.cli:start" in doors
  assert "micronet-jax = micronet_jax:napari.yaml" in doors
  assert {name.split("/")[0] for name in held} == {"micronet_jax", about}
