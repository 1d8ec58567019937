"""One nucleus centre, and where in its file it stands.

Made by the readers of formats.
"""

from typing import NamedTuple


class Mark(NamedTuple):
  """A centre as a reader found it.

  Attributes:
    y: row, 0 at the centre of the topmost pixels.
    x: column, 0 at the centre of the leftmost pixels.
    place: where the file says so, for messages: `line 3`, `feature 7`.
  """

  y: float
  x: float
  place: str
