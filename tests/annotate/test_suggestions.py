"""Which detections are decided on, what counts, and where the network is unsure."""

import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from micronet_jax.annotate.candidates import Candidates, Shelf
from micronet_jax.annotate.folder import Folder
from micronet_jax.annotate.site import Site
from micronet_jax.annotate.store import Annotation
from micronet_jax.annotate.suggestions import doubtful_windows, nuclei_of, open_rows


def annotation(points=(), hidden=(), regions=()):
  kept = [
    dict.fromkeys((round(100 * x), round(100 * y)) for x, y in each)
    for each in (points, hidden)
  ]
  return Annotation("", *kept, tuple(regions))


def rows(*values):
  return np.array(values, np.float32).reshape(-1, 3)


def test_detections_at_a_point_or_in_a_region_are_decided_on():
  found = rows(
    (10, 10, 0.9), (10, 15, 0.8), (10, 17, 0.7), (40, 40, 0.6), (49.6, 45, 1)
  )
  said = annotation(points=[(10, 10)], hidden=[(90, 90)], regions=[(35, 35, 15, 15)])
  np.testing.assert_array_equal(open_rows(found, said, 0.25), found[[2, 4]])
  # Half the pixels a micron: half as near.
  np.testing.assert_array_equal(open_rows(found, said, 0.5), found[[1, 2, 4]])


def test_nuclei_are_what_people_said_and_what_reaches_the_threshold():
  found = rows((10, 10, 0.9), (60, 20, 0.35), (70, 20, 0.3), (80, 20, 0.8))
  said = annotation(points=[(10.5, 10)], hidden=[(80, 21)])
  centers, scores = nuclei_of(found, said, None, 0.35)
  np.testing.assert_array_equal(centers, [[10, 10.5], [20, 60]])
  np.testing.assert_allclose(scores, [1, 0.35])


@given(
  st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), max_size=30),
  st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), max_size=5),
)
def test_open_detections_are_those_that_no_point_is_near(places, points):
  found = rows(*((x, y, 0.5) for x, y in places))
  want = [
    row for row in found.tolist()
    if all(np.hypot(row[0] - x, row[1] - y) > 6 for x, y in points)
  ]  # fmt: skip
  assert open_rows(found, annotation(points), 0.25).tolist() == want


def test_the_windows_with_most_scores_near_the_threshold_come_first():
  slide = rows(
    *((1500 + k, 700, 0.4) for k in range(5)), (3, 3, 0.31), (900, 5, 0.49), (9, 9, 0.5)
  )
  assert doubtful_windows(slide, 0.4, 0.25, (1024, 2048)) == [
    {"x": 1024, "y": 512, "width": 512, "height": 512, "doubtful": 5},
    {"x": 0, "y": 0, "width": 512, "height": 512, "doubtful": 2},
  ]  # two of an image at most
  sure = rows((10, 10, 0.9), (20, 20, 0.12))
  assert doubtful_windows(sure, 0.4, 0.25, (600, 600)) == []
  assert doubtful_windows(rows(), 0.4, None, (600, 600)) == []


def test_the_five_most_doubtful_windows_of_all_images_are_offered(folder):
  rng = np.random.default_rng(0)
  site = Site(Folder(folder), "nowhere")
  try:
    for picture, count in zip(site.folder.refresh(), (3, 7), strict=True):
      found = np.column_stack([rng.uniform(5, 75, (count, 2)), np.full(count, 0.45)])
      kept = Candidates(
        site.searches._identity,
        [found.astype(np.float32)],
        stamp=site.folder.stamp(picture),
      )
      Shelf(site.folder).write(picture, kept)
    while any(each.get("pending") for each in site.state()["images"]):
      time.sleep(0.01)
    offered = site.state()["suggestions"]
    assert [(each["name"], each["doubtful"]) for each in offered] == [
      ("b", 7),
      ("a", 3),
    ]
    for path in (folder / ".micronet/detections").glob("a*"):
      path.unlink()  # as if another network were used, or another image there
    site.searches._shelf.clear()
    offered = site.state()["suggestions"]
    assert [each["name"] for each in offered] == ["b"]
    site.set_threshold(0.9)  # of which they are sure
    while site.state()["suggestions"]:
      time.sleep(0.01)
  finally:
    site.close()
