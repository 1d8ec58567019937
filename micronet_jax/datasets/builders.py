"""What all builders share: TFDS without TensorFlow, without network, without noise.

Records are array_record files, images are PNG within them, and reading does not decode
through TFDS, so what comes out are the very pixels that went in. Called by
`datasets.load_samples`.
"""

import abc
import contextlib
import dataclasses
import io
import os
import pathlib
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from logging import WARNING, getLogger
from typing import Any

import imagecodecs
import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from micronet_jax.datasets.entries import Entry, read_entry
from micronet_jax.datasets.sample import Sample
from micronet_jax.errors import InputError
from micronet_jax.files import read_json, write_json

log = getLogger("micronet_jax")

_SPLIT = "train"  # all of it; splits by patient are made by who trains


class SampleBuilder(tfds.core.GeneratorBasedBuilder):
  """A builder of samples; a subclass says where they come from."""

  VERSION = tfds.core.Version("1.0.0")

  @abc.abstractmethod
  def samples(self) -> Iterable[Sample]:
    """Makes or reads the samples that `builder_config` tells of."""

  def _info(self) -> tfds.core.DatasetInfo:
    features = {
      "name": tfds.features.Text(),
      "organ": tfds.features.Text(),
      "patient": tfds.features.Text(),
      "mpp": tfds.features.Text(doc="microns per pixel, empty if not known"),
      "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
      "centers": tfds.features.Tensor(
        shape=(None, 2), dtype=np.float32, doc="(y, x) in pixels"
      ),
    }
    return tfds.core.DatasetInfo(
      builder=self,
      description=type(self).__doc__,
      features=tfds.features.FeaturesDict(features),
    )

  def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> Any:
    return {_SPLIT: self._generate_examples(self.samples())}

  def _generate_examples(self, samples: Iterable[Sample]) -> Iterator[Any]:
    for sample in samples:
      yield (
        sample.name,
        {
          "name": sample.name,
          "organ": sample.organ,
          "patient": sample.patient,
          "mpp": "" if sample.mpp is None else repr(float(sample.mpp)),
          "image": _png(sample.image),
          "centers": sample.centers,
        },
      )


@dataclasses.dataclass(eq=False)
class FilesConfig(tfds.core.BuilderConfig):
  """One state of a data set in files.

  Attributes:
    entries: what `FilesBuilder.find` found.
  """

  entries: Sequence[Entry] = ()


class FilesBuilder(SampleBuilder):
  """A builder of samples that lie in files; a subclass says how to find them."""

  # Of the rules by which files are read: what was prepared by others is read anew.
  VERSION = tfds.core.Version("1.4.0")

  @staticmethod
  @abc.abstractmethod
  def find(root: pathlib.Path) -> list[Entry]:
    """Finds the images and annotations below root; none if they are not there."""

  def samples(self) -> Iterator[Sample]:
    """Reads one image after the other.

    Raises:
      InputError: nothing of any image is annotated, or as `read_entry`.
    """
    entries = self.builder_config.entries
    blank = []
    for entry in entries:
      samples = read_entry(entry)
      blank += [] if samples else [entry.regions]
      yield from samples
    if blank and len(blank) == len(entries):
      raise InputError(
        f"none of {len(blank)} image(s) is annotated: files of regions, such as"
        f" {blank[0]}, say so, as they hold no region."
      )
    if blank:
      log.warning(
        "%d of %d images are left out, as their files of regions (%s) hold none:"
        " nothing of them is annotated",
        *(len(blank), len(entries), blank[0]),
      )


def load_prepared(
  builder: type[SampleBuilder],
  config: tfds.core.BuilderConfig,
  data_dir: pathlib.Path,
) -> list[Sample]:
  """Loads what was prepared, after preparing it if it was not.

  Args:
    builder: the data set.
    config: which variant of it.
    data_dir: where prepared data sets are kept.

  Returns:
    The samples that the builder made, in no particular order.

  Raises:
    InputError: from reading the files, or data_dir cannot be written.
  """
  with _quiet():
    _prepare(builder(data_dir=data_dir, config=config))
    prepared = builder(data_dir=data_dir, config=config)
    return [
      _decode(example)
      for example in prepared.as_data_source(
        split=_SPLIT, decoders={"image": tfds.decode.SkipDecoding()}
      )
    ]


def _prepare(builder: SampleBuilder) -> None:
  """Writes a data set if it is not there.

  TFDS writes into a folder beside the final one and renames that when all is
  there. If a second process prepared the same meanwhile, renaming fails and the
  copy of the other is used. After a failure nothing is left.
  """
  settings = tfds.download.DownloadConfig(try_download_gcs=False)
  final = pathlib.Path(builder.data_dir)
  root = pathlib.Path(builder.data_dir_root)
  try:
    builder.download_and_prepare(download_config=settings, file_format="array_record")
  except (OSError, RuntimeError) as error:
    written = re.search(r"write\(\) failed: ([^;]+)", str(error))  # says ArrayRecord
    if not (written or isinstance(error, OSError)):
      raise
    if not final.exists():
      reason = written[1] if written else getattr(error, "strerror", None) or error
      raise InputError(
        f"the data set cannot be prepared in {root} ({reason}); data_dir must be a"
        " folder that can be written, with space left."
      ) from error
  finally:
    _remove_empty(
      final.parent,
      final.parent.parent,
      root / "downloads/extracted",
      root / "downloads",
    )


def keep_newest(
  name: str, state: str, data_dir: pathlib.Path, *, root: pathlib.Path
) -> None:
  """Removes the copy that was prepared of a folder before it changed.

  A copy that another folder's files are still served from stays. `newest.json` says
  which copy is whose; if it cannot be written, nothing is removed.

  Args:
    name: of the builder.
    state: of the folder's files as they are now.
    data_dir: where prepared data sets are kept.
    root: the folder.
  """
  index = data_dir / name / "newest.json"
  with contextlib.suppress(InputError):  # an index that is not ours to read or write
    before, place = read_json(index) or {}, str(root.resolve())
    old = before.get(place)
    if old == state:
      return
    now = {**before, place: state}
    write_json(index, now)
    if not isinstance(old, str) or old in now.values():
      return
    if pathlib.Path(old).name == old:  # a folder of ours
      shutil.rmtree(data_dir / name / old, ignore_errors=True)


def _decode(example: dict[str, Any]) -> Sample:
  mpp = example["mpp"].decode()
  return Sample(
    name=example["name"].decode(),
    organ=example["organ"].decode(),
    patient=example["patient"].decode(),
    mpp=float(mpp) if mpp else None,
    image=imagecodecs.png_decode(example["image"]),
    centers=np.array(example["centers"], np.float32).reshape(-1, 2),
  )


def _png(image: np.ndarray) -> io.BytesIO:
  """Encodes an image; TFDS takes encoded files as they are, without TensorFlow.

  The copy is for images of one pixel's width, which may have strides that the encoder
  takes for something else.
  """
  return io.BytesIO(imagecodecs.png_encode(image.copy(order="C"), level=1))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Keeps TFDS from printing, drawing progress bars and logging advice.

  What is silenced may be the root of all loggers: ours goes on.
  """
  tfds.disable_progress_bar()
  verbosity, level = logging.get_verbosity(), log.level
  logging.set_verbosity(logging.ERROR)
  log.setLevel(level or WARNING)
  try:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
      yield
  finally:
    logging.set_verbosity(verbosity)
    log.setLevel(level)


def _remove_empty(*folders: Any) -> None:
  """Removes those that are empty: TFDS makes them before it has what to put there."""
  for folder in folders:
    with contextlib.suppress(OSError):  # not empty, or not there: both are fine
      folder.rmdir()
