"""Annotation files for tests, and how what is read of them is compared."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from micronet_jax.datasets.annotations import read_centers
from micronet_jax.errors import InputError

MANY = settings(
  max_examples=40,
  deadline=None,
  suppress_health_check=[HealthCheck.function_scoped_fixture],
)
COORDINATES = st.floats(-0.5, 5000, width=32)
POINTS = st.lists(  # of each place, one
  st.tuples(COORDINATES, COORDINATES),
  max_size=12,
  unique_by=lambda point: tuple(round(value, 3) + 0.0 for value in point),
)
BOX = [[10, 20], [14, 20], [14, 26], [10, 26]]  # centroid (12, 23), area 24


def write(path, text):
  path.write_bytes(text.encode() if isinstance(text, str) else text)
  return path


def assert_centers(path, expected, **options):
  centers = read_centers(path, **options)
  assert centers.dtype == np.float32
  assert centers.shape == (len(expected), 2)
  np.testing.assert_allclose(centers, np.reshape(expected, (-1, 2)), atol=1e-4)


def assert_refused(path, *parts, **options):
  with pytest.raises(InputError) as caught:
    read_centers(path, **options)
  message = str(caught.value)
  for part in (str(path), *parts):
    assert part in message
  assert "\n" not in message
  assert message.endswith(".")


def geojson(tmp_path, document):
  return write(tmp_path / "a.geojson", json.dumps(document))


def feature(kind, coordinates, **more):
  geometry = {"type": kind, "coordinates": coordinates}
  return {"type": "Feature", "geometry": geometry, "properties": {}, **more}


def region(ring, *, kind="0", negative="0", number="7"):
  vertices = "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in ring)
  return (
    f'<Region Id="{number}" Type="{kind}" NegativeROA="{negative}">'
    f"<Attributes/><Vertices>{vertices}</Vertices></Region>"
  )


def aperio(tmp_path, *regions):
  text = (
    '<Annotations MicronsPerPixel="0.25"><Annotation Id="1"><Regions>'
    f"{''.join(regions)}</Regions></Annotation></Annotations>"
  )
  return write(tmp_path / "a.xml", text)
