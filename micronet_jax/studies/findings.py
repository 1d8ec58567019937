"""findings.md: each claim with what was found, and what it rests on.

Called by `studies.study`.
"""

import json
from collections.abc import Sequence

from micronet_jax.config import as_dict
from micronet_jax.studies.claims import Finding
from micronet_jax.studies.setting import Setting

COLUMNS = (
  *("The paper's claim", "What decides it", "Found", "95 % interval", "Over"),
  "Verdict",
)


def format_findings(
  title: str,
  setting: Setting,
  seeds: Sequence[int],
  found: Sequence[Finding],
  notes: Sequence[str],
) -> str:
  """The text of findings.md.

  Args:
    title: of the study.
    setting: budget and data.
    seeds: of the runs; none if nothing was trained.
    found: what the table has, a line each.
    notes: what follows it, in Markdown.
  """
  lines = [f"# {title}", "", *_describe_basis(setting, seeds), ""]
  lines += [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
  lines += [f"| {' | '.join(_cells(each))} |" for each in found]
  lines += ["", *notes]
  if seeds:
    numbers = json.dumps(as_dict(setting.numbers), sort_keys=True)
    lines += ["", f"All numbers of the budget: `{numbers}`"]
  return "\n".join(lines).rstrip() + "\n"


def _cells(found: Finding) -> list[str]:
  """A line of the table."""
  claim, estimate, verdict = found
  ends = "none"
  if estimate.low is not None and estimate.high is not None:
    ends = f"{estimate.low:+.3f} to {estimate.high:+.3f}"
  number = claim.number + (f"; above {claim.least:g}" if claim.least else "")
  value = f"{estimate.value:+.3f}"
  return [claim.text, number, value, ends, estimate.source, f"**{verdict}**"]


def _describe_basis(setting: Setting, seeds: Sequence[int]) -> list[str]:
  """Budget, data and how to read the table."""
  if not seeds:
    return ["Nothing is trained for it."]
  numbers = setting.numbers
  organs = ", ".join(organ.label for organ in setting.organs)
  images = f"at most {numbers.images}" if numbers.images else "all"
  worth = {
    "smoke": "**A smoke run: the machinery is proved, the numbers mean nothing.**",
    "paper": "The paper's recipe.",
  }.get(
    setting.budget,
    "A reduced budget: directions may be compared with the paper, not numbers.",
  )
  return [
    f"{worth} Budget `{setting.budget}`: width {numbers.width}, patches of "
    f"{numbers.patch}², batches of {numbers.batch_size}, {numbers.num_steps:,} "
    f"iterations, rate {numbers.learning_rate:g} ({numbers.schedule}); seeds "
    f"{', '.join(map(str, seeds))}.",
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
