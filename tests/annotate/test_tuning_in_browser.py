"""The button that fine-tunes, to its end: progress, table, the network in use."""

import shlex
import time

import pytest
from networks import META, random_weights
from serving import save_image, serving
from tissue import dots

from benchmarks.compiling import QUICKLY
from micronet_jax import checkpoints

expect = pytest.importorskip("playwright.sync_api").expect  # asks again and again

MOST = 300  # seconds for a run of three steps where another test runs


@pytest.fixture
def corrected(tmp_path):
  """Three images that a person has corrected, and a small network."""
  for number, name in enumerate("abc"):
    sample = dots(name, size=128, nuclei=12, seed=number)
    save_image(tmp_path / f"mine/{name}.png", sample.image)
    text = "".join(f"{x:.2f},{y:.2f}\n" for y, x in sample.centers)
    for folder, lines in (("points", "x,y\n" + text),
                          ("regions", "x,y,width,height\n0,0,128,128\n")):  # fmt: skip
      (tmp_path / "mine" / folder).mkdir(exist_ok=True)
      (tmp_path / "mine" / folder / f"{name}.csv").write_text(lines)
  checkpoints.export_weights(tmp_path / "tiny", random_weights(), META, dtype="float32")
  return tmp_path


def test_fine_tuning_to_the_end_and_using_the_result(corrected, browser, monkeypatch):
  monkeypatch.setenv("TFDS_DATA_DIR", str(corrected / "tfds"))
  monkeypatch.setenv("XLA_FLAGS", QUICKLY)  # one device in the run
  with serving(corrected / "mine", corrected / "tiny") as server:
    page = browser.new_page(viewport={"width": 1280, "height": 1400})
    page.goto(server.url)
    wait(page, "() => window.micronet?.page.state?.images[2]?.state === 'corrected'")
    expect(page.locator("#tune-ready")).to_contain_text("3 regions in 3 images")
    page.fill("#steps", "3")
    page.click("#tune-begin")
    wait(page, "() => window.micronet.page.state.tuning.state === 'running'")
    expect(page.locator("#tune-stop")).to_be_visible()
    # Stopped, and gone on with.
    page.click("#tune-stop")
    wait(page, "() => window.micronet.page.state.tuning.state !== 'running'")
    if page.evaluate("() => window.micronet.page.state.tuning.state") == "stopped":
      page.click("#tune-resume")
    state = "() => ['done', 'failed'].includes(window.micronet.page.state.tuning.state)"
    wait(page, state)
    assert page.evaluate("() => window.micronet.page.state.tuning.state") == "done"
    rows = ["within 3 µm", "before", "threshold re\u2011chosen", "fine-tuned"]
    heads = page.locator("#result-table tr > :first-child")
    expect(heads).to_have_text(rows)
    expect(page.locator("#result-note")).to_contain_text("never saw")
    expect(page.locator("#result-pictures img")).to_have_count(3)
    expect(page.locator("#command")).not_to_be_empty()
    words = shlex.split(page.inner_text("#command"))
    assert words[:3] == ["micronet", "finetune", str(corrected / "mine")]
    assert "num_steps=3" in words
    page.click("#use-run")
    wait(page, "() => window.micronet.page.state.weights.endsWith('runs/finetune-1')")
    wait(page, "() => document.getElementById('use-run').textContent === 'In use'")
    page.close()
    assert server.site.searches.error == ""
  assert (corrected / "mine/runs/finetune-1/report.json").exists()


def wait(page, code):
  end = time.monotonic() + MOST
  while not page.evaluate(code):
    assert time.monotonic() < end, (code, page.inner_text("#tune-card"))
    time.sleep(0.1)
