"""Tables of boxes, whose x and y are no centres.

Called by `points`.
"""

import pathlib
import re
from collections.abc import Sequence

from micronet_jax.datasets.annotations import tables
from micronet_jax.datasets.annotations.mark import Subject
from micronet_jax.errors import InputError

# Columns without blanks, signs and a `bbox` before: what makes a box of a corner x, y,
_SIDES = (
  *(("width", "height"), ("w", "h"), ("xmax", "ymax"), ("maxx", "maxy")),
  *(("x2", "y2"), ("right", "bottom"), ("xend", "yend")),
)
# and the corner where it has columns of its own, so that x, y is another place: the
# centroid in ImageJ's results (X, Y beside BX, BY, Width, Height) and scikit-image's.
_CORNERS = (
  *(("bx", "by"), ("x", "y"), ("xmin", "ymin"), ("minx", "miny")),
  *(("x0", "y0"), ("x1", "y1"), ("left", "top"), ("xstart", "ystart")),
)
_AROUND = re.compile(r"[^a-z0-9]")
_PREFIX = re.compile(r"^(boundingbox|bbox|box|rect)(?=.)")


def refuse_boxes(
  path: pathlib.Path, header: Sequence[str], rows: tables.Rows, subject: Subject
) -> None:
  """Raises InputError if x and y are corners of boxes.

  Args:
    path: the table, for messages.
    header: its columns, x and y among them.
    rows: its lines that are about the image.
    subject: the image; columns that hold its size on every line make no boxes.
  """
  columns: dict[str, str] = {}
  for name in header:
    if name not in ("x", "y"):
      columns.setdefault(_PREFIX.sub("", _AROUND.sub("", name)), name)
  if any(x in columns and y in columns for x, y in _CORNERS):
    return
  for across, down in _SIDES:
    if across not in columns or down not in columns:
      continue
    pair = columns[across], columns[down]
    values = {tuple(row[name] for name in pair) for _, row in rows}
    size = tuple(map(str, subject.shape[::-1])) if subject.shape else None
    if values in (set(), {("", "")}, {size}):
      continue
    raise InputError(
      f"{path} holds boxes (columns x, y, {pair[0]}, {pair[1]}), but centres are"
      f" needed; x and y must be the boxes' centres, and {pair[0]} and {pair[1]} must"
      " go."
    )
