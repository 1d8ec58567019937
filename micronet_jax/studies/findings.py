"""findings.md: each claim with what was found, and what it rests on.

Called by `studies.study`; titles, claims and notes are in paper.toml.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from micronet_jax.config import as_dict
from micronet_jax.studies.claims import (
  Finding,
  fill,
  judge_claim,
  list_claims,
  read_paper,
)
from micronet_jax.studies.results import Row
from micronet_jax.studies.setting import Setting

HEADS = (
  *("The paper's claim", "What decides it", "Found", "95 % interval", "Over"),
  "Verdict",
)
WORTH = {
  "smoke": "**A smoke run: the machinery is proved, the numbers mean nothing.**",
  "cpu": "A reduced budget: directions may be compared with the paper, not numbers.",
  "paper": "The paper's recipe.",
}


def judge_study(
  study: str, rows: Sequence[Row], facts: Mapping[str, Any]
) -> list[Finding]:
  """What was found of each claim of a study."""
  return [judge_claim(claim, rows) for claim in list_claims(study, facts)]


def format_findings(
  rows: Sequence[Row],
  setting: Setting,
  found: Sequence[Finding],
  facts: Mapping[str, Any],
) -> str:
  """The text of findings.md.

  Args:
    rows: of the study.
    setting: its budget and data.
    found: what the table has, a line each.
    facts: that the notes mention.
  """
  paper = read_paper()[setting.config.study]
  lines = [f"# {paper['title']}", "", *_describe_basis(rows, setting), ""]
  lines += [f"| {' | '.join(HEADS)} |", "|---" * len(HEADS) + "|"]
  lines += [f"| {' | '.join(_cells(each))} |" for each in found] + [""]
  for note in paper["notes"]:
    needs, _, text = note.removeprefix("{?").partition("}")
    if not note.startswith("{?"):
      lines.append(fill(note, facts))
    elif facts[needs]:
      lines.append(fill(text, facts))
  if rows:
    numbers = json.dumps(as_dict(setting.numbers), sort_keys=True)
    lines += ["", f"All numbers of the budget: `{numbers}`"]
  return "\n".join(lines).rstrip() + "\n"


def _cells(found: Finding) -> list[str]:
  """A line of the table."""
  claim, (value, low, high, source), verdict = found
  ends = "none" if low is None or high is None else f"{low:+.3f} to {high:+.3f}"
  number = claim.number + (f"; above {claim.least:g}" if claim.least else "")
  return [claim.text, number, f"{value:+.3f}", ends, source, f"**{verdict}**"]


def _describe_basis(rows: Sequence[Row], setting: Setting) -> list[str]:
  """Budget, data and how to read the table."""
  seeds, numbers = sorted({row.seed for row in rows}), setting.numbers
  if not seeds:
    return ["Nothing is trained for it."]
  organs = ", ".join(organ.label for organ in setting.organs)
  images = f"at most {numbers.images}" if numbers.images else "all"
  return [
    f"{WORTH[setting.budget]} Budget `{setting.budget}`: width {numbers.width}, "
    f"patches of {numbers.patch}², batches of {numbers.batch_size}, "
    f"{numbers.num_steps:,} iterations, rate {numbers.learning_rate:g} "
    f"({numbers.schedule}); seeds {', '.join(map(str, seeds))}.",
    "",
    f"Data: {setting.data}, {images} images an organ, split by patient: {organs}.",
    "",
    "F1 is pooled over the test images, matched within 16 px. A claim holds if the "
    "whole interval is above zero (or above the margin that is given), does not hold "
    "if all of it is below, and else cannot be told. "
    + (
      "Intervals are over seeds and test patients. Lines of F1 are means over seeds, "
      "bars and bands the standard deviation; curves of precision and recall are the "
      "first seed's."
      if len(seeds) >= 3
      else "Intervals are over test patients, for these trained networks; training "
      "again with another seed would move the numbers too (`--config.seeds=0,1,2`)."
    ),
  ]
