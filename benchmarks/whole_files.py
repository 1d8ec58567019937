"""A small whole file of every kind that the package reads, to be spoiled.

Called by `bad_files` and by tests of broken annotations.
"""

import gzip
import io
import json
import zipfile
from typing import Any

import imagecodecs
import numpy as np
import PIL.Image
import roifile
import scipy.io
import tifffile

BOX = [[10, 20], [14, 20], [14, 26], [10, 26]]
REGION = [[0, 0], [90, 0], [90, 90], [0, 90]]


def _feature(kind: str, coordinates: Any, **properties: Any) -> dict[str, Any]:
  geometry = {"type": kind, "coordinates": coordinates}
  return {"type": "Feature", "geometry": geometry, "properties": properties}


QUPATH = json.dumps(
  [
    _feature("Polygon", [REGION], objectType="annotation"),
    _feature("Polygon", [BOX], classification={"name": "Tumor"}),
    _feature("MultiPoint", [[1, 2], [3.5, 4.5]]),
  ]
)
_SEGMENTS = [[value for vertex in BOX for value in vertex]]
_MASK = {"size": [4, 5], "counts": "52207"}
_SHAPES = [{"shape_type": "circle", "points": [[8, 8], [9, 9]]}, {"points": BOX}]
_BOXED = {"image_id": 1, "segmentation": _SEGMENTS, "bbox": [10, 20, 4, 6]}


def made_annotations() -> dict[str, bytes]:
  """A small file of each format that annotations are read from, by name."""
  labels = np.repeat(np.repeat(np.arange(12, dtype=np.uint8).reshape(3, 4), 5, 0), 5, 1)
  coco = {
    "images": [{"id": 1, "file_name": "a.png"}],
    "annotations": [_BOXED, {"image_id": 1, "segmentation": _MASK}],
  }
  matrix = io.BytesIO()
  scipy.io.savemat(matrix, {"detection": np.array([[2.0, 3], [4, 5.5]])})
  return {
    "a.csv": b"x,y,unit,z,class\n1.5,2.5,px,0,a\n3,4,micron,0,\n",
    "a.tsv": b"Object type\tROI\tCentroid X px\tCentroid Y px\n"
    b"Cell\tPolygon\t1,5\t2,5\n",
    "a.geojson": QUPATH.encode(),
    "b.geojson.gz": gzip.compress(QUPATH.encode()),
    "coco.json": json.dumps(coco).encode(),
    "labelme.json": json.dumps({"shapes": _SHAPES, "imageHeight": 9}).encode(),
    "aperio.xml": b'<?xml version="1.0" encoding="utf-8"?><Annotations>'
    b'<Annotation Name="a"><Regions><Region Id="1" Type="0"><Vertices>'
    b'<Vertex X="1" Y="2"/><Vertex X="9" Y="2"/><Vertex X="9" Y="8"/></Vertices>'
    b"</Region></Regions></Annotation></Annotations>",
    "asap.xml": b'<ASAP_Annotations><Annotations><Annotation Name="n" Type="Dot"'
    b' PartOfGroup="None"><Coordinates><Coordinate Order="0" X="3" Y="4"/>'
    b"</Coordinates></Annotation></Annotations></ASAP_Annotations>",
    "counter.xml": b"<CellCounter_Marker_File><Marker><MarkerX>3</MarkerX><MarkerY>4"
    b"</MarkerY><MarkerZ>1</MarkerZ></Marker></CellCounter_Marker_File>",
    "a.zip": _roi_set(),
    "a.roi": roifile.ImagejRoi.frompoints(np.array(BOX)).tobytes(),
    "a.mat": matrix.getvalue(),
    "a.png": _picture(labels, "png"),
    "a.tif": _tiff(labels),
  }


def _roi_set() -> bytes:
  content = io.BytesIO()
  with zipfile.ZipFile(content, "w") as archive:
    for number, points in enumerate((BOX, REGION, [[4, 5], [6, 7]])):
      roi = roifile.ImagejRoi.frompoints(np.array(points))
      archive.writestr(f"{number}.roi", roi.tobytes())
  return content.getvalue()


def _picture(pixels: np.ndarray, kind: str, **options: Any) -> bytes:
  content = io.BytesIO()
  PIL.Image.fromarray(pixels).save(content, kind, **options)
  return content.getvalue()


def _tiff(pixels: np.ndarray, **options: Any) -> bytes:
  content = io.BytesIO()
  tifffile.imwrite(content, pixels, **options)
  return content.getvalue()


def made_files() -> dict[str, bytes]:
  """A small file of every kind that is read; images lie in `images/`."""
  y, x = np.mgrid[:64, :48]
  pixels = np.stack([(y * 3) % 256, (x * 5) % 256, (x + y) % 256], -1).astype(np.uint8)
  deep = pixels.astype(np.uint16) * 200
  options: dict[str, dict[str, Any]] = {
    "plain": {},
    "tiled": {"tile": (16, 16), "compression": "deflate"},
    "lzw": {"compression": "lzw", "predictor": True},
    "jpeg": {"compression": "jpeg"},
    "ome": {"ome": True, "metadata": {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}},
    "aperio": {"description": "Aperio Image\n|AppMag = 20|MPP = 0.5", "tile": (16, 16)},
    "imagej": {"imagej": True, "resolution": (4, 4), "metadata": {"unit": "um"}},
  }
  opacity = np.dstack([pixels, np.full((64, 48), 200, np.uint8)])
  meta = {
    **{"model": {"name": "micronet"}, "proximity": {"scale": 5.0}, "xi": 0.4},
    **{"min_distance": 5, "mpp": 0.25, "step": 3},
  }
  record = {
    **{"image": "a.png", "nuclei": 3, "nuclei_per_mm2": 2.5, "per": "image"},
    **{"files": ["a.csv"], "settings": {"mpp": 0.25}},
  }
  return {
    **made_annotations(),
    **{
      f"images/{name}.tif": _tiff(pixels, photometric="rgb", **each)
      for name, each in options.items()
    },
    "images/deep.tif": _tiff(deep, photometric="rgb"),
    "images/fractions.tif": _tiff((pixels / 255).astype(np.float32), photometric="rgb"),
    "images/a.png": _picture(pixels, "png"),
    "images/opacity.png": _picture(opacity, "png"),
    "images/deep.png": imagecodecs.png_encode(deep),
    "images/palette.png": _picture(pixels[..., 0], "png", bits=4),
    "images/a.jpg": _picture(pixels, "jpeg"),
    "images/progressive.jpg": _picture(pixels, "jpeg", progressive=True),
    "images/a.bmp": _picture(pixels, "bmp"),
    "images/a.webp": _picture(pixels, "webp"),
    "images/a.jp2": _picture(pixels, "jpeg2000"),
    "stored/META.json": json.dumps(meta).encode(),
    "stored/DETECTED.json": json.dumps(record).encode(),
    "log.jsonl": b'{"step": 2, "loss": 0.5}\n{"step": 4, "val_f1": 0.25}\n',
  }
