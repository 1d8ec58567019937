"""Images that end within the arrays they lie in, so that few shapes serve many sizes.

A network takes what is beyond an image for zeros, in every layer, because there its
arrays end. Where an array goes on beyond the image, the layers that look at neighbours
ask here, and see the same. Set by `detection.searching`, asked by `models.layers` and
`models.resizing`; outside `image_ends` nothing is done.
"""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp


class _Ends(NamedTuple):
  sides: jax.Array  # int32 [B, 2]
  shape: tuple[int, ...]


_current: contextvars.ContextVar[_Ends | None] = contextvars.ContextVar("ends")


@contextlib.contextmanager
def image_ends(sides: jax.Array, shape: tuple[int, ...]) -> Iterator[None]:
  """While a network is traced: where each image of its batch ends.

  Args:
    sides: int32 `[B, 2]`, height and width; multiples of the network's stride.
    shape: (H, W) of the arrays that the images begin in.
  """
  token = _current.set(_Ends(sides, shape))
  try:
    yield
  finally:
    _current.reset(token)


def zero_beyond(x: jax.Array) -> jax.Array:
  """`[B, h, w, C]` at any resolution, with zeros beyond the images."""
  ends = _current.get(None)
  if ends is None:
    return x
  for axis in (1, 2):
    x = jnp.where(_places(x, axis) < _last(x, axis, ends) + 1, x, 0)
  return x


def repeat_edges(x: jax.Array) -> jax.Array:
  """`[B, h, w, C]` at any resolution, with the images' last pixels beyond them."""
  ends = _current.get(None)
  if ends is None:
    return x
  for axis in (1, 2):
    last = _last(x, axis, ends)
    edge = jnp.take_along_axis(x, last, axis)
    x = jnp.where(_places(x, axis) <= last, x, edge)
  return x


def _places(x: jax.Array, axis: int) -> jax.Array:
  return jnp.arange(x.shape[axis]).reshape([-1 if i == axis else 1 for i in range(4)])


def _last(x: jax.Array, axis: int, ends: _Ends) -> jax.Array:
  """The last row or column of each image, `[B, 1, 1, 1]`."""
  sides = ends.sides[:, axis - 1] * x.shape[axis] // ends.shape[axis - 1]
  return sides.reshape(-1, 1, 1, 1) - 1
