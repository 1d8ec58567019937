"""The list of images, `summary.csv`: a line for each, of this job and of earlier ones.

Called by `predict.job`.
"""

import csv
import logging
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from micronet_jax.errors import InputError
from micronet_jax.files import replacing
from micronet_jax.predict.outputs import counts_the_rim, load_record, record_path

log = logging.getLogger("micronet_jax")


def check_summary(path: pathlib.Path) -> None:
  """Makes sure that the list of images to be replaced is one of ours.

  Raises:
    InputError: it is somebody else's file.
  """
  try:
    with path.open("rb") as file:
      ours = not (start := file.read(16)) or start.startswith(b"image,nuclei,")
  except FileNotFoundError:
    return
  except OSError:
    ours = False
  if not ours:
    raise InputError(
      f"{path} is there and was not written by this program; move it, or use another"
      " folder for the results"
    )


def write_summary(
  path: pathlib.Path,
  results: Sequence[Mapping[str, Any]],
  *,
  stems: Collection[pathlib.Path] | None = None,
) -> int:
  """Writes a line for each image, for spreadsheets.

  Args:
    path: the file.
    results: records and errors of the images of this job.
    stems: paths of their files, less the ending: all other records of the folder are
      listed after them. None if the list is of a part of the images, and then of
      nothing else.

  Returns:
    How many others are listed.

  Raises:
    InputError: it cannot be written.
  """
  others: list[dict[str, Any]] | None = None
  while True:
    # Again, until nobody who writes here too has added what was not listed.
    there = [] if stems is None else _other_records(path.parent, stems)
    if there == others:
      break
    others = there
    _write_lines(path, [*results, *_of_now(others)])
  if old := len(there) - len(_of_now(there)):
    log.warning(
      "%d result(s) in %s count glass around the tissue as tissue, as versions before"
      " did, and are not in %s: detect these images again",
      *(old, path.parent, path.name),
    )
  return len(there) - old


def _other_records(
  folder: pathlib.Path, stems: Collection[pathlib.Path]
) -> list[dict[str, Any]]:
  """The records of a folder but for those of some images, by the names of files."""
  mine = {record_path(stem).name for stem in stems}
  paths = [path for path in folder.glob("[!.]*.json") if path.name not in mine]
  return [record for path in sorted(paths) if (record := load_record(path))]


def _of_now(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
  return [record for record in records if not counts_the_rim(record)]


def _write_lines(path: pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> None:
  columns = [
    *("image", "nuclei", "area_mm2", "tissue_mm2", "nuclei_per_mm2", "per"),
    *("mpp", "width", "height", "threshold", "weights", "network", "seconds", "error"),
  ]
  with (
    replacing(path) as beside,
    beside.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
  ):
    writer = csv.DictWriter(file, columns, extrasaction="ignore")
    writer.writeheader()
    for row in rows:
      # The name of weights stays when they are trained further; this tells them apart.
      network = row.get("settings", {}).get("weights")
      writer.writerow({**row, "network": network})
