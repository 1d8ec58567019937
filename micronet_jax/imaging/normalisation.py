"""What a network reads of an image: pixels less the mean, by the deviation.

Called by `detection.scan` and `training.pool`.
"""

import numpy as np


def channel_statistics(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Mean and standard deviation of each channel over the whole image.

  Args:
    image: uint8 `[H, W, 3]`.

  Returns:
    Two float32 `[3]` in grey levels; the deviation is at least 1, so that a flat
    image stays finite.
  """
  pixels = image.reshape(-1, image.shape[-1])
  mean, std = pixels.mean(0, dtype=np.float64), pixels.std(0, dtype=np.float64)
  return mean.astype(np.float32), np.maximum(std, 1.0).astype(np.float32)


def normalise(image: np.ndarray) -> np.ndarray:
  """What the network reads: uint8 `[H, W, 3]` to float32, per image and channel."""
  mean, std = channel_statistics(image)
  return (image.astype(np.float32) - mean) / std
