"""What the program's JSON files hold is checked in one place, in one sentence."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from networks import META, random_weights

from micronet_jax import checkpoints, stored
from micronet_jax.detection.detector import load
from micronet_jax.errors import InputError
from micronet_jax.predict import outputs
from micronet_jax.stored import read_log
from micronet_jax.training import curves
from micronet_jax.training.progress import Progress

JSON = st.recursive(
  st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
  lambda inner: (
    st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=5), inner, max_size=3)
  ),
  max_leaves=5,
)
SCHEMAS = [value for name, value in vars(stored).items() if name.isupper()]
RECORD = {
  **{"best_f1": 0.5, "best_step": 3, "waiting_since": 3, "xi": 0.5},
  **{"min_distance": 5, "finished": False},
}
FULL = {
  **META,
  "step": 3,
  "record": RECORD,
  "mpp": 0.25,
  "split": {"train": ["a"], "validation_fraction": 0.2},
  "provenance": {
    "own": [{"name": "a", "patient": "p", "part": "train", "pixels": "", "points": ""}],
    "inherited": [],
  },
}
CHECKED = {**stored.META, **stored.TRAINING}


def paths(value, before=()):
  """Each place in a value of JSON."""
  if isinstance(value, dict | list):
    for key in value if isinstance(value, dict) else range(len(value)):
      yield (*before, key)
      yield from paths(value[key], (*before, key))


def refusal(values, schema, where):
  """The sentence, or "" if they are taken."""
  try:
    assert stored.check_stored(values, schema, where) is values
  except InputError as error:
    return str(error)
  return ""


@given(JSON, st.sampled_from(SCHEMAS))
def test_anything_is_taken_or_refused_in_one_sentence(value, schema):
  sentence = refusal(value, schema, "a.json")
  assert not sentence or sentence.startswith("a.json ")
  assert "\n" not in sentence
  assert len(sentence) < 300


@given(st.sampled_from(sorted(paths(FULL), key=str)), JSON)
def test_a_field_of_another_kind_is_named(path, value):
  values = copy.deepcopy(FULL)
  assert not refusal(values, CHECKED, "meta")
  *homes, last = path
  place = values
  for home in homes:
    place = place[home]
  place[last] = value
  sentence = refusal(values, CHECKED, "meta")
  assert not sentence or str(path[0]) in sentence


@pytest.mark.parametrize(
  ("field", "value", "message"),
  [
    ("xi", "0.4", r"has xi = '0.4', where a number from 0 to 1 is needed"),
    ("xi", 7, "has xi = 7, where"),
    ("xi", float("nan"), "has xi = nan, where"),
    ("min_distance", 5.5, "has min_distance = 5.5, where a whole number from 1"),
    ("min_distance", True, "has min_distance = True, where"),
    ("model", [], r"has model = \[\], where an object is needed"),
    ("model", {"width": 2}, "lacks model.name"),
    ("proximity", {"scale": 0}, "has proximity.scale = 0, where"),
    ("mpp", "fine", "has mpp = 'fine', where"),
    ("provenance", {"own": [], "inherited": [{"name": 3}]}, r"inherited\[0\].name = 3"),
    ("record", {**RECORD, "finished": 1}, "record.finished = 1, where true or false"),
  ],
)
def test_a_crafted_meta_is_refused(tmp_path, field, value, message):
  with pytest.raises(InputError, match=message):
    stored.check_stored({**FULL, field: value}, CHECKED, "meta")
  if field == "record":
    return
  checkpoints.export_weights(
    tmp_path / "w", random_weights(), {**FULL, field: value}, dtype="float32"
  )
  with pytest.raises(InputError, match=f"the meta of checkpoint .*{message}"):
    load(tmp_path / "w")


def test_meta_is_under_the_checksums_unless_it_is_of_version_0_1(tmp_path):
  checkpoints.export_weights(tmp_path / "w", random_weights(), FULL, dtype="float32")
  path = tmp_path / "w/meta/metadata"
  saved = json.loads(path.read_text())
  assert load(tmp_path / "w").meta["xi"] == 0.4
  path.write_text(json.dumps({**saved, "xi": 0.3}))
  with pytest.raises(InputError, match=r"is damaged \(meta differs from what was"):
    load(tmp_path / "w")
  del saved["checksums"]["meta"]
  path.write_text(json.dumps({**saved, "xi": 0.3}))
  assert load(tmp_path / "w").meta["xi"] == 0.3
  for checksums in ([], 3, None):
    path.write_text(json.dumps({**saved, "checksums": checksums}))
    with pytest.raises(InputError, match="is damaged"):
      load(tmp_path / "w")


@pytest.mark.parametrize("text", ["[" * 100_000, "7" * 5000, '"', "\ufeff", "[]"])
def test_json_that_is_none(tmp_path, text):
  (tmp_path / "a.json").write_text(text)
  with pytest.raises(InputError, match="remove it"):
    stored.read_stored(tmp_path / "a.json", stored.ENDED)


def test_bad_lines_of_a_log_are_skipped_and_said(tmp_path, caplog):
  lines = [
    {"step": 2, "loss": 0.5},
    [1],
    {"loss": 3},
    {"step": "2"},
    {"step": 4, "val_f1": 0.5, "loss": None},
    {"step": 5, "loss": "x"},
  ]
  text = "".join(json.dumps(line) + "\n" for line in lines)
  (tmp_path / "log.jsonl").write_bytes(text.encode() + b'\xff\n{"step": 6}\n{"st')
  assert [record["step"] for record in read_log(tmp_path / "log.jsonl")] == [2, 4, 6]
  assert "5 line(s) are no records and are left out, first line 2" in caplog.text
  history = curves.read_history(tmp_path)
  assert (history.steps, history.val_f1) == ([2], [0.5])
  caplog.clear()
  with Progress(tmp_path, label="x", start=5, num_steps=9) as progress:
    progress.train(7, loss=1.0, learning_rate=0.1)
  caplog.clear()
  assert [record["step"] for record in read_log(tmp_path / "log.jsonl")] == [2, 4, 7]
  assert not caplog.text


def test_a_log_that_is_cut_short_needs_no_word(tmp_path, caplog):
  (tmp_path / "log.jsonl").write_text('{"step": 1}\n{"ste')
  assert len(read_log(tmp_path / "log.jsonl")) == 1
  assert not caplog.text


@given(JSON)
def test_any_record_of_an_image_is_taken_or_not(tmp_path_factory, value):
  stem = tmp_path_factory.getbasetemp() / "image"
  stem.with_suffix(".json").write_text(json.dumps(value))
  assert outputs.read_record(stem, {"a": 1}) == {}
