"""annotator/server.py: who is answered, and what a refused request changes."""

import http.client
import io
import json
import threading
import time
import urllib.request
from unittest.mock import DEFAULT, Mock

import numpy as np
import pytest
from client import TIMES, Client, started
from layouts import write
from PIL import Image

from annotator import folder_session, statistics
from annotator import server as module
from annotator.folder_session import FolderSession

NAME = "synthetic-0000"
OPEN = {"image": NAME, "category": "starfish", "propose": False}
BODY = json.dumps(OPEN).encode()


def state(client):
    return client.annotator.latest, list(client.store.events), client.store.kept, client.server.client


def body(**fields):
    return json.dumps(fields).encode()


ATTACKS = {
    "a foreign Host": ("/open", BODY, {"Host": "evil.example:8765"}, 403),
    "a foreign Host that looks like ours": ("/open", BODY, {"Host": "127.0.0.1.evil.example"}, 403),
    "a foreign Origin": ("/open", BODY, {"Origin": "http://evil.example"}, 403),
    "the Origin of a file": ("/open", BODY, {"Origin": "null"}, 403),
    "no token": ("/open", BODY, {"X-Token": None}, 401),
    "a wrong token": ("/open", BODY, {"X-Token": "AAAA"}, 401),
    "no client": ("/open", BODY, {"X-Client": None}, 400),
    "text": ("/open", BODY, {"Content-Type": "text/plain"}, 400),
    "a form": ("/open", b"image=0", {"Content-Type": "application/x-www-form-urlencoded"}, 400),
    "two megabytes": ("/open", b" " * 2**21, {}, 400),
    "four megabytes without a token": ("/open", b" " * 2**22, {"X-Token": None}, 401),
    "invalid JSON": ("/open", b'{"image": 0', {}, 400),
    "NaN": ("/open", b'{"image": NaN, "category": "starfish"}', {}, 422),
    "deep nesting": ("/open", b"[" * 200_000, {}, 400),
    "a list": ("/open", b"[]", {}, 422),
    "a missing field": ("/open", body(image=NAME), {}, 422),
    "one field too many": ("/open", body(**OPEN, path="/etc"), {}, 422),
    "an image that is no name": ("/image", body(image=True), {}, 422),
    "an image by path": ("/image", body(image="../photos/synthetic-0000"), {}, 422),
    "an image by an absolute path": ("/open", body(**{**OPEN, "image": "/etc/passwd"}), {}, 422),
    "a thumbnail by path": ("/thumbnail", body(image="../../x.png"), {}, 422),
    "an unknown category": ("/open", body(**{**OPEN, "category": "../x"}), {}, 422),
    "a category by path": ("/category", body(name="../x"), {}, 422),
    "a category that is no name": ("/category", body(name=""), {}, 422),
    "an unknown instance": ("/instance", body(instance=99), {}, 422),
    "an instance that is no number": ("/instance", body(instance=True), {}, 422),
    "a key that is none": ("/delete", body(key="x", instance=1), {}, 422),
    "a done image by path": ("/done", body(key="12345678", image="..", category="starfish", done=True), {}, 422),
    "a format that there is not": ("/export", body(format="svg"), {}, 422),
    "an unknown action": ("/shutdown", b"{}", {}, 404),
    "a page by path": ("/../annotate.py", None, {}, 404),
    "a file beside the page": ("/annotator.py", None, {}, 404),
    "a page of a foreign Host": ("/", None, {"Host": "evil.example"}, 403),
}


@pytest.fixture(scope="module")
def attacked(pristine, sequence, tmp_path_factory):
    """A page that the attacks of this module share: they change nothing."""
    photos = tmp_path_factory.mktemp("attacked") / "photos"
    for s in sequence[:2]:
        write(photos / f"{s.name}.png", s.image)
    client = Client(started(pristine, photos))
    client.post("/state")
    client.open()
    yield client
    client.server.end()


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_answered_by_one_line_and_changes_nothing(attacked, attack):
    """Loopback, token, Host, Origin, JSON of at most 1 MiB, images by name: anything else is 4xx."""
    client, before = attacked, state(attacked)
    path, body, headers, expected = ATTACKS[attack]
    status, answer = client.send(path, body, **headers)
    assert status == expected
    assert answer.keys() == {"error", "reason"}
    assert answer["error"]
    assert "\n" not in answer["error"]
    assert state(client) == before
    assert client.post("/alive") == {}  # and work continues


DRAFT = {"image": NAME, "category": "starfish", "box": None, "plain": False, "instance": None}
STROKE = {"mode": "add", "radius": 3, "points": [[1, 1]]}
DRAFTS = [
    {"clicks": []},
    *({"clicks": clicks} for clicks in ([[1, 2]], [[1, 2, 1]], [[0.5, 1, True]], ["abc"])),
    *({"clicks": [click]} for click in ([64, 0, True], [0, -1, True])),
    *({"strokes": [{**STROKE, name: value}]} for name, value in [("mode", "fill"), ("radius", 0), ("radius", True)]),
    *({"strokes": [{**STROKE, "points": points}]} for points in ([], [[1]], [["a", 1]], [[1e9, 1]])),
    *({"strokes": strokes} for strokes in ([1], [{"mode": "add"}])),
    *({"box": box} for box in ([1, 2, 3], [5, 5, 5, 9], [0, 0, 0.5, 9], [500, 500, 600, 600], [0, 0, 4, 4])),
    *({"image": image} for image in ("nowhere", 3)),
    *({"instance": instance} for instance in (99, True, "1")),
    *({"category": "moth"}, {"plain": 1}, {"more": 1}),
]


REFUSED = [
    *({"draft": {**DRAFT, "clicks": [[1, 1, True]], "strokes": [], **changes}} for changes in DRAFTS),
    *({"proposal": {"point": point, "accepted": False}} for point in ([1], [1.5, 2], "x", None)),
    {"proposal": {"point": [3, 60], "accepted": True}},  # it is none of the clicks
    *({"seconds": {**TIMES, "kind": "click", "first": -1}}, {"seconds": {**TIMES, "kind": "click", "total": None}}),
    *({"seconds": {**TIMES, "kind": "x"}}, {"seconds": {**TIMES, "kind": None, "valid": 1}}, {"seconds": TIMES}),
]


@pytest.mark.parametrize("changes", REFUSED)
def test_drafts_proposals_and_times_that_are_none_are_refused(attacked, changes):
    """Clicks are (row, col, positive) within the image, what was proposed is a pixel; and so on."""
    draft = {**DRAFT, "clicks": [[1, 1, True]], "strokes": []}
    request = {"draft": draft, "proposal": None, "seconds": {**TIMES, "kind": "click"}, **changes}
    before = state(attacked)
    status, answer = attacked.refused("/finish", key="a new key", **request)
    assert (status, answer["reason"]) == (422, "input")
    assert "\n" not in answer["error"]
    assert state(attacked) == before


def test_the_page_comes_with_a_strict_policy_and_without_the_token(serve):
    """No sniffing, and nothing secret in a file that anybody may read; the browser's own test is in test_page.py."""
    client = serve()
    for path in module.PAGES:
        with urllib.request.urlopen(client.base + path) as answer:
            policy, text = answer.headers["Content-Security-Policy"], answer.read().decode()
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert client.server.token not in text


def test_a_port_that_is_taken_is_one_line_with_the_remedy(serve):
    """CONTRIBUTING, 'How errors read': it names the flag and its value."""
    port = serve().server.server_address[1]
    for number in (port, 70_000):
        with pytest.raises(OSError, match=f"^--port {number}: .*; name another, or 0 for any free one$"):
            module.Server(None, number)


def test_a_second_tab_is_refused_until_the_first_one_is_closed_or_it_takes_over(client):
    """A second tab on the folder: one line, and the first one continues; a closed one takes nothing back."""
    first, second = client, Client(client.server, "another tab")
    status, answer = second.send("/state", b"{}")
    assert (status, answer["reason"]) == (409, "tab")
    first.open()
    first.post("/bye")
    assert first.send("/alive", b"{}")[0] == 409
    second.post("/state")
    assert first.send("/open", BODY)[0] == 409
    first.post("/take_over")  # the other one may have crashed, or be on another desk
    first.open()
    assert second.send("/alive", b"{}")[0] == 409


FAILURES = [
    (KeyError("nowhere"), 500, "fault", "not done: a fault of the program (KeyError: 'nowhere')"),
    (RuntimeError("can't allocate memory"), 507, "disk", "not done: segment: the machine is out of memory"),
]


@pytest.mark.parametrize(("error", "status", "reason", "line"), FAILURES)
def test_a_failure_is_answered_so_that_the_page_does_not_ask_for_ever(
    client, centre, monkeypatch, capfd, error, status, reason, line
):
    """A page repeats what had no answer. Where a fault of the program is, the terminal shows."""
    with monkeypatch.context() as patch:
        patch.setattr(type(client.session.session), "segment", Mock(side_effect=error))
        found, answer = client.refused("/segment", seq=1, draft=client.draft(centre(0)))
    assert (found, answer["reason"]) == (status, reason)
    assert answer["error"].startswith(line)
    assert ("Traceback" in capfd.readouterr().err) == (status == 500)
    assert client.segment(centre(0))["mask"]


FAULTS = [KeyError("a fault"), ValueError("no value"), MemoryError(), RuntimeError("can't allocate memory")]


@pytest.mark.parametrize("error", FAULTS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(("owner", "name"), [(folder_session, "taught"), (statistics, "panel")])
def test_what_is_on_disk_is_answered_as_saved_whatever_fails_after_it(client, centre, monkeypatch, owner, name, error):
    """Called 'not done' it would be finished once more. What was not learned from is recalled for a later round."""
    fails_once = Mock(side_effect=[error, *[DEFAULT] * 9], wraps=getattr(owner, name))
    monkeypatch.setattr(owner, name, fails_once)
    answer = client.finish(centre(0))
    assert (answer["event"], answer["image"]) == (len(client.store.events), "synthetic-0001")
    (notice,) = answer["notices"]
    assert notice.startswith("saved, but not all that follows was done: ")
    client.finish(centre(1))
    client.settle()
    assert len(client.store.live) == len(client.session.session.category("starfish").bank) == 2


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), UnicodeEncodeError("ascii", "\xe4", 0, 1, "no")])
def test_a_terminal_that_shows_nothing_any_more_does_not_call_it_not_saved(serve, centre, monkeypatch, error):
    """Closed with its window, its log on a full disk, or without the letters of a name."""
    client = serve()
    client.open()
    client.store.notices.append("a notice")
    monkeypatch.setattr("builtins.print", Mock(side_effect=error))
    assert client.finish(centre(0))["notices"] == ["a notice"]
    assert client.refused("/delete", key="key of a delete", instance=9)[0] == 422


@pytest.mark.parametrize("error", FAULTS, ids=lambda error: type(error).__name__)
def test_an_image_that_cannot_be_opened_after_a_finish_does_not_call_it_not_done(client, centre, monkeypatch, error):
    """The next photo may be too large for the memory: the line says so, and one can go on elsewhere."""
    client.finish(centre(0))
    client.session.opened.clear()
    monkeypatch.setattr(client.session.prefetcher, "prepared", lambda image: None)
    monkeypatch.setattr(type(client.net), "features", Mock(side_effect=error))
    answer = client.finish(centre(1))
    assert (answer["image"], answer["readable"], len(answer["notices"])) == ("synthetic-0002", False, 1)
    assert len(client.store.live) == 2


def test_thumbnails_are_small_and_do_not_wait_for_the_network(serve, photos, sequence):
    """Some hundred are in view at once; one that cannot be read says so."""
    write(photos / "wide.png", np.kron(sequence[0].image, np.ones((4, 8, 1), np.uint8)))
    (photos / "broken.png").write_bytes(b"no image")
    client, busy = serve(), threading.Event()
    client.post("/state")
    client.server.worker.submit(busy.wait, 20)
    picture = Image.open(io.BytesIO(client.post("/thumbnail", image="wide")))
    assert (picture.format, picture.size) == ("JPEG", (160, 80))
    assert client.refused("/thumbnail", image="broken")[0] == 422
    assert not busy.is_set()
    busy.set()


def test_with_host_any_address_is_answered_but_no_foreign_name(pristine, photos):
    """--host 0.0.0.0 for containers: a name could be made to lead here by a foreign page (DNS rebinding)."""
    server = started(pristine, photos)
    assert server.server_address[0] == "127.0.0.1"
    for host, names in (("127.0.0.1", []), ("0.0.0.0", ["192.168.1.7", "0.0.0.0"])):
        server.host = host
        client = Client(server)
        for name, known in (("192.168.1.7", True), ("0.0.0.0", True), ("evil.example", False), ("localhost", True)):
            expected = 200 if name == "localhost" or (known and name in names) else 403
            assert client.send("/state", b"{}", Host=f"{name}:99", Origin=f"http://{name}:99")[0] == expected
    server.end()


def test_the_end_waits_for_the_finish_that_is_being_handled(client, centre, monkeypatch):
    """The line is on disk, and the page is told that it is."""
    begun, order, accept = threading.Event(), [], FolderSession.accept

    def slow(*args):
        begun.set()
        time.sleep(0.3)  # what ends without waiting has ended by then
        accept(*args)
        order.append("learned from")

    monkeypatch.setattr(FolderSession, "accept", slow)
    page = threading.Thread(target=lambda: order.append(client.finish(centre(0))["said"]))
    page.start()
    assert begun.wait(20)
    client.server.end(wait=False)
    order.append("ended")
    page.join()
    assert order[0] == "learned from"
    assert sorted(order[1:]) == ["Saved: synthetic-0000, starfish", "ended"]


def test_who_asks_while_the_program_ends_is_told_so_in_one_line(serve):
    """A connection that a browser kept open: nothing is begun that cannot be finished."""
    client = serve()
    kept = http.client.HTTPConnection("127.0.0.1", client.server.server_address[1])
    headers = {"Content-Type": "application/json", "X-Token": client.server.token, "X-Client": "a tab"}
    kept.request("POST", "/state", b"{}", headers)
    assert kept.getresponse().read()
    client.server.end()
    kept.request("POST", "/open", BODY, headers)
    answer = kept.getresponse()
    assert answer.status == 503
    assert json.loads(answer.read())["error"] == "the program is ending; start it again and reload this page"
    kept.close()


def test_a_request_that_a_newer_one_overtook_is_refused(client, centre):
    """A late answer never overwrites a newer one: the server does not even make it."""
    client.post("/segment", seq=5, draft=client.draft(centre(0)))
    status, answer = client.refused("/segment", seq=4, draft=client.draft((1, 1, True)))
    assert (status, answer["reason"]) == (409, "late")
    client.post("/state")  # a page that was loaded again begins anew
    client.post("/segment", seq=1, draft=client.draft(centre(0)))
