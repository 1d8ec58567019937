"""Annotation files with bytes changed or cut: read, or refused in one sentence."""

import gzip
import io
import json
import zipfile

import numpy as np
import PIL.Image
import pytest
import roifile
import tifffile
from annotations import BOX, assert_refused, feature, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from micronet_jax.datasets.annotations import read_centers
from micronet_jax.errors import InputError

FEW = settings(
  max_examples=100,
  deadline=None,
  suppress_health_check=[HealthCheck.function_scoped_fixture],
)
REGION = [[0, 0], [90, 0], [90, 90], [0, 90]]
FLAT = [value for vertex in BOX for value in vertex]


def roi_set():
  content = io.BytesIO()
  with zipfile.ZipFile(content, "w") as archive:
    for number, points in enumerate((BOX, REGION, [[4, 5], [6, 7]])):
      roi = roifile.ImagejRoi.frompoints(np.array(points))
      archive.writestr(f"{number}.roi", roi.tobytes())
  return content.getvalue()


def labels(kind):
  content = io.BytesIO()
  values = np.repeat(np.repeat(np.arange(12, dtype=np.uint8).reshape(3, 4), 5, 0), 5, 1)
  if kind == "png":
    PIL.Image.fromarray(values).save(content, "png")
  else:
    tifffile.imwrite(content, values)
  return content.getvalue()


QUPATH = json.dumps(
  [
    feature("Polygon", [REGION], properties={"objectType": "annotation"}),
    feature("Polygon", [BOX], properties={"classification": {"name": "Tumor"}}),
    feature("MultiPoint", [[1, 2], [3.5, 4.5]]),
  ]
)
MASK = {"size": [4, 5], "counts": "52207"}
SHAPES = [{"shape_type": "circle", "points": [[8, 8], [9, 9]]}, {"points": BOX}]
FILES = {
  "a.csv": b"x,y,unit,z,class\n1.5,2.5,px,0,a\n3,4,micron,0,\n",
  "a.tsv": b"Object type\tROI\tCentroid X px\tCentroid Y px\nCell\tPolygon\t1,5\t2,5\n",
  "a.geojson": QUPATH.encode(),
  "b.geojson.gz": gzip.compress(QUPATH.encode()),
  "coco.json": json.dumps(
    {
      "images": [{"id": 1, "file_name": "a.png"}],
      "annotations": [
        {"image_id": 1, "segmentation": [FLAT], "bbox": [10, 20, 4, 6]},
        {"image_id": 1, "segmentation": MASK},
      ],
    }
  ).encode(),
  "labelme.json": json.dumps({"shapes": SHAPES, "imageHeight": 9}).encode(),
  "aperio.xml": b'<?xml version="1.0" encoding="utf-8"?><Annotations>'
  b'<Annotation Name="a">'
  b'<Regions><Region Id="1" Type="0"><Vertices><Vertex X="1" Y="2"/>'
  b'<Vertex X="9" Y="2"/><Vertex X="9" Y="8"/></Vertices></Region></Regions>'
  b"</Annotation></Annotations>",
  "asap.xml": b'<ASAP_Annotations><Annotations><Annotation Name="n" Type="Dot"'
  b' PartOfGroup="None"><Coordinates><Coordinate Order="0" X="3" Y="4"/></Coordinates>'
  b"</Annotation></Annotations></ASAP_Annotations>",
  "counter.xml": b"<CellCounter_Marker_File><Marker><MarkerX>3</MarkerX><MarkerY>4"
  b"</MarkerY><MarkerZ>1</MarkerZ></Marker></CellCounter_Marker_File>",
  "a.zip": roi_set(),
  "a.roi": roifile.ImagejRoi.frompoints(np.array(BOX)).tobytes(),
  "a.png": labels("png"),
  "a.tif": labels("tif"),
}


def read(path):
  return read_centers(path, mpp=0.25, name="a")


@pytest.mark.parametrize("name", FILES)
def test_the_whole_file_is_read(tmp_path, name):
  assert len(read(write(tmp_path / name, FILES[name]))) > 0


@pytest.mark.parametrize("name", FILES)
@FEW
@given(data=st.data())
def test_a_broken_file_is_read_or_refused(tmp_path, name, data):
  content = bytearray(FILES[name])
  for _ in range(data.draw(st.integers(1, 5))):
    at = data.draw(st.integers(0, len(content) - 1))
    part = data.draw(
      st.one_of(st.binary(max_size=3), st.sampled_from([b"9" * 400, b"-"]))
    )
    content[at : at + data.draw(st.integers(0, 3))] = part
  cut = data.draw(st.integers(0, len(content)))
  path = write(tmp_path / name, bytes(content[: cut or None]))
  try:
    assert read(path).shape[1] == 2
  except InputError:
    assert_refused(path, mpp=0.25, name="a")


def test_entities_that_grow_without_end(tmp_path):
  lines = '<!ENTITY a0 "aaaaaaaaaa">' + "".join(
    f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10)
  )
  text = f"<!DOCTYPE Annotations [{lines}]><Annotations>&a9;</Annotations>"
  assert_refused(write(tmp_path / "a.xml", text), "cannot be read as XML")
