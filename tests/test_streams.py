"""Signals, closed pipes and encodings: one sentence, and nothing is lost."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from micronet_jax.errors import Stopped
from micronet_jax.signals import interruptible

ROOT = pathlib.Path(__file__).resolve().parents[1]
PRELUDE = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"


def run(script, *, head=False, **environment):
  command = [sys.executable, "-c", PRELUDE + script]
  options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
  with subprocess.Popen(command, env={**os.environ, **environment}, **options) as child:
    if head:
      child.stdout.close()
      child.stdout = None
    out, err = child.communicate(timeout=300)
  return child.returncode, out or b"", err.decode(errors="replace")


def loaded_while_a_signal_comes():
  """As a compiled module does it."""
  try:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)
  except KeyboardInterrupt:
    raise ImportError("while initializing the extension") from None


def test_a_library_may_make_another_error_of_a_signal():
  with pytest.raises(Stopped, match="stopped here"), interruptible("stopped here"):
    loaded_while_a_signal_comes()
  with pytest.raises(ImportError), interruptible("stopped here"):
    raise ImportError("no signal came")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "cp437"])
def test_letters_that_an_encoding_lacks_are_spelled_out(encoding):
  script = (
    "from micronet_jax.terminal import prepare_streams; prepare_streams()\n"
    "print('ξ 0.45, 3/mm², 5 µm → 核 \\udcff'); print('ξ²', file=sys.stderr)"
  )
  status, out, err = run(script, PYTHONIOENCODING=encoding)
  assert status == 0
  text = out.decode(encoding)
  assert text.startswith("xi 0.45, 3/mm")
  assert "\\u6838 \\udcff" in text
  assert err.startswith("xi")


def test_utf_8_is_printed_as_it_is():
  script = "from micronet_jax.terminal import *; prepare_streams(); print('ξ²')"
  assert run(script, PYTHONIOENCODING="utf-8")[1].decode().strip() == "ξ²"


def test_a_closed_pipe_stops_the_work_in_order_and_quietly(tmp_path):
  script = f"""
from micronet_jax import cli
from micronet_jax.predict import job
def predict(*_, **__):
  import time
  try:
    for number in range(1000):
      print("line", number, flush=True); time.sleep(0.01)
  finally:
    open({str(tmp_path / "kept")!r}, "w").write("kept")
job.predict_images = predict
sys.argv = ["micronet", "detect", "a.png", "-o", "out"]
raise SystemExit(cli.start())
"""
  status, _, err = run(script, head=True)
  assert status == 130
  assert err == ""
  assert (tmp_path / "kept").read_text() == "kept"


def test_a_training_whose_pipe_is_closed_saves(tmp_path):
  script = """
from micronet_jax.signals import caught_signals
from micronet_jax.terminal import prepare_streams
prepare_streams()
with caught_signals() as stop:
  while not stop.is_set():
    print("step", flush=True)
print("saved", file=sys.stderr)
"""
  status, _, err = run(script, head=True)
  assert (status, err) == (0, "saved\n")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("door", ["launch", "cli"])
def test_a_signal_while_libraries_are_imported(tmp_path, door, how):
  """Half-way through the imports, which hold a KeyboardInterrupt back."""
  blocked = tmp_path / ("ml_collections.py" if door == "launch" else "jax.py")
  held = "try:\n  time.sleep(60)\nexcept KeyboardInterrupt:\n  time.sleep(60)\n"
  blocked.write_text(
    "import time, pathlib\n"
    f"pathlib.Path({str(tmp_path / 'there')!r}).write_text('')\n"
    + (held if door == "launch" else "time.sleep(60)\n")
  )
  command = {
    "launch": [str(ROOT / "launch.py"), "--config=configs/train.py"],
    "cli": ["-m", "micronet_jax.cli", "detect", "a.png", "-o", str(tmp_path / "out")],
  }[door]
  path = os.pathsep.join([str(tmp_path), str(ROOT)])
  with subprocess.Popen(
    [sys.executable, *command],
    cwd=ROOT,
    env={**os.environ, "PYTHONPATH": path},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  ) as child:
    while not (tmp_path / "there").exists():
      assert child.poll() is None, child.communicate()
      time.sleep(0.05)
    child.send_signal(how)
    _, err = child.communicate(timeout=300)
  assert child.returncode == 130
  assert err.strip().startswith("stopped; ")
  assert "Traceback" not in err


def test_a_platform_that_is_not_there_is_named(tmp_path):
  script = """
import micronet_jax as mn
try:
  mn.load("base")
except mn.InputError as error:
  print(error)
from micronet_jax import devices
try:
  devices.check_platform()
except mn.InputError as error:
  print(error)
"""
  status, out, err = run(script, JAX_PLATFORMS="cuda")
  assert status == 0, err
  lines = out.decode().splitlines()
  assert len(lines) == 2
  for line in lines:
    assert line.startswith("JAX finds no device of the platform 'cuda', which JAX_PL")
    assert "damaged" not in line


def test_streams_that_a_process_began_without_lead_nowhere(tmp_path):
  """Else the next files to be opened would get what libraries print."""
  script = f"""
import os
from micronet_jax.terminal import prepare_streams
prepare_streams()
with open({str(tmp_path / "file")!r}, "w") as file:
  os.write(2, b"a library complains")
  print("printed", flush=True)
  print("said", file=sys.stderr, flush=True)
  sys.stderr.isatty()
  file.write("whole")
"""
  command = [sys.executable, "-c", PRELUDE + script]
  closed = subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command])
  assert closed.returncode == 0
  assert (tmp_path / "file").read_text() == "whole"
