"""Tables of points: CSV, what QuPath exports, tables with semicolons or tabs.

Called by `annotations.read_centers`.
"""

import collections
import pathlib

import numpy as np

from micronet_jax.datasets.annotations import tables
from micronet_jax.datasets.annotations.boxes import refuse_boxes
from micronet_jax.datasets.annotations.mark import (
  OTHER_PLANE,
  Mark,
  Reading,
  Subject,
  commonest_plane,
)
from micronet_jax.datasets.annotations.outlines import CORNER
from micronet_jax.datasets.annotations.shapes import is_ignored
from micronet_jax.datasets.annotations.whose import lines_of_image
from micronet_jax.errors import InputError, or_left_out
from micronet_jax.lengths import REFERENCE_MPP

_PLAIN = ("x", "y")
_MICRONS = ("centroid x µm", "centroid y µm")
_PIXELS = ("centroid x px", "centroid y px")
_BY_SCRIPT = ("cell.x", "cell.y")
_CLASSES = ("class", "classification", "cell.classification")

_UNITS = {
  **dict.fromkeys(("", "px", "pixel", "pixels"), "px"),
  **dict.fromkeys(("µm", "um", "micron", "microns", "micrometer", "micrometre"), "µm"),
}

# QuPath's tables have lines for what is no nucleus, too.
_FRAMES = ("image", "root", "tile", "tma core", "pathrootobject", "pathtileobject")
_DRAWN = ("annotation", "pathannotationobject")

# Points that fill the corner which the image has when its size is taken in microns.
_FEWEST, _FILLED = 10, 0.7
_SURE_MPP, _LIKELY_MPP = 0.3, 0.6  # a corner this small is no accident; or may be one


def read_points(path: pathlib.Path, subject: Subject) -> Reading:
  """Reads the columns x and y, or those of QuPath's tables of measurements.

  x and y have (0, 0) at the centre of the top-left pixel of the whole image; in
  QuPath's own files (measurements, and tables with tabs and the columns class and
  color) it is that pixel's corner, in the frame in which QuPath shows the slide.
  A column `unit` tells microns, which the image's resolution makes pixels. Of a table
  that names images (`whose`), the lines of this one count.

  Args:
    path: a text file with a header; more columns may stand in it, and no lines.
    subject: the image.

  Returns:
    One mark a line, of one plane if there are columns z and t.

  Raises:
    InputError: no table, a column is missing, a value is no finite number, a unit is
      unknown, the points seem to be microns, the table is about other images, or x and
      y are corners of boxes.
  """
  table = tables.read_table(path, _PLAIN, _MICRONS, _PIXELS, _BY_SCRIPT)
  reading = Reading(remarks=table.remarks)
  rows, others = lines_of_image(path, table, subject)
  reading.left_out += collections.Counter({"of other images": others})
  if table.columns == _PLAIN:
    refuse_boxes(path, table.header, rows, subject)
  rows = _one_plane(table, _nuclei(path, rows, reading), reading)
  x, y = table.columns
  numbers, kept = [], []
  for line, row in rows:
    with or_left_out():
      numbers.append([tables.number(path, line, name, row[name]) for name in (x, y)])
      kept.append((line, row))
  values, rows = np.array(numbers).reshape(-1, 2), kept
  microns = _in_microns(path, table, rows)
  if microns.any():
    values[microns] /= _resolution(path, subject)
    if table.columns == _PLAIN:
      reading.remarks.append(
        f"{microns.sum()} points in microns, at {subject.mpp:g} a px"
      )
  elif table.columns != _PIXELS and "unit" not in table.header:
    _check_pixels(path, values, subject, reading)
  of_qupath = table.columns != _PLAIN or (
    table.delimiter == "\t" and {"class", "color"} <= set(table.header)
  )
  if of_qupath:
    values -= CORNER
  if table.columns == _BY_SCRIPT:
    reading.remarks.append("Cell.X and Cell.Y are taken as pixels of QuPath")
  reading.marks = [
    Mark(y=y, x=x, place=f"line {line}")
    for (line, _), (x, y) in zip(rows, values.tolist(), strict=True)
  ]
  return reading.moved(subject.origin) if of_qupath else reading


def _nuclei(path: pathlib.Path, rows: tables.Rows, reading: Reading) -> tables.Rows:
  """The lines that are nuclei, by what QuPath says of each."""
  kinds = [(row.get("object type") or row.get("name") or "").lower() for _, row in rows]
  detected = any(kind and kind not in (*_FRAMES, *_DRAWN) for kind in kinds)
  kept = []
  for kind, (line, row) in zip(kinds, rows, strict=True):
    point = row.get("roi", "").lower() in ("point", "points")
    if kind in _FRAMES and "roi" in row:
      reading.left_out["images, tiles, cores and roots"] += 1
    elif kind in _DRAWN and not point and (detected or _holds_detections(row)):
      reading.left_out["annotations that hold detections, as regions"] += 1
    elif any(is_ignored(row.get(name, "")) for name in _CLASSES):
      reading.left_out["of a class whose name ends in *"] += 1
    elif row.get("num points", "") not in ("", "1"):
      raise InputError(
        f"{path}, line {line}: field num points is '{row['num points']}', so its"
        " centroid is that of several points; export the points themselves (File,"
        " Export objects as GeoJSON)."
      )
    else:
      kept.append((line, row))
  return kept


def _holds_detections(row: dict[str, str]) -> bool:
  return row.get("num detections", "").strip("0 .,") != ""


def _one_plane(table: tables.Table, rows: tables.Rows, reading: Reading) -> tables.Rows:
  """The lines of one plane, where whole numbers z (and t) say which."""
  if "z" not in table.header or not rows:
    return rows
  texts = [(row["z"] or "0", row.get("t") or "0") for _, row in rows]
  if not all(text.isdecimal() and len(text) < 10 for pair in texts for text in pair):
    return rows
  planes = [(int(z), int(t)) for z, t in texts]
  chosen, remark = commonest_plane(planes)
  kept = [row for row, plane in zip(rows, planes, strict=True) if plane == chosen]
  if remark:
    reading.remarks.append(remark)
    reading.left_out[OTHER_PLANE] += len(rows) - len(kept)
  return kept


def _in_microns(
  path: pathlib.Path, table: tables.Table, rows: tables.Rows
) -> np.ndarray:
  """Bool `[N]`: which lines are in microns."""
  if table.columns == _MICRONS:
    return np.ones(len(rows), bool)
  name = next((each for each in ("unit", "units") if each in table.header), None)
  if name is None or table.columns != _PLAIN:
    return np.zeros(len(rows), bool)
  found = []
  for line, row in rows:
    unit = row[name].lower().replace("\u03bc", "µ")
    if unit not in _UNITS:
      raise InputError(
        f"{path}, line {line}: field {name} must be px or micron, but it is"
        f" '{tables.shorten(row[name])}'."
      )
    found.append(_UNITS[unit] == "µm")
  return np.array(found, bool)


def _resolution(path: pathlib.Path, subject: Subject) -> float:
  if subject.mpp is None:
    raise InputError(
      f"{path} has points in microns, but nobody says how many microns a pixel of its"
      " image has; the column mpp of index.csv may say it."
    )
  return subject.mpp


def _check_pixels(
  path: pathlib.Path, values: np.ndarray, subject: Subject, reading: Reading
) -> None:
  """Refuses, or says, what fills just the corner that the image has in microns."""
  if len(values) < _FEWEST or subject.shape is None:
    return
  side = float(values.max() + 1) / max(subject.shape)
  if side > _LIKELY_MPP:
    return
  mpp = REFERENCE_MPP if subject.mpp is None else subject.mpp
  if mpp > _LIKELY_MPP:
    return
  corner = np.array(subject.shape[::-1]) * mpp  # (x, y)
  extent = np.ptp(values, axis=0)
  if (values > corner).any() or (extent < _FILLED * corner).any():
    return
  what = (
    f"all {len(values)} points lie within {corner[0]:.0f} x {corner[1]:.0f} of the"
    f" image's {subject.shape[1]} x {subject.shape[0]} pixels, which is its size in"
    f" microns at {mpp:g} a pixel"
  )
  if mpp <= _SURE_MPP:
    raise InputError(
      f"{path}: {what}; a column unit with micron or px on every line must say which"
      " they are."
    )
  reading.remarks.append(f"{what}, but they are taken as pixels (no column unit)")
