"""NuInsSeg as its makers distribute it, folders of organs, or in the folder layout."""

import pathlib
from typing import Any

from micronet_jax.datasets.builders import FilesBuilder
from micronet_jax.datasets.entries import Entry, visible_files
from micronet_jax.datasets.folder import folder_dataset_builder as folder
from micronet_jax.errors import InputError, or_left_out

MPP = 0.2
"""Microns per pixel: the files do not say; estimated from the size of nuclei."""

_IMAGES, _LABELS = "tissue images", "label masks modify"
_SPELT = {
  "human_salivory_gland": "human_salivary_gland",
  "human_tonsile": "human_tonsil",
  "mouse_fat_(white_and_brown)_subscapula": "mouse_fat_subscapula",
}


class Builder(FilesBuilder):
  """NuInsSeg: 665 H&E images of 23 human organs and 8 of mice, nuclei outlined.

  Mahbod et al., Scientific Data 11:295 (2024); CC BY 4.0. An organ's images are fields
  of one slide, so the organ is the patient. Read are the label maps in which a pixel of
  two overlapping nuclei is given to one of them, the makers' choice for evaluation; in
  those beside them an overlap has a number of its own, as if it were a nucleus. Areas
  that the makers call vague are not left out: what is detected there counts as false.
  """

  MANUAL_DOWNLOAD_INSTRUCTIONS = (
    "download NuInsSeg from Kaggle (ipateam/nuinsseg) or Zenodo (record 10518968) and"
    f" unpack it there, so that every organ's folder has '{_IMAGES}' and '{_LABELS}'"
  )

  @staticmethod
  def find(root: pathlib.Path) -> list[Entry]:
    """Finds `ORGAN/tissue images/NAME.png` at any depth, each with its label map.

    Args:
      root: where the archive was unpacked; or a folder of images, points and an index
        (`folder`), which the set was converted to.

    Returns:
      One entry an image; of organs such as `human_liver` and `mouse_heart`.

    Raises:
      InputError: an image has no label map, or as the builder of `folder`.
    """
    entries = []
    for images in visible_files(root, _IMAGES):
      organ = "_".join(images.parent.name.lower().split())
      organ = _SPELT.get(organ, organ)
      for image in visible_files(images, "*.png"):
        labels = images.parent / _LABELS / f"{image.stem}.tif"
        if not labels.exists():
          with or_left_out():
            raise InputError(f"{image} has no label map; {labels} is needed.")
          continue
        known: dict[str, Any] = {"organ": organ, "patient": organ, "mpp": MPP}
        entries.append(Entry(image.stem, image, (labels,), **known, published=True))
    converted = not entries and (root / "index.csv").exists()
    return folder.Builder.find(root) if converted else entries
