"""Small made-up samples, runs and configs that several tests share."""

import jax
import numpy as np
from networks import QUICK
from PIL import Image

from micronet_jax.config import Config
from micronet_jax.datasets.provenance import Provenance
from micronet_jax.datasets.sample import Sample
from micronet_jax.datasets.splits import Split
from micronet_jax.settings import changed
from micronet_jax.training.data import Data


def dots(name: str, *, size: int = 64, nuclei: int = 5, seed: int = 0) -> Sample:
  """Dark discs of radius 6 on a pale, noisy ground; centres at least 14 px apart."""
  generator = np.random.default_rng([seed, len(name), *name.encode()])
  centers: list[np.ndarray] = []
  while len(centers) < nuclei:
    center = generator.uniform(4, size - 5, 2)
    if all(np.hypot(*(center - other)) > 14 for other in centers):
      centers.append(center)
  y, x = np.mgrid[:size, :size]
  image = generator.normal((225, 190, 215), 6, (size, size, 3))
  for cy, cx in centers:
    image[np.hypot(y - cy, x - cx) < 6] = generator.normal((90, 50, 130), 8, 3)
  return Sample(
    name=name,
    organ="dots",
    patient=name.split("_")[0],
    mpp=0.25,
    image=np.clip(image, 0, 255).astype(np.uint8),
    centers=np.asarray(centers, np.float32).reshape(-1, 2),
  )


def keys(count: int, seed: int = 0) -> jax.Array:
  """Typed random keys."""
  return jax.random.split(jax.random.key(seed), count)


def blob(shape, center, sigma):
  """A Gaussian spot, bright on dark."""
  y, x = np.indices(shape)
  squared = (y - center[0]) ** 2 + (x - center[1]) ** 2
  value = np.round(250 * np.exp(-squared / (2 * sigma**2)))
  return np.repeat(value[..., None], 3, -1).astype(np.uint8)


def centroid(image):
  """Where the brightness of the first channel is, (y, x)."""
  weight = image[..., 0].astype(float)
  return np.array([(axis * weight).sum() for axis in np.indices(weight.shape)]) / (
    weight.sum()
  )


def data(*, auxiliary: int = 0) -> Data:
  """Three training, two validation and two test images."""
  parts = {"train": "abc", "validation": "de", "test": "fg"}
  samples = {part: [dots(name) for name in names] for part, names in parts.items()}
  return Data(
    name="dots",
    split=Split(**{part: tuple(names) for part, names in parts.items()}),
    auxiliary=[dots(f"aux{i}", nuclei=9) for i in range(auxiliary)],
    inherited=Provenance(),
    **samples,
  )


def config(**changes) -> Config:
  """The paper's recipe at a size for tests; `__` stands for a dot in a field."""
  small = {
    "model.width": 2,
    "warp.patch": 32,
    "batch_size": 2,
    "num_devices": 1,
    "num_steps": 8,
    "eval_every": 4,
    "log_every": 2,
    "min_distances": (5,),
  }
  wanted = {field.replace("__", "."): value for field, value in changes.items()}
  return changed(Config(), small | wanted)


def quick_config(**changes) -> Config:
  """With the network that is compiled fastest, for what is no question of networks."""
  return config(model__name=QUICK["name"], **changes)


def write_folder(root, samples) -> None:
  """Writes samples as a user's folder, with an index."""
  (root / "images").mkdir(parents=True)
  (root / "points").mkdir()
  lines = ["name,organ,patient,mpp"]
  for sample in samples:
    Image.fromarray(sample.image).save(root / "images" / f"{sample.name}.png")
    rows = [f"{x:.2f},{y:.2f}" for y, x in sample.centers]
    points = "\n".join(["x,y", *rows])
    (root / "points" / f"{sample.name}.csv").write_text(points + "\n")
    lines.append(f"{sample.name},{sample.organ},{sample.patient},{sample.mpp or ''}")
  (root / "index.csv").write_text("\n".join(lines) + "\n")
