"""One HTML file with everything that was found and pictures of the suspects.

It needs no other file and no script; points are drawn over the pictures as vectors.
Called by `job`.
"""

import base64
import html
import io
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import PIL.Image

from micronet_jax.checking.trouble import Suspect, Trouble, counted
from micronet_jax.datasets.sample import Sample
from micronet_jax.errors import InputError
from micronet_jax.files import replacing

_START = "<!doctype html><!-- micronet check -->"

MOST_PICTURES = 24
"""Of each kind of trouble; further suspects are named."""

_SIDE = 480  # longest side of a picture, in pixels of the file
_NOTHING = np.zeros((0, 2))
_CLOSE, _LEAST_SIDE = 24.0, 16  # across close-ups: microns, and at least pixels
_CLOSE_UPS = 2  # of an image

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
  max-width: 76rem; margin: 2rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.5rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .5rem; }
p, li { overflow-wrap: anywhere; max-width: 60rem; }
.verdict { padding: .6rem 1rem; border-left: .4rem solid; background: #f5f5f5; }
.wrong { border-color: #b34700; } .right { border-color: #00664b; }
.tag { font-size: .75rem; font-weight: 600; padding: .1rem .5rem; margin-right: .5rem;
  border-radius: .25rem; vertical-align: .15em; }
.tag.wrong { background: #b34700; color: #fff; }
.tag.remark { background: #e4e4e4; }
.pictures { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr)); }
figure { margin: 0; }
@media (min-width: 46rem) { .pair { grid-column: span 2; } }
.pair div { display: grid; grid-template-columns: 1fr 1fr; gap: .5rem; }
svg { width: 100%; height: auto; max-height: 26rem; display: block;
  background: #eee; }
figcaption { font-size: .85rem; line-height: 1.35; margin-top: .35rem;
  overflow-wrap: anywhere; }
path, circle { fill: none; stroke-linecap: round; vector-effect: non-scaling-stroke; }
.dark { stroke: #000; }
.dot.dark { stroke-width: 8px; } .ring.dark { stroke-width: 5px; }
.own { stroke: #56b4e9; stroke-width: 5px; }
.mark { stroke: #ffb000; stroke-width: 2.5px; }
.key { display: inline-block; width: .55rem; height: .55rem; border-radius: 50%;
  border: 1px solid #000; background: #56b4e9; }
.key.ring { background: none; border: 2.5px solid #d98c00; }
"""


def write_sheet(
  path: pathlib.Path,
  title: str,
  lines: Sequence[str],
  troubles: Sequence[Trouble],
  samples: Mapping[str, Sample],
) -> None:
  """Writes the sheet, whole or not at all.

  Args:
    path: the file; another sheet there is replaced.
    title: what was checked.
    lines: what was read, and last what came of it.
    troubles: all, in the order that they are shown in.
    samples: all images, by name.

  Raises:
    InputError: there is another file, or it cannot be written.
  """
  check_replaceable(path)
  text = "\n".join(_page(title, lines, troubles, samples))
  with replacing(path) as beside:
    beside.write_text(text, encoding="utf-8", errors="backslashreplace")


def check_replaceable(path: pathlib.Path) -> None:
  """Raises InputError if there is a file that is no sheet of ours."""
  try:
    start = path.read_bytes()[: len(_START)] if path.exists() else _START.encode()
  except OSError as error:
    raise InputError(f"{path} cannot be written ({error.strerror})") from error
  if start != _START.encode():
    raise InputError(
      f"{path} is there and is no sheet of a check, so it is not replaced; name another"
      " file for the sheet"
    )


def _page(
  title: str,
  lines: Sequence[str],
  troubles: Sequence[Trouble],
  samples: Mapping[str, Sample],
) -> Iterator[str]:
  wrong = any(trouble.wrong for trouble in troubles)
  name = html.escape(title)
  yield f'{_START}\n<html lang="en"><head><meta charset="utf-8">'
  yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
  yield f"<title>{name}: check</title><style>{_STYLE}</style></head><body>"
  yield f"<h1>{name}</h1>"
  for line in lines[:-1]:
    yield f"<p>{html.escape(_sentence(line))}</p>"
  kind = "wrong" if wrong else "right"
  yield f'<p class="verdict {kind}"><strong>{html.escape(lines[-1])}</strong></p>'
  if any(trouble.suspects for trouble in troubles):
    yield '<p><span class="key"></span> a centre as it is marked &nbsp; '
    yield '<span class="key ring"></span> where to look</p>'
  kinds: dict[tuple[bool, str], list[Trouble]] = {}
  for trouble in troubles:
    kinds.setdefault((trouble.wrong, trouble.title), []).append(trouble)
  for (grave, heading), each in kinds.items():
    tag = "wrong" if grave else "remark"
    yield f'<section><h2><span class="tag {tag}">{tag}</span>'
    yield f"{html.escape(heading)}</h2>"
    yield "<ul>" if len(each) > 1 else ""
    for trouble in each:
      element = "li" if len(each) > 1 else "p"
      yield f"<{element}>{html.escape(_sentence(trouble.text))}</{element}>"
    yield "</ul>" if len(each) > 1 else ""
    yield from _gallery([one for trouble in each for one in trouble.suspects], samples)
    yield "</section>"
  yield "</body></html>"


def _sentence(text: str) -> str:
  """With a capital, unless it begins with a file's name, and a full stop."""
  if text.partition(" ")[0].isalpha():
    text = text[:1].upper() + text[1:]
  return text if text.endswith((".", "?")) else f"{text}."


def _gallery(
  suspects: Sequence[Suspect], samples: Mapping[str, Sample]
) -> Iterator[str]:
  if not suspects:
    return
  yield '<div class="pictures">'
  for suspect in suspects[:MOST_PICTURES]:
    yield from _figures(suspect, samples)
  yield "</div>"
  rest = suspects[MOST_PICTURES:]
  if rest:
    names = "; ".join(f"{each.name} {each.caption}".strip() for each in rest)
    yield f"<details><summary>{counted(len(rest), 'more image')}</summary>"
    yield f"<p>{html.escape(names)}</p></details>"


def _figures(suspect: Suspect, samples: Mapping[str, Sample]) -> Iterator[str]:
  """The whole image with all marks, or close-ups of the first few of them."""
  sample = samples[suspect.name]
  name, note = html.escape(suspect.name), html.escape(suspect.caption)
  if suspect.close:
    for place in suspect.marked[:_CLOSE_UPS]:
      picture = _picture(sample, suspect.marked, _box_around(sample, place))
      where = f"At x {place[1]:.0f}, y {place[0]:.0f}."
      yield _figure(picture, f"<b>{name}</b> {note} {where}")
    return
  picture = _picture(sample, suspect.marked, _whole(sample))
  if suspect.beside:
    other = samples[suspect.beside]
    picture += _picture(other, _NOTHING, _whole(other))
  yield _figure(picture, f"<b>{name}</b> {note}", pair=bool(suspect.beside))


def _figure(picture: str, caption: str, *, pair: bool = False) -> str:
  start = '<figure class="pair"><div>' if pair else "<figure><div>"
  return f"{start}{picture}</div><figcaption>{caption}</figcaption></figure>"


def _whole(sample: Sample) -> tuple[int, int, int, int]:
  height, width = sample.image.shape[:2]
  return 0, 0, height, width


def _box_around(sample: Sample, place: np.ndarray) -> tuple[int, int, int, int]:
  """The part (y, x, height, width) of an image around a point (y, x)."""
  shape = np.array(sample.image.shape[:2])
  size = np.minimum(max(_LEAST_SIDE, round(_CLOSE / sample.resolution)), shape)
  corner = np.clip(np.rint(place - size / 2).astype(int), 0, shape - size)
  return int(corner[0]), int(corner[1]), int(size[0]), int(size[1])


def _picture(sample: Sample, marked: np.ndarray, box: tuple[int, int, int, int]) -> str:
  """A part (y, x, height, width) of an image with its centres and marks, as SVG."""
  y, x, height, width = box
  pixels = PIL.Image.fromarray(sample.image[y : y + height, x : x + width])
  if max(height, width) > _SIDE:
    pixels.thumbnail((_SIDE, _SIDE), PIL.Image.Resampling.LANCZOS)
  file = io.BytesIO()
  pixels.save(file, "JPEG", quality=88)
  data = base64.b64encode(file.getvalue()).decode()
  frame = f'x="-0.5" y="-0.5" width="{width}" height="{height}"'
  own, rings = (_within(points, box) for points in (sample.centers, marked))
  radius = max(height, width) * (0.015 if len(rings) > 4 else 0.08)
  dots = "".join(f"M{px:.1f} {py:.1f}h0" for py, px in own)
  parts = [
    f'<svg viewBox="-0.5 -0.5 {width} {height}" role="img"'
    f' aria-label="{html.escape(sample.name)}">',
    f'<image href="data:image/jpeg;base64,{data}" {frame} preserveAspectRatio="none"/>',
  ]
  if dots:
    parts += [f'<path class="dot {kind}" d="{dots}"/>' for kind in ("dark", "own")]
  for kind in ("dark", "mark"):
    parts += [
      f'<circle class="ring {kind}" cx="{px:.1f}" cy="{py:.1f}" r="{radius:.1f}"/>'
      for py, px in rings
    ]
  return "".join([*parts, "</svg>"])


def _within(points: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
  """Those of `[N, 2]` points that lie in a part, in its own pixels."""
  y, x, height, width = box
  moved = np.asarray(points, np.float64).reshape(-1, 2) - (y, x)
  inside = (moved >= -0.5) & (moved < np.array([height, width]) - 0.5)
  return moved[inside.all(axis=1)]
