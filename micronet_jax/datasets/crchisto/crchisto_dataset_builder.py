"""CRCHistoPhenotypes as its makers distribute it: BMP images, MATLAB points."""

import pathlib

from micronet_jax.datasets.builders import FilesBuilder
from micronet_jax.datasets.entries import Entry, visible_files
from micronet_jax.errors import InputError, or_left_out

_SUFFIX = "_detection"


class Builder(FilesBuilder):
  """CRCHistoPhenotypes: 100 H&E images of colon cancer at 20x, nuclei as points.

  Sirinukunwattana et al., IEEE TMI 35:1196 (2016); for research only. Which patient
  an image is from is not published, so every image is its own.
  """

  MANUAL_DOWNLOAD_INSTRUCTIONS = (
    "download CRCHistoPhenotypes_2016_04_28 from the site of the Tissue Image"
    " Analytics Centre of the University of Warwick (its data set of labelled colon"
    " cancer nuclei) and unpack it there, so that there are"
    " Detection/img1/img1.bmp and Detection/img1/img1_detection.mat and so on"
  )

  @staticmethod
  def find(root: pathlib.Path) -> list[Entry]:
    """Finds `imgN_detection.mat` at any depth below root, with `imgN.bmp` beside it.

    Args:
      root: where the archive was unpacked.

    Returns:
      One entry an image, named `colon__crc001` and on.

    Raises:
      InputError: the image beside the points is missing.
    """
    entries = []
    for points in visible_files(root, f"img*{_SUFFIX}.mat"):
      stem = points.stem.removesuffix(_SUFFIX)
      image = points.with_name(f"{stem}.bmp")
      if not image.exists():
        with or_left_out():
          raise InputError(f"{points} has no image; {image} is needed.")
        continue
      entries.append(
        Entry(
          name=f"colon__crc{stem.removeprefix('img').zfill(3)}",
          image=image,
          annotations=(points,),
          organ="colon",
          mpp=0.5,
          published=True,
        )
      )
    return entries
