"""A page of results that can be sent to someone: one HTML file that asks for nothing.

It holds the picture at a bounded size, the nuclei, and what is said of them; its own
script (page.js) lets people look at them. The page may do nothing but that: its policy
allows the one script and the one style by their digests, and pictures in the page. What
comes from files (names) is escaped. Called by `predict.outputs`.
"""

import base64
import hashlib
import html
import io
import json
import math
import os
import pathlib
import platform
import re
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import numpy as np
import PIL.Image
from matplotlib import colormaps

from micronet_jax.files import replacing
from micronet_jax.predict.density import COLORS, Density
from micronet_jax.predict.page.distances import nearest_distances
from micronet_jax.predict.page.histograms import draw_histogram
from micronet_jax.predict.tables import Chunks

MOST_DRAWN = 200_000
"""Nuclei that a page holds, 2.4 MB; of more, every so many-th one."""


REACH_UM, REACH_PX = 100.0, 400.0
"""How far the nearest other nucleus is looked for; pixels if microns are unknown."""


_QUALITY = 85  # of the picture, as JPEG


_TOPS = (0.2, 0.3, 0.4, 0.5, 0.75, 1.0)  # where the axis of distances may end, of reach


_ROOM = pathlib.Path(__file__).parent


def write_page(
  path: str | os.PathLike[str],
  chunks: Chunks,
  *,
  result: Mapping[str, Any],
  picture: np.ndarray,
  density: Density,
) -> None:
  """Writes the page, whole or not at all; equal arguments give equal pages.

  Args:
    path: the file, which should end in .html.
    chunks: the nuclei, from top to bottom: y, rounded to 0.01 pixels, never falls.
    result: what `summary.summarise` returned, with all that `predict.image` adds.
    picture: uint8 `[h, w, 3]`, all of the image at any resolution.
    density: filled.

  Raises:
    InputError: `path` cannot be written.
  """
  nuclei = _Nuclei(result["nuclei"], result["mpp"])
  nuclei.take(chunks)
  style, script = _asset("page.css"), _asset("page.js")
  ramp = [(np.array(colormaps[COLORS](i / 63)[:3]) * 255).round() for i in range(64)]
  stops = (f"rgb({r:.0f},{g:.0f},{b:.0f})" for r, g, b in ramp[::9])
  style = style.replace("{{ramp}}", ", ".join(stops))
  data = {
    "width": result["width"],
    "height": result["height"],
    "mpp": result["mpp"],
    "nuclei": result["nuclei"],
    "points": nuclei.encoded(),
    "density": _density(density, [color.tolist() for color in ramp]),
    "regions": [
      {side: region[side] for side in ("x", "y", "width", "height")}
      for region in result["regions"]
    ],
  }
  parts = {
    "policy": _policy(style, script),
    "version": html.escape(result["version"]),
    "title": html.escape(result["settings"]["file"]),
    "nuclei": _plural(result["nuclei"]),
    "style": style,
    "figures": _figures(result, nuclei),
    "picture": _embedded(picture),
    "shown": html.escape(_what_is_shown(result, picture, nuclei)),
    "table": _regions(result),
    "scores": _score_histogram(nuclei, result["threshold"]),
    "distances": _distance_histogram(nuclei),
    "settings": _settings(result),
    "data": _harmless_json(data),
    "script": script,
  }
  # Each place is filled once: what is filled in is not looked at again.
  page = re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _asset("page.html"))
  with replacing(path) as beside:
    beside.write_bytes(page.encode("utf-8", "replace"))


class _Nuclei:
  """What a page needs of all nuclei: every so many-th, all scores and distances."""

  def __init__(self, count: int, mpp: float | None):
    self.count = count
    self.unit = "px" if mpp is None else "µm"
    self.reach = REACH_PX if mpp is None else REACH_UM
    self._size = 1.0 if mpp is None else mpp  # of a pixel, in the unit
    self.drawn = np.zeros((0, 3), np.float32)
    self.scores = np.zeros(0, np.float32)
    self.distances = np.zeros(0, np.float32)

  def take(self, chunks: Chunks) -> None:
    """Goes through the nuclei once."""
    drawn: list[np.ndarray] = []
    scores: list[np.ndarray] = []

    def centers():
      first, share = 0, min(1.0, MOST_DRAWN / max(self.count, 1))
      for places, values in chunks:
        places = np.round(places, 2)
        steps = np.floor(np.arange(first, first + len(places) + 1) * share)
        kept = np.diff(steps) > 0
        drawn.append(np.column_stack([places[kept, ::-1], values[kept]]))
        scores.append(np.asarray(values, np.float32))
        first += len(places)
        yield places

    reach = self.reach / self._size
    distances = [
      part * self._size for part in nearest_distances(centers(), reach=reach)
    ]
    self.drawn = np.concatenate([self.drawn, *drawn]).astype("<f4")
    self.scores = np.concatenate([self.scores, *scores])
    self.distances = np.concatenate([self.distances, *distances])

  def encoded(self) -> dict[str, Any]:
    """For the script: all x, then all y, then all scores, as float32."""
    columns = np.ascontiguousarray(self.drawn.T).tobytes()
    text = base64.b64encode(columns).decode("ascii")
    return {"count": len(self.drawn), "base64": text}


def _asset(name: str) -> str:
  return (_ROOM / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
  """What the page may do, for its browser: run this script, and ask for nothing."""
  digests = (hashlib.sha256(text.encode()).digest() for text in (style, script))
  of_style, of_script = (
    f"'sha256-{base64.b64encode(each).decode('ascii')}'" for each in digests
  )
  return (
    f"default-src 'none'; img-src data:; style-src {of_style}; script-src {of_script};"
    " base-uri 'none'; form-action 'none'"
  )


def _harmless_json(values: Any) -> str:
  """JSON that cannot end the element it stands in."""
  text = json.dumps(values, separators=(",", ":"), allow_nan=False)
  for letter in "<>&":
    text = text.replace(letter, f"\\u{ord(letter):04x}")
  return text


def _embedded(picture: np.ndarray) -> str:
  file = io.BytesIO()
  PIL.Image.fromarray(picture).save(file, format="JPEG", quality=_QUALITY)
  return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def _density(density: Density, ramp: list[list[float]]) -> dict[str, Any]:
  """For the script: its cells, row by row; null where `Density.values` is NaN."""
  values = density.values
  rows, columns = values.shape
  return {
    "rows": rows,
    "columns": columns,
    "values": [
      None if math.isnan(value) else round(value, 1)
      for value in values.ravel().tolist()
    ],
    "most": round(density.top, 1),
    "unit": "/ 10⁴ px" if density.mpp is None else "/ mm²",
    "ramp": ramp,
  }


def _figures(result: Mapping[str, Any], nuclei: _Nuclei) -> str:
  """The few numbers that come first."""
  told = [(f"{result['nuclei']:,}", "nuclei")]
  if result["nuclei_per_mm2"] is not None:
    told.append((f"{result['nuclei_per_mm2']:,.0f}", f"per mm² of {result['per']}"))
    area = result["tissue_mm2" if result["per"] == "tissue" else "area_mm2"]
    told.append((f"{area:,.3g}", f"mm² of {result['per']}"))
  if len(nuclei.scores):
    told.append((f"{np.median(nuclei.scores):.2f}", "median score"))
    middle = float(np.median(nuclei.distances))
    far = f"over {nuclei.reach:g}" if np.isinf(middle) else f"{middle:.3g}"
    told.append((f"{far} {nuclei.unit}", "median distance to the nearest"))
  return "".join(
    f"<li><b>{html.escape(number)}</b><span>{html.escape(what)}</span></li>"
    for number, what in told
  )


def _what_is_shown(
  result: Mapping[str, Any], picture: np.ndarray, nuclei: _Nuclei
) -> str:
  """How much of the image and of its nuclei the page holds."""
  height, width = picture.shape[:2]
  size = f"{result['width']:,} × {result['height']:,} pixels"
  if (width, height) == (result["width"], result["height"]):
    text = f"Picture: all {size} of the image, as JPEG."
  else:
    times = result["width"] / width
    text = f"Picture: {width:,} × {height:,} pixels, as JPEG, of an image of {size};"
    text += f" one of its pixels is {times:.3g} of the image's"
    text += "." if result["mpp"] is None else f", {times * result['mpp']:.3g} µm."
  if len(nuclei.drawn) == nuclei.count:
    return f"{text} All {_plural(nuclei.count)} are drawn."
  return (
    f"{text} Of {_plural(nuclei.count)} {len(nuclei.drawn):,} are drawn, evenly picked;"
    " all figures are of all."
  )


def _plural(count: int) -> str:
  return f"{count:,} nucle{'us' if count == 1 else 'i'}"


def _regions(result: Mapping[str, Any]) -> str:
  """How many nuclei each region has; of an image without regions, one line."""
  whole = {"nuclei": result["nuclei"], "nuclei_per_mm2": result["nuclei_per_mm2"]}
  area = result["tissue_mm2" if result["per"] == "tissue" else "area_mm2"]
  names = {"image": "whole image", "tissue": "tissue", "regions": "all regions"}
  lines = [
    (
      f'<div class="part"><button data-region="{number}">{number + 1}</button>'
      f"<small>{region['width']:,} × {region['height']:,} px<br>"
      f"x {region['x']:,}, y {region['y']:,}</small></div>",
      region,
      region["area_mm2"],
    )
    for number, region in enumerate(result["regions"])
  ]
  if len(lines) != 1:
    lines.append((names[result["per"]], whole, area))
  rows = [
    f'<tr><td>{name}</td><td class="number">{counted["nuclei"]:,}</td>'
    f'<td class="number">{_or_dash(counted["nuclei_per_mm2"], ",.0f")}</td>'
    f'<td class="number">{_or_dash(mm2, ",.3g")}</td></tr>'
    for name, counted, mm2 in lines
  ]
  head = "".join(
    f'<th scope="col" class="number">{name}</th>'
    for name in ("nuclei", "per mm²", "mm²")
  )
  return (
    f'<div class="scroll"><table><thead><tr><th scope="col">part</th>{head}</tr>'
    f"</thead><tbody>{''.join(rows)}</tbody></table></div>"
  )


def _or_dash(value: float | None, form: str) -> str:
  return "–" if value is None else format(value, form)


def _score_histogram(nuclei: _Nuclei, threshold: float) -> str:
  top = max(1.0, np.ceil(nuclei.scores.max(initial=0) * 20) / 20)
  bins = round(top * 20)
  drawn = draw_histogram(nuclei.scores, np.linspace(0, top, bins + 1), axis="score")
  return f'{drawn}<p class="note">Scores below {threshold:.3g} were left out.</p>'


def _distance_histogram(nuclei: _Nuclei) -> str:
  """Of those that have a neighbour within reach; says how many have none."""
  near = nuclei.distances[np.isfinite(nuclei.distances)]
  wanted = float(np.quantile(near, 0.99)) if len(near) else 0.0
  top = next(top for top in _TOPS if top * nuclei.reach >= wanted or top == _TOPS[-1])
  top *= nuclei.reach
  axis = f"distance ({nuclei.unit})"
  drawn = draw_histogram(near, np.linspace(0, top, 41), axis=axis)
  farther = nuclei.count - int(np.count_nonzero(near <= top))
  text = "Between centres; a neighbour where nothing was searched is not known."
  if farther:
    text += f" Beyond {top:g} {nuclei.unit}, not drawn: {_plural(farther)}."
  if len(near) < nuclei.count:
    text += f" The median is of those within {nuclei.reach:g} {nuclei.unit}."
  return f'{drawn}<p class="note">{html.escape(text)}</p>'


def _settings(result: Mapping[str, Any]) -> str:
  """All that was chosen, and with which programs; no place of a disk is told."""
  given, mpp = result["settings"], result["mpp"]
  size = f"{result['width']:,} × {result['height']:,} pixels"
  rule = "given" if given["threshold"] is not None else f"{result['threshold_rule']}"
  rule = {
    "absolute": "the weights' own",
    "relative": "the weights' own, a share of the highest in an image up to 1 mm²",
    "median": "the weights' own, a share of the median of clear maxima",
  }.get(rule, rule)
  versions = [f"{name} {metadata.version(name)}" for name in ("jax", "flax", "numpy")]
  lines: Sequence[tuple[str, str]] = [
    ("image", given["file"]),
    ("size", size if mpp is None else f"{size} of {mpp:.4g} µm"),
    (
      "weights",
      f"{pathlib.Path(result['weights']).absolute().name} ({given['weights']})",
    ),
    ("least score", f"{result['threshold']:.4g} ({rule})"),
    ("network sees", f"{result['working_mpp']:g} µm a pixel"),
    ("searched", {"image": "all of the image"}.get(result["per"], result["per"])),
    ("coordinates", "pixels; (0, 0) is the centre of the top-left one"),
    ("program", f"micronet_jax {result['version']}"),
    ("run by", ", ".join([*versions, f"Python {platform.python_version()}"])),
  ]
  if mpp is None:
    lines = [*lines, ("resolution", "not known: taken as 0.25 µm a pixel")]
  rows = (
    f'<tr><th scope="row">{html.escape(name)}</th><td>{html.escape(text)}</td></tr>'
    for name, text in lines
  )
  return f'<table class="settings"><tbody>{"".join(rows)}</tbody></table>'
