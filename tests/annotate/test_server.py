"""Who is let in, what is reached, and what a hostile name does: nothing."""

import contextlib
import io
import ipaddress
import re
import socket

import numpy as np
import PIL.Image
import pytest
from serving import TOKEN, save_image
from starlette.testclient import TestClient

from micronet_jax.annotate.folder import Folder
from micronet_jax.annotate.server import make_app
from micronet_jax.annotate.site import Site
from micronet_jax.commands.annotate import _say
from micronet_jax.errors import InputError


@contextlib.contextmanager
def client_of(root, *, hosts=(), base="http://localhost:8765"):
  app = make_app(Site(Folder(root), None), TOKEN, hosts)
  with TestClient(app, base_url=base) as client:
    yield client


@pytest.fixture
def client(folder):
  with client_of(folder) as made:
    yield made


@pytest.fixture
def known(client):
  """A client that has opened the printed address."""
  assert client.get(f"/?token={TOKEN}").status_code == 200
  return client


def first(client):
  return client.get("/api/state").json()["images"][0]["key"]


def edit(client, key, **headers):
  revision = client.get(f"/api/images/{key}/annotation").json()["revision"]
  change = {"revision": revision, "add": [[5, 5]], "remove": [], "hide": [], "show": []}
  return client.post(f"/api/images/{key}/edit", json=change, headers=headers)


@pytest.mark.parametrize(
  "path", ["/", "/static/main.js", "/api/state", "/?token=wrong"]
)
def test_nothing_is_served_without_the_token(client, path):
  answer = client.get(path)
  assert answer.status_code == 403
  assert "token" in answer.text


def test_the_token_lets_in_once_and_a_cookie_afterwards(client):
  answer = client.get(f"/?token={TOKEN}")
  kept = answer.headers["set-cookie"]
  assert "HttpOnly" in kept
  assert "SameSite=Strict" in kept
  assert client.get("/").status_code == 200
  assert client.get("/api/state").json()["folder"] == "mine"
  # The token opens the page alone.
  with_token = TestClient(client.app, base_url="http://localhost")
  assert with_token.get(f"/api/state?token={TOKEN}").status_code == 403


def test_the_page_may_load_nothing_from_elsewhere_and_run_nothing_inline(known):
  policy = known.get("/").headers["content-security-policy"]
  assert "default-src 'none'" in policy
  assert "unsafe" not in policy
  assert "http" not in policy
  page = known.get("/").text
  assert "<script>" not in page
  assert "style=" not in page


@pytest.mark.parametrize(
  "host", ["evil.example", "localhost.evil.example:8765", "", "["]
)
def test_names_that_others_made_point_here_are_refused(known, host):
  assert known.get("/api/state", headers={"host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost:9000", "127.0.0.1", "[::1]:8765"])
def test_tunnels_may_use_another_port(client, host):
  headers = {"host": host}
  assert client.get(f"/?token={TOKEN}", headers=headers).status_code == 200


def test_another_host_is_known_by_its_own_name(folder):
  with client_of(folder, hosts=["lab-server"], base="http://lab-server:8765") as client:
    assert client.get("/").status_code == 403
    assert client.get(f"/?token={TOKEN}").status_code == 200
    # By its address in numbers too, which no foreign name is; but by no other name.
    for host, status in (("10.1.2.3:8765", 200), ("[fd00::7]", 200), ("evil.io", 403)):
      assert client.get("/", headers={"host": host}).status_code == status


def test_what_listens_everywhere_prints_an_address_in_numbers_too(capsys):
  _say("0.0.0.0", 8765, TOKEN)
  found = re.findall(r"http://(.*):8765/", capsys.readouterr().out)
  assert found[0] == socket.gethostname()
  assert all(ipaddress.ip_address(each) for each in found[1:])  # none without network


def test_weights_that_were_given_are_those_of_the_next_time(folder):
  Site(Folder(folder), "base-nc").close()
  site = Site(Folder(folder), None)
  site.close()
  assert site.weights == "base-nc"


@pytest.mark.parametrize(
  "headers",
  [
    {"origin": "http://evil.example"},
    {"origin": "http://localhost:9999"},
    {"origin": "null"},
    {"origin": "http://["},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
  ],
)
def test_requests_of_other_sites_change_nothing(known, folder, headers):
  key = first(known)
  assert edit(known, key, **headers).status_code == 403
  assert not (folder / "points").exists()
  assert edit(known, key, origin="http://localhost:8765").status_code == 200


@pytest.mark.parametrize(
  "path",
  [
    "/static/../server.py",
    "/static/%2e%2e/server.py",
    "/static/..%2fserver.py",
    "/static//etc/passwd",
    "/static/openseadragon/../../server.py",
    "/api/images/..%2f..%2fsecret",
    "/api/images/C:%5Csecret.png",
    "/api/images/%2fetc%2fpasswd/thumbnail",
    "/api/images/secret/export/csv",
    "/api/runs/../training.png",
    "/api/runs/..%2f..%2fsecret/training.png",
    "/api/runs/.micronet/finetune.log",
  ],
)
def test_no_path_is_made_of_what_a_browser_sends(known, folder, path):
  (folder.parent / "secret").mkdir()
  (folder.parent / "secret/training.png").write_bytes(b"secret")
  answer = known.get(path)
  assert answer.status_code == 404
  assert "secret" not in answer.text


def test_links_that_lead_out_are_neither_shown_nor_written_through(tmp_path, folder):
  outside = tmp_path / "outside"
  save_image(outside / "far.png", np.zeros((8, 8, 3), np.uint8))
  (folder / "far.png").symlink_to(outside / "far.png")
  (folder / "near.png").symlink_to(folder / "a.png")
  with client_of(folder) as client:
    client.get(f"/?token={TOKEN}")
    state = client.get("/api/state").json()
    assert [image["name"] for image in state["images"]] == ["a", "b", "near"]
    assert state["left_out"] == ["1 image(s) lead out of the folder: not shown"]
    (folder / "gone.png").symlink_to(outside / "nowhere.png")
    (folder / "x.gif").touch()
    told = client.get("/api/state").json()["left_out"]
    assert told[0] == state["left_out"][0]
    assert told[1].endswith("not read: gone.png (a dead link), x.gif")
  (folder / "points").symlink_to(outside)
  with pytest.raises(InputError, match="leads out"):
    Folder(folder)


def test_a_link_that_appears_later_is_not_followed(known, folder, tmp_path):
  (tmp_path / "outside").mkdir()
  (folder / "points").symlink_to(tmp_path / "outside")
  answer = edit_raw(known, first(known))
  assert answer.status_code == 400
  assert "leads out" in answer.json()["error"]
  assert list((tmp_path / "outside").iterdir()) == []


def edit_raw(client, key):
  change = {"revision": "", "add": [[5, 5]], "remove": [], "hide": [], "show": []}
  return client.post(f"/api/images/{key}/edit", json=change)


def test_a_name_is_text_wherever_it_goes(folder):
  name = "<img src=x onerror=alert(1)>'\"; filename=evil"
  save_image(folder / f"{name}.png", np.zeros((8, 8, 3), np.uint8))
  with client_of(folder) as client:
    client.get(f"/?token={TOKEN}")
    key = first(client)
    assert client.get(f"/api/images/{key}").json()["name"] == name
    answer = client.get(f"/api/images/{key}/export/csv")
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert "<" not in answer.headers["content-disposition"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_an_older_edit_is_a_conflict_and_a_strange_one_a_fault(known):
  key = first(known)
  assert edit(known, key).status_code == 200
  assert edit_raw(known, key).status_code == 409
  answer = known.post(f"/api/images/{key}/edit", content=b"{" * 100_000)
  assert answer.status_code == 400
  assert known.post("/api/tune", json={"do": "begin", "steps": 0}).status_code == 400
  for threshold in (2, True, "0.5"):
    assert known.post("/api/threshold", json=threshold).status_code == 400
  for center in ([0], [0, None], [0, "1"], None):
    asked = {"key": key, "center": center}
    assert known.post("/api/detect", json=asked).status_code == 400
  assert (
    known.post("/api/detect", json={"key": "no", "center": [0, 0]}).status_code == 404
  )


def test_tiles_are_the_image_at_every_level(known, folder):
  rng = np.random.default_rng(0)
  coarse = rng.integers(40, 215, (9, 14, 3), np.uint8)
  pixels = np.kron(coarse, np.ones((128, 128, 1), np.uint8))  # 1152 x 1792
  save_image(folder / "large.png", pixels)
  images = known.get("/api/state").json()["images"]
  key = next(image["key"] for image in images if image["name"] == "large")
  about = known.get(f"/api/images/{key}").json()
  assert (about["top"], about["side"], about["mpp"]) == (11, 512, pytest.approx(0.25))
  for level, step in ((11, 1), (9, 4), (6, 32)):
    want = pixels[::step, ::step]  # as blocks have one colour
    rows, columns = (-(-side // 512) for side in want.shape[:2])
    for row in range(rows):
      for column in range(columns):
        got = decoded(known.get(f"/api/images/{key}/tiles/{level}/{column}/{row}"))
        part = want[row * 512 : (row + 1) * 512, column * 512 : (column + 1) * 512]
        assert got.shape == part.shape
        assert np.abs(got.astype(int) - part).mean() < 6  # JPEG; a block beside: 30
  for place in ("12/0/0", "11/4/0", "11/0/3", "0/1/0"):
    assert known.get(f"/api/images/{key}/tiles/{place}").status_code == 404
  assert decoded(known.get(f"/api/images/{key}/thumbnail")).shape == (113, 176, 3)


def decoded(answer):
  assert answer.status_code == 200
  return np.asarray(PIL.Image.open(io.BytesIO(answer.content)))


def test_a_broken_image_says_what_is_wrong(known, folder):
  (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:200])
  images = known.get("/api/state").json()["images"]
  key = next(image["key"] for image in images if image["name"] == "broken")
  answer = known.get(f"/api/images/{key}")
  assert answer.status_code == 400
  assert "broken.png" in answer.json()["error"]
  images = known.get("/api/state").json()["images"]
  states = {image["name"]: image["state"] for image in images}
  assert states == {"a": "new", "b": "new", "broken": "error"}
