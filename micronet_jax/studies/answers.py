"""The pages over all committed results: every claim's answer, and what one would take.

  python -m micronet_jax.studies.answers results

writes the part of results/README.md between its two marks, and results/power.md, from
what lies in the folders beside them: of organs split by patient in FOLDER, of one slide
each in nuinsseg/FOLDER. Where the two disagree, the first decides.
"""

import dataclasses
import functools
import pathlib
import re
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from micronet_jax.datasets.organs import NUINSSEG
from micronet_jax.errors import InputError
from micronet_jax.evaluation.intervals import Estimate
from micronet_jax.files import replacing
from micronet_jax.studies.claims import (
  ALIKE,
  LEAST_DIFFERENCE,
  OPEN,
  Claim,
  decide_claim,
  estimate_parts,
  list_claims,
)
from micronet_jax.studies.power import (
  HEADS,
  describe_power,
  needs,
  organs_of_claim,
  over_organs,
)
from micronet_jax.studies.results import Line, Row, read_lines, read_results
from micronet_jax.studies.setting import Setting, setting_from_json
from micronet_jax.studies.study import STUDIES

BEGIN, END = "<!-- answers: generated -->", "<!-- end of answers -->"
VERDICTS = ("holds", "does not hold", ALIKE, OPEN)
NEAR = f"{LEAST_DIFFERENCE:g}"
ALIKE_TOLD = f"It makes no difference of {NEAR} or more."
ONE_SLIDE = "on one slide an organ"
TURNED = 0.01  # from nothing, on either side, for a change of sign to be named
HOW_TO_READ = f"""
Intervals of 95 %, and the verdicts that follow from them, are of these organs: other
test images (and seeds, of three and more) would move the numbers so. Those "over
organs" are Student's over the organs, as if they were drawn by chance from all there
are, and what a user with another organ should go by. "No difference": the whole
interval lies within {NEAR} of nothing, a margin of ours, chosen when most of this had
been seen. A verdict or sign that leaving out one organ would change has that beside it.
Some numbers rest on the same networks, and of so many tests at 95 % a few are wrong by
chance. [What it would take](power.md) to decide each.
"""
SOME = (3, 6, 12, 23)  # organs that a study may be spent on


@dataclasses.dataclass(frozen=True)
class Answer:
  """One claim, with what one folder of results says of it."""

  folder: str
  setting: Setting
  claim: Claim
  line: Line
  rows: Sequence[Row]

  @functools.cached_property
  def general(self) -> Estimate | None:
    """What `over_organs` says of it."""
    return over_organs(self.claim, self.rows)


def read_answers(results: pathlib.Path) -> dict[str, list[Answer]]:
  """The answers of each folder of results, by its path below it.

  Raises:
    InputError: of a folder, what it holds does not belong together.
  """
  found = {}
  for path in sorted(results.rglob("results.csv"), key=_place):
    name = path.parent.relative_to(results).as_posix()
    values, rows = read_results(path)
    setting = setting_from_json(values)
    study = setting.config.study
    facts = STUDIES[study].facts(rows, setting)
    if setting.config.data == "synthetic":
      continue  # the claims are about tissue
    claims, lines = list_claims(study, facts), read_lines(path.parent)
    if [each.text for each in claims] != [each.text for each in lines]:
      raise InputError(
        f"{path.parent}/findings.md has other claims than paper.toml; make it again: "
        f"python -m micronet_jax.studies.study {path}"
      )
    pairs = zip(claims, lines, strict=True)
    found[name] = [Answer(name, setting, *pair, rows) for pair in pairs]
  return found


def _place(path: pathlib.Path) -> tuple[int, str]:
  """In the order of the paper's tables and figures, whatever stands behind the name."""
  ours = [n for n, name in enumerate(STUDIES) if path.parent.name.startswith(name)]
  return max(ours, default=0), str(path)


def changed_without(answer: Answer) -> dict[str, str]:
  """By organ, what a claim would come to if it had not been there, where that differs.

  That is another verdict, or a number of the other sign that is as far from nothing.
  The organ is no target, base nor source then.
  """
  claim, line, rows = answer.claim, answer.line, answer.rows
  if line.low is None or line.high is None or claim.measure == "diverged":
    return {}
  left = {}
  for organ in answer.setting.organs:
    others = [row for row in rows if organ.label not in organs_of(row)]
    if len(others) < len(rows):
      left[organ.label] = others
  found = {}
  judged = estimate_parts(claim, rows, left.values(), unit=answer.setting.unit)
  for name, without in zip(left, judged, strict=True):
    if not np.isfinite(without.value):
      continue
    verdict = decide_claim(claim, without)
    turned = claim.metric == "f1" and without.value * line.value < 0
    if verdict != line.verdict:
      found[name] = verdict
    elif turned and min(abs(without.value), abs(line.value)) >= TURNED:
      found[name] = f"{without.value:+.3f}"
  return found


def organs_of(row: Row) -> set[str]:
  """What a row was tested on, trained on, begun from or mixed with."""
  source = row.single[0] if row.single else row.source
  return {row.target, row.trained_on, row.base, source} - {""}


class Decision(NamedTuple):
  """What both sets come to.

  Attributes:
    verdict: the first set's if it tells, else the second's; open where they contradict
      each other.
    beside: what is said with it.
    deciding: whose verdict it is; None if nobody's.
    general: whether the interval over organs in general says so too.
  """

  verdict: str
  beside: str
  deciding: Answer | None
  general: bool


def decide(patients: Answer | None, slides: Answer | None) -> Decision:
  """The verdict of both sets, and what is said beside it."""
  first, second = (each.line.verdict if each else OPEN for each in (patients, slides))
  if first == second == OPEN:
    return Decision(OPEN, "", None, False)
  deciding, said = (patients, []) if first != OPEN else (slides, [ONE_SLIDE])
  assert deciding is not None
  if first != OPEN and second not in (first, OPEN):
    said.append("the 23 organs say otherwise")
  if first == OPEN and patients and _apart(patients.line, deciding.line):
    return Decision(OPEN, "the sets disagree", None, False)
  verdict, general = deciding.line.verdict, False
  for each in (patients, slides):
    if each and each.general and each.line.verdict == verdict:
      general |= decide_claim(each.claim, each.general) == verdict
  return Decision(verdict, "; ".join(said), deciding, general)


def _apart(one: Line, other: Line) -> bool:
  """Whether two intervals have nothing in common."""
  if None in (one.low, one.high, other.low, other.high):
    return False
  return bool(one.high < other.low or other.high < one.low)  # type: ignore[operator]


def _tell(decision: Decision, pair: Sequence[Answer | None]) -> str:
  """One sentence for a user; of an open claim, what it would take."""
  if decision.deciding:
    told = decision.deciding.claim.told.get(decision.verdict, ALIKE_TOLD)
    if decision.general or not decision.deciding.general:
      return told
    return f"{told.rstrip('.')}; of other organs that is not certain."
  if decision.beside:
    return "Not decided: the two sets contradict each other."
  said = [needs(each.claim, each.rows, each.line) for each in pair if each]
  take = [each for each in said if each]
  return f"Not decided; {take[-1] if take else 'there are too few test patients'}."


def _cell(answer: Answer | None) -> str:
  """What one set says: number, interval, verdict, and what leaving out changes."""
  if answer is None:
    return "not run"
  line = answer.line
  ends = "no interval"
  if line.low is not None and line.high is not None:
    ends = f"{line.low:+.3f} to {line.high:+.3f}"
  text = f"{line.value:+.3f} ({ends}), [{line.verdict}]({answer.folder}/findings.md)"
  # A share's interval is over organs already.
  share = answer.claim.measure == "share"
  over = None if share else answer.general
  parts = [] if over is None else [f"over organs {over.low:+.3f} to {over.high:+.3f}"]
  without: dict[str, list[str]] = {}
  for organ, change in changed_without(answer).items():
    without.setdefault(change, []).append(organ)
  parts += [f"{change} without {' or '.join(o)}" for change, o in without.items()]
  return "; ".join([text, *parts])


def describe_answers(found: Mapping[str, Sequence[Answer]]) -> str:
  """The generated part of results/README.md."""
  heads = ["", "the paper: what decides it", "7 organs, split by patient"]
  heads += ["23 organs, one slide each", "verdict", "what we would tell a user"]
  lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
  counts, general = dict.fromkeys(VERDICTS, 0), dict.fromkeys(VERDICTS, 0)
  names = dict.fromkeys(name.removeprefix(f"{NUINSSEG}/") for name in found)
  for name in names:
    sides = [_by_text(found.get(each, ())) for each in (name, f"{NUINSSEG}/{name}")]
    for key in dict.fromkeys([*sides[0], *sides[1]]):
      pair = sides[0].get(key), sides[1].get(key)
      decision = decide(*pair)
      counts[decision.verdict] += 1
      general[decision.verdict] += decision.general
      number = next(each.claim.number for each in pair if each)
      beside = f", {decision.beside}" if decision.beside else ""
      cells = [title_of(name), f"{key[0]}: {number}", *map(_cell, pair)]
      cells += [f"**{decision.verdict}**{beside}", _tell(decision, pair)]
      lines.append(f"| {' | '.join(cells)} |")
  said = [f"{counts[v]} {v} ({general[v]} for organs in general)" for v in VERDICTS[:3]]
  text = f"Of {sum(counts.values())} numbers: {', '.join(said)}, {counts[OPEN]} {OPEN}."
  return "\n".join([text, HOW_TO_READ, *lines])


def _by_text(answers: Sequence[Answer]) -> dict[tuple[str, int], Answer]:
  """By the claim's words, and which with these words it is."""
  found: dict[tuple[str, int], Answer] = {}
  for each in answers:
    same = sum(text == each.claim.text for text, _ in found)
    found[each.claim.text, same] = each
  return found


def title_of(folder: str) -> str:
  """How a folder of results is called: "Figs. 7, 8" of fig7_8."""
  found = re.match(r"(fig|table)(\d+)(?:_(\d)(?!\d))?(?:_(.+))?", folder)
  if found is None:
    return folder
  kind, number, more, rest = found.groups()
  title = "Table" if kind == "table" else "Figs." if more else "Fig."
  title = f"{title} {number}" + (f", {more}" if more else "")
  return title + (f" ({rest.replace('_', ' ')})" if rest else "")


POWER = """# What each claim would take

Made by `python -m micronet_jax.studies.answers results` from the committed results. A
claim's number is a mean over organs of a difference; *SD organs* is how much the true
difference varies from organ to organ, *SD seeds* how much one organ's does by training
again, *SD test images* by other test patients or images, as many as there were.
*Organs* is how many would do, with so many seeds each, for Student's 95 % interval over
organs in general to clear the margin, were the difference as found: half of such
repetitions would. The last two columns are for the organs that there were: how many
seeds, or how many times as many test images, the interval of findings.md would take.
"chosen": the claim is about the one organ where the number is largest or least.
"""


def describe_needs(found: Mapping[str, Sequence[Answer]]) -> str:
  """results/power.md."""
  parts = [POWER, _summarise_needs(found)]
  for name, answers in found.items():
    setting = answers[0].setting
    count = len(setting.targets) or len(setting.organs)
    seeds = len(setting.config.seeds)
    parts.append(
      f"## {_head(name, answers)}\n\n{count} organs or targets, {seeds} seeds.\n"
    )
    lines = [f"| {HEADS} |", "|---" * len(HEADS.split("|")) + "|"]
    for each in answers:
      cells = describe_power(each.claim, each.rows, each.line)
      lines.append(f"| {' | '.join(cells)} |")
    parts.append("\n".join(lines) + "\n")
  return "\n".join(parts)


def _summarise_needs(found: Mapping[str, Sequence[Answer]]) -> str:
  """How many of each study's claims about organs in general so many organs decide."""
  lines = [
    f"| claims decided by | {' | '.join(f'{n} organs' for n in SOME)} | of |",
    "|---" * (len(SOME) + 2) + "|",
  ]
  for name, answers in found.items():
    needed = [organs_of_claim(a.claim, a.rows, a.line) for a in answers]
    counts = [sum(n is not None and n <= some for n in needed) for some in SOME]
    cells = [_head(name, answers), *map(str, counts), str(len(needed))]
    lines.append(f"| {' | '.join(cells)} |")
  return "\n".join(lines) + "\n"


def _head(name: str, answers: Sequence[Answer]) -> str:
  """How a folder of results is called, and of which kind its organs are."""
  slides = ", one slide an organ" if answers[0].setting.one_slide else ""
  return title_of(name.removeprefix(f"{NUINSSEG}/")) + slides


def write_pages(results: pathlib.Path) -> None:
  """Writes both pages; InputError where README.md lacks the marks."""
  found, page = read_answers(results), results / "README.md"
  before, mark, rest = page.read_text(encoding="utf-8").partition(BEGIN)
  _, end, after = rest.partition(END)
  if not mark or not end:
    raise InputError(f"{page} lacks {BEGIN} or {END}, between which answers are put")
  text = f"{before}{BEGIN}\n\n{describe_answers(found)}\n\n{END}{after}"
  for path, content in ((page, text), (results / "power.md", describe_needs(found))):
    with replacing(path) as beside:
      beside.write_text(content, encoding="utf-8")


if __name__ == "__main__":
  try:
    write_pages(pathlib.Path(*sys.argv[1:2]))
  except InputError as error:
    raise SystemExit(f"error: {error}") from None
