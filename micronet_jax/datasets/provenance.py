"""What a checkpoint has seen."""

from collections.abc import Mapping, Sequence
from typing import Any

from micronet_jax.errors import InputError


def images_seen(meta: Mapping[str, Any]) -> list[str]:
  """Names of the images that a checkpoint was trained or validated on."""
  split = meta.get("split", {})
  return [*split.get("train", ()), *split.get("validation", ())]


def check_unseen(names: Sequence[str], trained_on: Sequence[str]) -> None:
  """Makes sure that no image to be tested on was trained on.

  Raises:
    InputError: some were.
  """
  seen = sorted(set(names) & set(trained_on))
  if seen:
    raise InputError(
      f"the checkpoint was trained on {len(seen)} of the {len(names)} images that it "
      f"would be tested on, first {seen[0]!r}; test on images that it has not seen"
    )
