"""Nuclei per mm² of tissue: the tissue as it was painted, not the glass around it."""

import json

import numpy as np
import PIL.Image
import pytest
from predictions import QUARTER_MICRON, SLIDE, names, options, read_summary

from micronet_jax.detection import scan as scan_module
from micronet_jax.predict.job import predict_images
from micronet_jax.predict.journal import Journal

pytestmark = pytest.mark.usefixtures("detector", "counted")

PIXEL_MM2 = 0.25e-3**2
REGIONS = ((100, 0, 100, 300), (150, 200, 200, 100))  # which overlap


@pytest.fixture
def slide(tmp_path, monkeypatch):
  """A path, and bool `[H, W]` of where tissue is painted: on whole cells of 8 microns.

  The search finds a nucleus every 16 pixels, on glass too.
  """
  monkeypatch.setattr(scan_module, "SLIDE_PIXELS", SLIDE)
  painted = np.zeros((640, 480), bool)
  painted[128:288, 96:224] = painted[480:512, 320:352] = True
  pixels = np.full((640, 480, 3), 245, np.uint8)
  pixels[painted] = np.random.default_rng(0).integers(60, 120, (painted.sum(), 3))
  PIL.Image.fromarray(pixels).save(tmp_path / "slide.png", dpi=QUARTER_MICRON)
  return str(tmp_path / "slide.png"), painted


def test_glass_around_tissue_is_searched_but_is_no_area_of_it(slide, tmp_path, capsys):
  image, painted = slide
  (result,) = predict_images([image], tmp_path / "out", options=options())
  mm2 = painted.sum() * PIXEL_MM2
  assert result["tissue_mm2"] == pytest.approx(mm2)
  assert result["per"] == "tissue"
  assert result["tissue_rim_um"] == 32.0
  per_mm2 = result["nuclei"] / mm2
  assert result["nuclei_per_mm2"] == pytest.approx(per_mm2, abs=0.06)
  assert f"{per_mm2:,.0f}/mm² of tissue" in capsys.readouterr().out
  (line,) = read_summary(tmp_path / "out")
  assert float(line["tissue_mm2"]) == pytest.approx(mm2)
  assert float(line["nuclei_per_mm2"]) == pytest.approx(per_mm2, abs=0.06)
  rows = np.genfromtxt(tmp_path / "out" / "slide.csv", delimiter=",", skip_header=1)
  x, y = rows[:, :2].astype(int).T
  assert 0 < painted[y, x].sum() < len(rows)  # the rim holds some


def test_regions_count_by_their_area_and_say_the_tissue_in_them(slide, tmp_path):
  image, painted = slide
  (result,) = predict_images(
    [image], tmp_path / "out", options=options(regions=REGIONS, formats=("html",))
  )
  within = np.zeros_like(painted)
  for x, y, width, height in REGIONS:
    within[y : y + height, x : x + width] = True
  assert result["tissue_mm2"] == pytest.approx((painted & within).sum() * PIXEL_MM2)
  assert result["area_mm2"] == pytest.approx(within.sum() * PIXEL_MM2, abs=1e-6)
  assert result["per"] == "regions"
  per_mm2 = result["nuclei"] / (within.sum() * PIXEL_MM2)
  assert result["nuclei_per_mm2"] == pytest.approx(per_mm2, rel=1e-3)
  page = (tmp_path / "out" / "slide.html").read_text("utf-8")
  area = f"{within.sum() * PIXEL_MM2:,.3g}"
  assert f"<b>{area}</b><span>mm² of regions</span>" in page


def _as_before(path):
  """Makes a record one of the version that counted the rim."""
  record = json.loads(path.read_text())
  del record["tissue_rim_um"]
  record.update(tissue_mm2=2 * record["tissue_mm2"], nuclei_per_mm2=1.0)
  path.write_text(json.dumps(record))


def test_a_result_that_counted_the_rim_is_made_again_and_not_listed(
  slide, tmp_path, counted, caplog
):
  image, _ = slide
  out = tmp_path / "out"
  (expected,) = predict_images([image], out, options=options())
  _as_before(out / "slide.json")
  other = tmp_path / "other.png"
  other.write_bytes((tmp_path / "slide.png").read_bytes())
  predict_images([other], out, options=options())
  assert [line["image"] for line in read_summary(out)] == [str(other)]
  assert "1 result(s)" in caplog.text
  counted.clear()
  (result,) = predict_images([image], out, options=options())
  assert counted
  assert "slide.json counts glass around the tissue as tissue" in caplog.text
  assert {**result, "seconds": 0} == {**expected, "seconds": 0}
  assert len(read_summary(out)) == 2


def test_what_was_begun_before_goes_on_and_leaves_out_the_rim(
  slide, tmp_path, counted, monkeypatch
):
  """The journal of a search holds nothing of the rule, so none is begun anew."""
  image, painted = slide
  add = Journal.add

  def stop(journal, *arguments):
    add(journal, *arguments)
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(Journal, "add", stop)
    with pytest.raises(KeyboardInterrupt):
      predict_images([image], tmp_path / "out", options=options())
  settings = (tmp_path / "out" / ".slide.partial" / "settings.json").read_text()
  assert set(json.loads(settings)) == {
    *("file", "bytes", "modified", "content", "weights", "mpp", "threshold"),
    *("regions", "tissue", "version", "sides", "tiles"),
  }
  first = counted.copy()
  (result,) = predict_images([image], tmp_path / "out", options=options())
  assert len(counted) == len({*counted}) > len(first)
  assert result["tissue_mm2"] == pytest.approx(painted.sum() * PIXEL_MM2)
  assert "slide.json" in names(tmp_path / "out")
