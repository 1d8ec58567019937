"""The pages over all committed results: every claim's answer, and what one would take.

  python -m micronet_jax.studies.answers results

writes the part of results/README.md between its two marks, and results/power.md, from
what lies in the folders beside them: of organs split by patient in FOLDER and, at half
the resolution, in coarse/FOLDER; of one slide each in nuinsseg/FOLDER. Where the sets
disagree, organs split by patient decide, unless they contradict themselves.
"""

import dataclasses
import functools
import pathlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from micronet_jax.datasets.organs import NUINSSEG
from micronet_jax.errors import InputError
from micronet_jax.evaluation.intervals import Estimate
from micronet_jax.files import replacing
from micronet_jax.lengths import REFERENCE_MPP
from micronet_jax.studies.claims import (
  ALIKE,
  LEAST_DIFFERENCE,
  NOTHING,
  OPEN,
  Claim,
  decide_claim,
  estimate_parts,
  list_claims,
  value_of,
  weigh_claim,
)
from micronet_jax.studies.earlier import TOGETHER, read_folder
from micronet_jax.studies.power import (
  HEADS,
  describe_power,
  needs,
  organs_of_claim,
  over_organs,
)
from micronet_jax.studies.results import Line, Row, read_lines
from micronet_jax.studies.setting import Setting
from micronet_jax.studies.study import STUDIES

BEGIN, END = "<!-- answers: generated -->", "<!-- end of answers -->"
VERDICTS = ("holds", "does not hold", ALIKE, OPEN)
NEAR = f"{LEAST_DIFFERENCE:g}"
ALIKE_TOLD = f"It makes no difference of {NEAR} or more."
ONE_SLIDE = "on one slide an organ"
# Of organs split by patient at 0.5 microns, and of one slide an organ.
PLACES = ("coarse/", f"{NUINSSEG}/")
TURNED = 0.01  # from nothing, on either side, for a change of sign to be named
HOW_TO_READ = f"""
Intervals of 95 %, and the verdicts that follow from them, are of these organs: other
test images (and seeds, of three and more) would move the numbers so. Those "over
organs" are Student's over the organs, as if they were drawn by chance from all there
are, and what a user with another organ should go by. "No difference": the whole
interval lies within {NEAR} of nothing, a margin of ours, chosen when most of this had
been seen. Organs split by patient decide where they tell, by their last line that
does, unless two lines contradict each other: opposite verdicts, or another verdict and
an interval that has nothing in common. A verdict or sign that leaving out one organ
would change has that beside it.
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
    setting, rows = read_folder(path.parent)
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
  The organ is no target, base nor source then. Of results without counts by patient the
  interval is taken to be as wide as with it, times √(n / (n - 1)) for n groups.
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
  for name, without in zip(left, _judge(answer, left.values()), strict=True):
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


def _judge(answer: Answer, parts: Iterable[Sequence[Row]]) -> Iterator[Estimate]:
  """A claim's number and interval from fewer rows than it was decided with."""
  claim, line = answer.claim, answer.line
  if not any(TOGETHER in row.by_patient for row in answer.rows):
    yield from estimate_parts(claim, answer.rows, parts, unit=answer.setting.unit)
    return
  before = weigh_claim(claim, answer.rows)
  for rows in parts:
    weighed = weigh_claim(claim, rows)
    if before is None or weighed is None or line.low is None or line.high is None:
      yield NOTHING
      continue
    value = value_of(claim, weighed)
    wider = (before.groups / weighed.groups) ** 0.5
    low, high = (value + wider * (end - line.value) for end in (line.low, line.high))
    yield Estimate(value, low, high, "")


class Decision(NamedTuple):
  """What all sets come to.

  Attributes:
    verdict: of the organs split by patient if they tell, else the other set's; open
      where two contradict each other.
    beside: what is said with it.
    deciding: whose verdict it is; None if nobody's.
    general: whether an interval over organs in general says so too.
  """

  verdict: str
  beside: str
  deciding: Answer | None
  general: bool


def decide(patients: Sequence[Answer], slides: Answer | None) -> Decision:
  """The verdict of all sets, and what is said beside it.

  Args:
    patients: of organs split by patient, by rising weight: the last that tells decides.
    slides: of one slide an organ.
  """
  told = [each for each in patients if each.line.verdict != OPEN]
  if told and any(_contradict(each, told[-1]) for each in patients):
    return Decision(OPEN, "the two resolutions disagree", None, False)
  second = slides.line.verdict if slides else OPEN
  if not told and second == OPEN:
    return Decision(OPEN, "", None, False)
  deciding = told[-1] if told else slides
  assert deciding is not None
  verdict, said = deciding.line.verdict, [] if told else [ONE_SLIDE]
  if told and second not in (verdict, OPEN):
    said.append("the 23 organs say otherwise")
  if not told and any(_contradict(each, deciding) for each in patients):
    return Decision(OPEN, "the sets disagree", None, False)
  general = False
  for each in (*patients, *([slides] if slides else [])):
    if each.general and each.line.verdict == verdict:
      general |= decide_claim(each.claim, each.general) == verdict
  return Decision(verdict, "; ".join(said), deciding, general)


def _contradict(one: Answer, other: Answer) -> bool:
  """Opposite verdicts, or intervals without anything in common."""
  verdicts = {one.line.verdict, other.line.verdict}
  if len(verdicts) == 1:
    return False
  ends = one.line.low, one.line.high, other.line.low, other.line.high
  low, high, from_, to = ends
  apart = None not in ends and bool(high < from_ or to < low)  # type: ignore[operator]
  return apart or verdicts == set(VERDICTS[:2])


def _tell(decision: Decision, answers: Sequence[Answer]) -> str:
  """One sentence for a user; of an open claim, what it would take."""
  if decision.deciding:
    told = decision.deciding.claim.told.get(decision.verdict, ALIKE_TOLD)
    if decision.general or not decision.deciding.general:
      return told
    return f"{told.rstrip('.')}; of other organs that is not certain."
  if decision.beside:
    said = "more seeds and organs of both would tell why"
    return f"Not decided: {decision.beside}; {said}."
  needed = [needs(each.claim, each.rows, each.line) for each in answers]
  take = [each for each in needed if each]
  return f"Not decided; {take[-1] if take else 'there are too few test patients'}."


def _cell(answers: Sequence[Answer], number: str) -> str:
  """What one set says, a line for each resolution; `number` is what decides elsewhere.

  Number, interval, verdict, and what leaving out an organ changes.
  """
  return "<br>".join(_describe(each, number) for each in answers) or "not run"


def _describe(answer: Answer, number: str) -> str:
  line, setting, seeds = answer.line, answer.setting, len(answer.setting.config.seeds)
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
  if answer.claim.number != number:
    parts.append(f"here: {answer.claim.number}")
  place = f"{setting.numbers.working_mpp or REFERENCE_MPP:g} µm, {seeds} seed"
  return "; ".join([f"{place}{'s' * (seeds > 1)}: {text}", *parts])


def describe_answers(found: Mapping[str, Sequence[Answer]]) -> str:
  """The generated part of results/README.md."""
  heads = ["", "the paper: what decides it", "7 organs, split by patient"]
  heads += ["23 organs, one slide each", "verdict", "what we would tell a user"]
  lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
  counts, general = dict.fromkeys(VERDICTS, 0), dict.fromkeys(VERDICTS, 0)
  for name in dict.fromkeys(map(study_of, found)):
    fine, coarse, slides = (
      _by_text(found.get(f"{place}{name}", ())) for place in ("", *PLACES)
    )
    for key in dict.fromkeys([*fine, *coarse, *slides]):
      patients = [side[key] for side in (fine, coarse) if key in side]
      every = [*patients, *([slides[key]] if key in slides else [])]
      decision = decide(patients, slides.get(key))
      counts[decision.verdict] += 1
      general[decision.verdict] += decision.general
      number = every[0].claim.number
      beside = f", {decision.beside}" if decision.beside else ""
      cells = [title_of(name), f"{key[0]}: {number}", _cell(patients, number)]
      cells += [_cell(every[len(patients) :], number)]
      cells += [f"**{decision.verdict}**{beside}", _tell(decision, every)]
      lines.append(f"| {' | '.join(cells)} |")
  said = [f"{counts[v]} {v} ({general[v]} for organs in general)" for v in VERDICTS[:3]]
  text = f"Of {sum(counts.values())} numbers: {', '.join(said)}, {counts[OPEN]} {OPEN}."
  return "\n".join([text, HOW_TO_READ, *lines])


def study_of(folder: str) -> str:
  """A folder of results without the place that says of which set it is."""
  return folder.removeprefix(PLACES[0]).removeprefix(PLACES[1])


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
  """How a folder of results is called, and of which set it is."""
  kind = ", one slide an organ" if answers[0].setting.one_slide else ""
  kind = ", at 0.5 microns" if name.startswith(PLACES[0]) else kind
  return title_of(study_of(name)) + kind


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
