"""What a detector found in one image, and what people do with it next.

Made by `Detector.detect`.
"""

import os
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from micronet_jax.errors import InputError
from micronet_jax.predict import tables

if TYPE_CHECKING:
  import pandas
  import PIL.Image
  from matplotlib.figure import Figure


class _Found(NamedTuple):
  centers: np.ndarray
  scores: np.ndarray


def _as_numbers(scores: ArrayLike) -> np.ndarray:
  try:
    return np.asarray(scores, np.float32)
  except (TypeError, ValueError) as error:
    kind = type(scores).__name__
    raise InputError(f"scores is a {kind} that is no list of numbers") from error


class Detections(_Found):
  """Nuclei found in one image: a pair of centres and scores.

  Attributes:
    centers: float32 `[N, 2]` (y, x) in the image's own pixels; (0, 0) is the centre
      of the top-left pixel.
    scores: float32 `[N]`, the predicted proximity, falling. Training aims at 1 at a
      centre, but a network may stay far below: the packaged base reaches 0.3 to 0.5,
      and takes what has about 0.2. So choose relative to the scores that there are.
    origin: (x, y) in the image of the first pixel that QuPath shows, `Reader.origin`.
  """

  origin: tuple[int, int]

  def __new__(
    cls, centers: ArrayLike, scores: ArrayLike, *, origin: tuple[int, int] = (0, 0)
  ) -> "Detections":
    """See the attributes; arrays stay as they are, and lists become float32.

    Raises:
      InputError: not `[N, 2]` numbers, and one for each.
    """
    if not isinstance(centers, np.ndarray):
      from micronet_jax.datasets.sample import as_points  # who detects has arrays

      centers = as_points(centers).astype(np.float32)
    scores = scores if isinstance(scores, np.ndarray) else _as_numbers(scores)
    if centers.shape != (*scores.shape, 2) or scores.ndim != 1:
      raise InputError(
        f"centers is {list(centers.shape)} and scores {list(scores.shape)}; they must"
        " be [N, 2] and [N]"
      )
    made = super().__new__(cls, centers, scores)
    made.origin = origin
    return made

  def _replace(self, **changes: np.ndarray) -> "Detections":
    """Others of the same image, such as `found._replace(centers=…, scores=…)`."""
    return Detections(*super()._replace(**changes), origin=self.origin)

  def to_csv(self, path: str | os.PathLike[str]) -> None:
    """Writes a table with the header x,y,score; a folder data set reads it back.

    Args:
      path: the file; its folder is made if missing.

    Raises:
      InputError: it cannot be written.
    """
    tables.write_csv(path, [self])

  def to_geojson(self, path: str | os.PathLike[str]) -> None:
    """Writes objects that QuPath imports, in the frame in which it shows the image.

    A folder data set reads them back.

    Args:
      path: the file, which should end in .geojson; its folder is made if missing.

    Raises:
      InputError: it cannot be written.
    """
    count = len(self.centers)
    tables.write_geojson(path, [self], count=count, origin=self.origin)

  def to_dataframe(self) -> "pandas.DataFrame":
    """Makes a table with the columns x, y and score, a nucleus a row.

    Returns:
      x is the column and y the row in the image's own pixels, (0, 0) being the
      centre of the top-left pixel; in the order of `scores`.

    Raises:
      InputError: pandas is not installed.
    """
    try:
      import pandas
    except ImportError as error:
      raise InputError(
        "a table needs pandas, which is not installed; `pip install pandas` brings it."
      ) from error
    y, x = self.centers.T
    return pandas.DataFrame({"x": x, "y": y, "score": self.scores})

  def plot(
    self,
    image: "str | os.PathLike[str] | np.ndarray | PIL.Image.Image",
    *,
    title: str = "",
  ) -> "Figure":
    """Draws a ring around every nucleus; `figures.save_figure` writes the figure.

    Args:
      image: what the nuclei were found in, as `Detector.detect` takes it.
      title: above the axes; by default how many nuclei there are.

    Returns:
      The figure. Jupyter shows it where `%matplotlib inline` was said.

    Raises:
      InputError: the image cannot be read, or is not the one they were found in.
    """
    from micronet_jax.predict import pictures  # matplotlib takes a second to import

    return pictures.nuclei_on_tissue(image, self.centers, title=title)
