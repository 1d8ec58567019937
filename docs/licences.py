"""Writes docs/licences.md: the licence of every package that an installation brings.

  .venv/bin/python docs/licences.py > docs/licences.md

Follows what the installed packages say that they need, from micronet-jax with the
extra [slides]; what else is installed, for tests or by chance, is not looked at.
"""

import importlib.metadata as metadata
import platform
import re
from collections.abc import Iterator

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HEAD = """\
# Licences of what an installation brings

`pip install -e '.[slides]'` in the checkout brings these on Linux, Python {python};
made by `docs/licences.py` from what the packages say of themselves. micronet_jax is
Apache-2.0; its weights have licences of their own (`micronet_jax/weights/LICENSE*`).
Extras for tests and notebooks are not listed, nor are NVIDIA's libraries, which the
extras [cuda12] and [cuda13] bring and which are not free software.

| package | version | licence |
|---|---|---|"""


def main() -> None:
  """Prints the document."""
  print(HEAD.format(python=".".join(platform.python_version_tuple()[:2])))
  found = sorted(needed("micronet-jax", frozenset({"slides"}), {}))
  for name in found:
    if name != "micronet-jax":
      package = metadata.distribution(name)
      print(f"| {name} | {package.version} | {licence(package.metadata)} |")


def needed(
  name: str, extras: frozenset[str], seen: dict[str, frozenset[str]]
) -> set[str]:
  """The names of a package and of all that it needs here, directly or not."""
  name = canonicalize_name(name)
  if extras <= seen.get(name, frozenset()) and name in seen:
    return set(seen)
  seen[name] = seen.get(name, frozenset()) | extras
  for requirement in requirements(name, seen[name]):
    needed(requirement.name, frozenset(requirement.extras), seen)
  return set(seen)


def requirements(name: str, extras: frozenset[str]) -> Iterator[Requirement]:
  """What a package needs on this machine."""
  for text in metadata.requires(name) or ():
    requirement = Requirement(text)
    marker = requirement.marker
    if marker is None or any(marker.evaluate({"extra": e}) for e in ("", *extras)):
      yield requirement


def licence(said: metadata.PackageMetadata) -> str:
  """What a package says: an expression, classifiers, or the first line of a text."""
  if said.get("License-Expression"):
    return said["License-Expression"]
  kinds = [
    each.rpartition(" :: ")[2]
    for each in said.get_all("Classifier") or ()
    if each.startswith("License ::") and not each.endswith("OSI Approved")
  ]
  text = (said.get("License") or "").strip().splitlines()
  first = re.sub(r"\s+", " ", text[0]).strip() if text else ""
  return ", ".join(kinds) or first or "not stated"


if __name__ == "__main__":
  main()
