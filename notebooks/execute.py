"""Runs the notebooks, each in a folder of its own that is removed afterwards.

  python notebooks/execute.py [FOLDER]

The outputs go into the notebooks themselves, or into copies in FOLDER. Needs the extra
`notebooks`. MICRONET_BUDGET=smoke runs them at the size of a test.
"""

import os
import pathlib
import sys
import tempfile
import time

import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

HERE = pathlib.Path(__file__).resolve().parent
NOTEBOOKS = sorted(HERE.glob("*.ipynb"))
LONGEST = 1800  # seconds a cell may take


class ThisPython(KernelSpecManager):
  """Starts the interpreter that runs this file, whatever else is installed."""

  def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
    arguments = ["-m", "ipykernel_launcher", "-f", "{connection_file}"]
    arguments += ["--log-level=ERROR"]
    return KernelSpec(
      argv=[sys.executable, *arguments], display_name=kernel_name, language="python"
    )


def execute(path: pathlib.Path, **environment: str) -> nbformat.NotebookNode:
  """Runs a notebook from the first cell to the last.

  Args:
    path: the notebook; it is not changed.
    **environment: variables that the notebook sees besides those there are.

  Returns:
    The notebook with its outputs.

  Raises:
    nbclient.exceptions.CellExecutionError: a cell failed.
  """
  notebook = nbformat.read(path, as_version=4)
  manager = AsyncKernelManager(kernel_spec_manager=ThisPython())
  python_path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
  variables = {**os.environ, "PYTHONPATH": python_path, **environment}
  with tempfile.TemporaryDirectory() as folder:
    NotebookClient(
      notebook,
      km=manager,
      timeout=LONGEST,
      record_timing=False,
      resources={"metadata": {"path": folder}},
    ).execute(cleanup_kc=True, env=variables)
  return notebook


def main(arguments: list[str]) -> None:
  """Runs all notebooks and writes them."""
  out = pathlib.Path(arguments[0]) if arguments else HERE
  out.mkdir(parents=True, exist_ok=True)
  for path in NOTEBOOKS:
    began = time.monotonic()
    notebook = execute(path)
    beside = out / f".{path.name}"
    nbformat.write(notebook, beside)
    beside.replace(out / path.name)
    print(f"{path.name}  {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
  main(sys.argv[1:])
