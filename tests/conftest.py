"""Shared fixtures: real tissue, compiled programs, eight devices; the tests' order."""

import os
import pathlib
import shutil

from benchmarks.compiling import QUICKLY

# Tiny networks spend their time in the compiler. Results stay within the tests'
# tolerances either way.
os.environ["XLA_FLAGS"] = " ".join(
  [
    os.environ.get("XLA_FLAGS", ""),
    "--xla_force_host_platform_device_count=8",
    QUICKLY,
  ]
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import hypothesis
import jax
import pytest

hypothesis.settings.register_profile("busy machines", deadline=None)
hypothesis.settings.load_profile("busy machines")


def pytest_addoption(parser):
  parser.addoption("--slow", action="store_true", help="run the slow experiments too")


LONGEST = (
  *("test_smoke.py", "test_gpu_run.py", "test_tiled_detection.py", "test_step.py"),
  *("test_notebooks.py", "test_many_sizes.py", "test_processes.py", "test_card.py"),
  *("test_benchmarks.py", "test_tuning.py", "test_tuning_in_browser.py"),
  *("test_recipes.py", "test_whole_runs.py", "test_base.py", "test_micronet.py"),
  *("test_kills.py", "test_runs_that_go_wrong.py", "test_twins.py", "test_launch.py"),
  "test_browser.py",
)
"""Files that take longest: they begin first, so that several workers end together."""


def pytest_collection_modifyitems(config, items):
  turns = {name: turn for turn, name in enumerate(LONGEST)}
  items.sort(key=lambda item: turns.get(item.path.name, len(LONGEST)))
  if config.getoption("--slow"):
    return
  skip = pytest.mark.skip(reason="slow experiment: run with --slow")
  for item in items:
    if "slow" in item.keywords:
      item.add_marker(skip)


@pytest.fixture(scope="session", autouse=True)
def compiled_programs(tmp_path_factory):
  """Programs are kept as long as the tests run: large ones, and small ones too of the
  processes that tests start, which compile the same again and again. These have a place
  of their own, since some are killed while they write there.
  """
  cache = tmp_path_factory.mktemp("cache")
  programs = str(cache / "xla-of-others")
  jax.config.update("jax_compilation_cache_dir", str(cache / "xla"))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("XDG_CACHE_HOME", str(cache))
    patch.setenv("JAX_COMPILATION_CACHE_DIR", programs)
    patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    yield


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
  """The folder of real tissue; tests that ask for it skip where there is none."""
  beside = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
  root = pathlib.Path(os.environ.get("MICRONET_DATA", beside))
  if not root.is_dir():
    pytest.skip("no real tissue: set MICRONET_DATA to its folder")
  return root


BROWSER_ARGUMENTS = [
  *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
  *("--no-first-run", "--disable-background-networking"),
  *("--disable-component-update", "--disable-sync"),
]


@pytest.fixture(scope="session")
def browser():
  """A real one."""
  names = ("chromium", "chromium-browser", "google-chrome")
  found = next(filter(None, map(shutil.which, names)), None)
  if found is None:
    pytest.skip("no Chromium here: apt-get install chromium")
  api = pytest.importorskip("playwright.sync_api")
  api.expect.set_options(timeout=200_000)  # where much else runs
  with api.sync_playwright() as playwright:
    launched = playwright.chromium.launch(executable_path=found, args=BROWSER_ARGUMENTS)
    yield launched
    launched.close()
