"""What is said of an image in numbers, by hand and against painted pixels."""

import json

import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from micronet_jax.predict import summary

MANY = settings(
  max_examples=40,
  deadline=None,
  suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def summarised(**changes):
  values = {
    "name": "a.svs",
    "shape": (4000, 8000),
    "mpp": 0.25,
    "count": 300,
    "seconds": 12.345,
    "threshold": 0.45,
    "weights": "base",
  }
  return summary.summarise(**values | changes)


def test_summary_worked_by_hand():
  # 8000 x 4000 pixels of 0.25 microns are 2 mm x 1 mm.
  whole = summarised()
  assert (whole["width"], whole["height"], whole["nuclei"]) == (8000, 4000, 300)
  assert whole["area_mm2"] == 2.0
  assert (whole["nuclei_per_mm2"], whole["per"]) == (150.0, "image")
  tissue = summarised(tissue_mm2=0.5, tiles=7)
  assert (tissue["nuclei_per_mm2"], tissue["per"], tissue["tiles"]) == (
    *(600.0, "tissue", 7),
  )
  assert json.loads(json.dumps(tissue)) == tissue


def test_summary_of_regions_that_overlap_and_stand_out():
  def box(x, y, width, height, nuclei):
    return {"x": x, "y": y, "width": width, "height": height, "nuclei": nuclei}

  # 1 mm x 1 mm, the same moved by half, and one with a quarter on the image.
  regions = [
    box(0, 0, 4000, 4000, 100),
    box(2000, 0, 4000, 4000, 200),
    box(7600, 3600, 800, 800, 4),
  ]
  found = summarised(regions=regions)
  assert found["area_mm2"] == 1.51
  assert (found["nuclei_per_mm2"], found["per"]) == (round(300 / 1.51, 1), "regions")
  areas = [each["area_mm2"] for each in found["regions"]]
  densities = [each["nuclei_per_mm2"] for each in found["regions"]]
  assert (areas, densities) == ([1.0, 1.0, 0.01], [100.0, 200.0, 400.0])


def test_summary_without_resolution_or_area():
  box = {"x": 0, "y": 0, "width": 10, "height": 10, "nuclei": 3}
  unknown = summarised(mpp=None, regions=[box])
  assert unknown["area_mm2"] is unknown["nuclei_per_mm2"] is None
  assert unknown["regions"][0]["nuclei_per_mm2"] is None
  assert summarised(tissue_mm2=0.0, count=0)["nuclei_per_mm2"] is None
  beyond = summarised(regions=[{**box, "x": 9000}])
  assert beyond["regions"][0]["area_mm2"] == 0
  assert beyond["nuclei_per_mm2"] is None


SIDES = st.integers(-3, 12)
BOXES = st.lists(st.tuples(SIDES, SIDES, st.integers(1, 9), st.integers(1, 9)))


@MANY
@given(BOXES.filter(len))
@example([(0, 0, 3, 9), (0, 1, 3, 2), (0, 5, 3, 2)])  # two within one
def test_area_of_regions_against_painted_pixels(boxes):
  canvas = np.zeros((10, 12), bool)
  regions = []
  for x, y, width, height in boxes:
    canvas[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)] = True
    regions.append({"x": x, "y": y, "width": width, "height": height, "nuclei": 0})
  found = summarised(shape=canvas.shape, mpp=1000.0, regions=regions)
  assert found["area_mm2"] == canvas.sum()
