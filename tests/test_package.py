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


A_CONFIG = r"config is {}; it must be a Config of micronet_jax.config, such as Config"


@pytest.mark.parametrize("job", ["train_and_evaluate", "evaluate"])
@pytest.mark.parametrize(
  ("config", "given"),
  [
    ({"seed": 1}, "of type dict"),
    (None, "of type NoneType"),
    (mn.Config, "the class Config, not one of it"),
    (mn.PredictConfig(), "of type PredictConfig"),
    ("runs/mine", "of type str"),
  ],
)
def test_a_job_takes_a_config(tmp_path, job, config, given):
  with pytest.raises(mn.InputError, match=A_CONFIG.format(given)):
    getattr(mn, job)(config, tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_swapped_and_other_arguments_are_told_in_a_sentence(tmp_path):
  for job in (mn.evaluate, mn.train_and_evaluate):
    with pytest.raises(mn.InputError, match=A_CONFIG.format("of type str")):
      job("runs/mine", mn.Config())
    with pytest.raises(mn.InputError, match="workdir is of type NoneType"):
      job(mn.Config(init_from="base"), None)
  for wrong in (mn.Config(), None, 3):
    kind = type(wrong).__name__
    with pytest.raises(
      mn.InputError, match=f"^path_or_name is of type {kind}; it must"
    ):
      mn.load(wrong)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"images": "2"}, "images is of type str; it must be a whole number"),
    ({"images": 1.5}, "images is of type float; it must be a whole number"),
    ({"size": "64"}, "size is of type str; it must be a whole number"),
    ({"organs": 5}, "organs is of type int; it must be names, in a list or"),
    ({"organs": [5]}, "one of organs is of type int; it must be a name"),
    ({"data_dir": 5}, "data_dir is of type int; it must be a folder"),
    ({"name": "folder", "root": 5}, "root is of type int; it must be a folder"),
  ],
)
def test_data_are_asked_for_in_the_right_types(options, message):
  asked = {"name": "synthetic_he", "organs": "eye", **options}
  with pytest.raises(mn.InputError, match=message):
    mn.load_samples(**asked)
