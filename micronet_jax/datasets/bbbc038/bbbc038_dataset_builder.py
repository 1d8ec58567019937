"""BBBC038 (Data Science Bowl 2018) as distributed: PNG images, a mask a nucleus."""

import pathlib

from micronet_jax.datasets.builders import FilesBuilder
from micronet_jax.datasets.entries import Entry, visible_files
from micronet_jax.errors import InputError, or_left_out


class Builder(FilesBuilder):
  """BBBC038: 670 training images of many stains and microscopes, a mask a nucleus.

  Caicedo et al., Nature Methods 16:1247 (2019); CC0.
  """

  MANUAL_DOWNLOAD_INSTRUCTIONS = (
    "download stage1_train.zip of BBBC038v1 from the Broad Bioimage Benchmark"
    " Collection (bbbc.broadinstitute.org/BBBC038) and unpack it there, so that"
    " every image has folders ID/images and ID/masks"
  )

  @staticmethod
  def find(root: pathlib.Path) -> list[Entry]:
    """Finds folders `ID/masks` with `ID/images` beside them, at any depth below root.

    Args:
      root: where the archive was unpacked.

    Returns:
      One entry an ID.

    Raises:
      InputError: no image, or more than one, beside the masks.
    """
    entries = []
    for masks in visible_files(root, "masks"):
      folder = masks.parent / "images"
      if not folder.is_dir():
        continue
      found = visible_files(folder, "*.png")
      if len(found) != 1:
        with or_left_out():
          raise InputError(
            f"{folder} holds {len(found)} PNG images, but an image folder has one."
          )
        continue
      entries.append(
        Entry(
          name=masks.parent.name,
          image=found[0],
          annotations=tuple(visible_files(masks, "*.png")),
          published=True,
          file_per_nucleus=True,
        )
      )
    return entries
