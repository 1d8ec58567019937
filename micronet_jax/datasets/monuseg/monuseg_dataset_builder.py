"""MoNuSeg as its makers distribute it: TIFF images, Aperio XML outlines."""

import pathlib

from micronet_jax.datasets.builders import FilesBuilder
from micronet_jax.datasets.entries import UNKNOWN_ORGAN, Entry, visible_files
from micronet_jax.errors import InputError, or_left_out

# TCGA patients of the challenge's training and test images, by the organ that the
# makers name (Kumar et al. 2017, 2020). The training images they call liver bear
# barcodes of TCGA's lung studies; their own label is kept.
_PATIENTS = {
  "bladder": "DK-A2I6 G2-A2EK CU-A0YN ZF-A9R5",
  "brain": "FG-A4MU HT-8564",
  "breast": "A7-A13E A7-A13F AR-A1AK AR-A1AS E2-A14V E2-A1B5 AC-A2FO AO-A0J2",
  "colon": "AY-A8YK NH-A8F7 A6-6782",
  "kidney": ("B0-5698 B0-5710 B0-5711 HE-7128 HE-7129 HE-7130 2Z-A9J9 GL-6846 IZ-8196"),
  "liver": "18-5592 21-5784 21-5786 38-6178 49-4488 50-5931",
  "lung": "44-2665 69-7764",
  "prostate": ("CH-5767 G9-6336 G9-6348 G9-6356 G9-6362 G9-6363 EJ-A46H HC-7209"),
  "stomach": "KB-A93J RD-A8N9",
}
_ORGANS = {
  f"TCGA-{patient}": organ
  for organ, patients in _PATIENTS.items()
  for patient in patients.split()
}


class Builder(FilesBuilder):
  """MoNuSeg: 44 H&E images of nine organs at 40x, nuclei outlined.

  Kumar et al., IEEE TMI 36:1550 (2017) and 39:1380 (2020); CC BY-NC-SA 4.0.
  """

  MANUAL_DOWNLOAD_INSTRUCTIONS = (
    "download the training data (and, if wanted, the test data) of the MoNuSeg 2018"
    " challenge from its site, monuseg.grand-challenge.org, and unpack them there, so"
    " that every .tif has an .xml of the same name at any depth"
  )

  @staticmethod
  def find(root: pathlib.Path) -> list[Entry]:
    """Pairs TCGA's `.xml` and `.tif` files by name, at any depth below root.

    Args:
      root: where the archives were unpacked.

    Returns:
      One entry an outline file.

    Raises:
      InputError: a file of outlines has no image.
    """
    images = {path.stem: path for path in visible_files(root, "TCGA-*.tif")}
    entries = []
    for outlines in visible_files(root, "TCGA-*.xml"):
      stem = outlines.stem
      if stem not in images:
        with or_left_out():
          raise InputError(
            f"{outlines} has no image; {stem}.tif is needed below {root}."
          )
        continue
      patient = "-".join(stem.split("-")[:3])
      organ = _ORGANS.get(patient, UNKNOWN_ORGAN)
      entries.append(
        Entry(
          name=f"{organ}__{stem}",
          image=images[stem],
          annotations=(outlines,),
          organ=organ,
          patient=patient,
          mpp=0.25,
          published=True,
        )
      )
    return entries
