"""What README and the other pages say is true of the files that they speak of."""

import pathlib
import re
import shutil

import pytest

from micronet_jax.errors import InputError
from micronet_jax.studies import answers

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = (
  *("README.md", "CONTRIBUTING.md", "CHANGELOG.md"),
  *("docs/annotate.md", "docs/cluster.md", "docs/folders.md"),
  *("benchmarks/RESULTS.md", "results/README.md", "micronet_jax/weights/README.md"),
  *("docs/reliability.md", "docs/licences.md", "docs/export.md", "docs/scale.md"),
  "docs/detecting-at-scale.md",
  "results/power.md",
)


def read(page):
  return (ROOT / page).read_text(encoding="utf-8")


def anchors(page):
  """The anchors that a page's headings have on GitHub."""
  titles = re.findall(r"^#+ (.*)$", read(page), re.M)
  return {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
  text = re.sub(r"```.*?```", "", read(page), flags=re.S)
  links = re.findall(r"\]\(([^)\s]+)\)", text)
  for link in links:
    if not re.match(r"\w+:", link):
      path, _, anchor = link.partition("#")
      target = (ROOT / page).parent / path if path else ROOT / page
      assert target.exists(), link
      assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_are_there(page):
  named = re.findall(
    r"`((?:micronet_jax|configs|tests|benchmarks)/[\w/.]+)`", read(page)
  )
  missing = [path for path in named if not (ROOT / path).exists()]
  assert not missing


def test_nobody_is_told_to_install_what_no_index_has():
  """The package is installed from its checkout; a folder may be named with extras."""
  files = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.*")]
  for place in ("micronet_jax", "configs", "notebooks", "results", "benchmarks"):
    files += [*(ROOT / place).rglob("*.py"), *(ROOT / place).rglob("*.md")]
    files += (ROOT / place).rglob("*.ipynb")
  texts = {path: path.read_text("utf-8", "replace") for path in files}
  asked = re.compile(r"pip install (?:-\S+ )*[\s'\"]*micronet[-_]jax\b")
  assert len(files) > 200
  assert not [path for path, text in texts.items() if asked.search(text)]


def test_contributing_names_modules_that_exist():
  named = re.findall(r"`([a-z_]+(?:/[a-z_]+)*\.py)`", read("CONTRIBUTING.md"))
  assert len(named) > 20
  places = (ROOT, ROOT / "micronet_jax")
  assert not [path for path in named if not any((p / path).exists() for p in places)]


def test_promises_name_tests_that_exist():
  named = re.findall(r"`((?:\w+/)*test_\w+\.py)`", read("docs/reliability.md"))
  assert len(named) > 40
  assert not [path for path in named if not [*(ROOT / "tests").rglob(path)]]


def test_the_first_screen_is_short_and_shows_what_ci_runs():
  readme = read("README.md")
  assert len(readme.splitlines()) <= 150
  assert readme.count("\ntests/run\n") == 1
  assert read(".ci/run").count("\ntests/run\n") == 1
  assert "run: .ci/run\n" in read(".github/workflows/ci.yml")


def test_results_say_what_the_findings_say(tmp_path):
  """Both pages are what the command makes of the findings beside them."""
  place = pathlib.Path(shutil.copytree(ROOT / "results", tmp_path / "results"))
  answers.write_pages(place)
  for page in ("README.md", "power.md"):
    assert (place / page).read_text("utf-8") == read(f"results/{page}")
  texts = [path.read_text("utf-8") for path in place.rglob("findings.md")]
  findings = [text for text in texts if "\nData: synthetic" not in text]
  claims = sum(len(re.findall(r"\| \*\*.*\*\* \|$", f, re.M)) for f in findings)
  told = re.findall(r"\), \[[\w ]+\]\(\S+/findings\.md\)", read("results/README.md"))
  assert len(told) == claims > 40
  (place / "README.md").write_text("nothing to replace")
  with pytest.raises(InputError, match=r"README\.md lacks <!-- answers"):
    answers.write_pages(place)
