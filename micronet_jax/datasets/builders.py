"""What all builders share: TFDS without TensorFlow, without network, without noise.

Records are array_record files, images are PNG within them, and reading does not decode
through TFDS, so what comes out are the very pixels that went in. Called by
`datasets.load_samples`.
"""

import abc
import contextlib
import io
import os
import pathlib
import re
import shutil
from collections.abc import Iterable, Iterator
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

_log = getLogger("micronet_jax")

_SPLIT = "train"  # all of it; splits by patient are made by who trains


class SampleBuilder(tfds.core.GeneratorBasedBuilder):
  """A builder of samples; a subclass says where they come from."""

  VERSION = tfds.core.Version("1.0.0")

  @abc.abstractmethod
  def samples(self, manager: tfds.download.DownloadManager) -> Iterable[Sample]:
    """Makes or reads the samples; `manager.manual_dir` is where files are."""

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
    return {_SPLIT: self._generate_examples(self.samples(dl_manager))}

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


class FilesBuilder(SampleBuilder):
  """A builder of samples that lie in files; a subclass says how to find them."""

  # Of the rules by which files are read: what was prepared by others is read anew.
  VERSION = tfds.core.Version("1.1.0")

  @staticmethod
  @abc.abstractmethod
  def find(root: pathlib.Path) -> list[Entry]:
    """Finds the images and annotations below root; none if they are not there."""

  def samples(self, manager: tfds.download.DownloadManager) -> Iterable[Sample]:
    """Reads one image after the other."""
    return map(read_entry, self.find(pathlib.Path(manager.manual_dir)))


def load_prepared(
  builder: type[SampleBuilder],
  config: str | tfds.core.BuilderConfig,
  data_dir: pathlib.Path,
  *,
  manual_dir: pathlib.Path | None = None,
) -> list[Sample]:
  """Loads what was prepared, after preparing it if it was not.

  Args:
    builder: the data set.
    config: which variant of it; a string for one that has nothing but a name.
    data_dir: where prepared data sets are kept.
    manual_dir: where the files are that the builder reads, if it reads any.

  Returns:
    The samples that the builder made, in no particular order.

  Raises:
    InputError: from reading the files, or data_dir cannot be written.
  """
  if isinstance(config, str):
    config = tfds.core.BuilderConfig(name=config)
  with _quiet():
    _prepare(builder(data_dir=data_dir, config=config), manual_dir)
    prepared = builder(data_dir=data_dir, config=config)
    return [
      _decode(example)
      for example in prepared.as_data_source(
        split=_SPLIT, decoders={"image": tfds.decode.SkipDecoding()}
      )
    ]


def _prepare(builder: SampleBuilder, manual_dir: pathlib.Path | None) -> None:
  """Writes a data set if it is not there.

  TFDS writes into a folder beside the final one and renames that when all is
  there. If a second process prepared the same meanwhile, renaming fails and the
  copy of the other is used. After a failure nothing is left.
  """
  settings = tfds.download.DownloadConfig(manual_dir=manual_dir, try_download_gcs=False)
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
  verbosity, level = logging.get_verbosity(), _log.level
  logging.set_verbosity(logging.ERROR)
  _log.setLevel(level or WARNING)
  try:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
      yield
  finally:
    logging.set_verbosity(verbosity)
    _log.setLevel(level)


def _remove_empty(*folders: Any) -> None:
  """Removes those that are empty: TFDS makes them before it has what to put there."""
  for folder in folders:
    with contextlib.suppress(OSError):  # not empty, or not there: both are fine
      folder.rmdir()
