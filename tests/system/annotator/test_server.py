"""annotator/server.py: who is answered, and what a refused request changes."""

import http.client
import io
import json
import threading
import time
import urllib.request

import numpy as np
import pytest
from client import Client, started
from layouts import write
from PIL import Image

import annotate
from annotator import server as module
from annotator.course import Course

BODY = json.dumps({"image": 0, "category": "starfish"}).encode()


def state(client):
    work = client.server.work
    return work.at, work.latest, list(work.store.events), client.server.client


ATTACKS = {
    "a foreign Host": ("/open", BODY, {"Host": "evil.example:8765"}, 403),
    "a foreign Host that looks like ours": ("/open", BODY, {"Host": "127.0.0.1.evil.example"}, 403),
    "a foreign Origin": ("/open", BODY, {"Origin": "http://evil.example"}, 403),
    "the Origin of a file": ("/open", BODY, {"Origin": "null"}, 403),
    "no token": ("/open", BODY, {"X-Token": None}, 401),
    "a wrong token": ("/open", BODY, {"X-Token": "AAAA"}, 401),
    "no client": ("/open", BODY, {"X-Client": None}, 400),
    "text": ("/open", BODY, {"Content-Type": "text/plain"}, 415),
    "a form": ("/open", b"image=0", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
    "two megabytes": ("/open", b" " * 2**21, {}, 413),
    "four megabytes without a token": ("/open", b" " * 2**22, {"X-Token": None}, 401),
    "invalid JSON": ("/open", b'{"image": 0', {}, 400),
    "NaN": ("/open", b'{"image": NaN, "category": "starfish"}', {}, 400),
    "deep nesting": ("/open", b"[" * 200_000, {}, 400),
    "a list": ("/open", b"[]", {}, 400),
    "a missing field": ("/open", b'{"image": 0}', {}, 400),
    "one field too many": ("/open", b'{"image": 0, "category": "starfish", "path": "/etc"}', {}, 400),
    "an image by path": ("/open", b'{"image": "../x.png", "category": "starfish"}', {}, 400),
    "an image that is no number": ("/image", b'{"image": true}', {}, 400),
    "an image beyond the last": ("/image", b'{"image": 4}', {}, 422),
    "an image before the first": ("/image", b'{"image": -1}', {}, 422),
    "an image to open beyond the last": ("/open", b'{"image": 4, "category": "starfish"}', {}, 422),
    "an unknown category": ("/open", b'{"image": 0, "category": "../x"}', {}, 422),
    "an unknown view": ("/segment", b'{"view": 99, "seq": 1, "clicks": [[1, 1, true]]}', {}, 409),
    "an unknown action": ("/shutdown", b"{}", {}, 404),
    "a page by path": ("/../annotate.py", None, {}, 404),
    "a file beside the page": ("/work.py", None, {}, 404),
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
    """Loopback, token, Host, Origin, JSON of at most 1 MiB, images by index: anything else is 4xx."""
    client, before = attacked, state(attacked)
    path, body, headers, expected = ATTACKS[attack]
    status, answer = client.send(path, body, **headers)
    assert status == expected
    assert answer.keys() == {"error"}
    assert answer["error"]
    assert "\n" not in answer["error"]
    assert state(client) == before
    assert client.post("/alive") == {}  # and work continues


@pytest.mark.parametrize(
    "clicks",
    [[], [[1, 2]], [[1, 2, 1]], [[64, 0, True]], [[0, -1, True]], [[0.5, 1, True]], 501 * [[0, 0, True]], ["abc"]],
)
def test_clicks_that_are_none_are_refused(attacked, clicks):
    """Clicks are (row, col, positive) within the image, of which a person makes some hundred at most."""
    view = attacked.open()["view"]
    status, answer = attacked.send("/segment", json.dumps({"view": view, "seq": 1, "clicks": clicks}).encode())
    assert status == 422
    assert "click" in answer["error"]


def test_the_page_comes_with_a_strict_policy_and_without_the_token(serve):
    """Nothing inline, nothing from elsewhere, no sniffing, and nothing secret in a file that anybody may read."""
    client = serve()
    for path in module.PAGES:
        with urllib.request.urlopen(client.base + path) as answer:
            policy, text = answer.headers["Content-Security-Policy"], answer.read().decode()
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert client.server.token not in text
        assert "style=" not in text
        assert "onclick=" not in text
        assert "http" not in text.replace("http://127.0.0.1", "")


def test_only_this_machine_is_listened_to(serve):
    """The page is for the loopback interface alone."""
    assert serve().server.server_address[0] == "127.0.0.1"


def test_a_port_that_is_taken_is_one_line_with_the_remedy(serve):
    """CONTRIBUTING, 'How errors read': it names the flag and its value."""
    port = serve().server.server_address[1]
    with pytest.raises(OSError, match=f"^--port {port}: .*; name another, or 0 for any free one$"):
        module.Server(None, port)


def test_any_port_is_accepted_so_that_a_tunnel_works(serve):
    """`ssh -L` with any port: the Host and the Origin that the browser then sends."""
    client = serve()
    headers = {"Host": "localhost:1234", "Origin": "http://localhost:1234"}
    assert client.send("/state", b"{}", **headers)[0] == 200


def test_a_second_tab_is_refused_until_the_first_one_is_closed(serve):
    """A second tab on the folder: one line, and the first one continues."""
    first = serve()
    first.post("/state")
    second = type(first)(first.server, "another tab")
    status, answer = second.send("/state", b"{}")
    assert status == 409
    assert "another tab" in answer["error"]
    first.open()
    first.post("/bye")
    second.post("/state")
    assert first.send("/open", BODY)[0] == 409


def test_a_tab_that_fell_silent_loses_its_place(serve, monkeypatch):
    """A browser that crashed says nothing; after a while another may take over."""
    first = serve()
    first.post("/state")
    monkeypatch.setattr(time, "monotonic", lambda now=time.monotonic: now() + module.SILENCE + 1)
    type(first)(first.server, "another tab").post("/state")


def test_a_request_that_a_newer_one_overtook_is_refused(serve, centre):
    """A late answer never overwrites a newer one: the server does not even make it."""
    client = serve()
    client.post("/state")
    client.open()
    client.segment(centre(0), seq=5)
    old = json.dumps({"view": 1, "seq": 4, "clicks": [[1, 1, True]]}).encode()
    assert client.send("/segment", old)[0] == 409


def test_the_image_is_the_pixels_that_the_network_sees(serve, sequence):
    """A PNG of exactly what `read_image` gives."""
    client = serve()
    client.post("/state")
    png = client.post("/image", image=2)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), sequence[2].image)


def test_ctrl_c_waits_for_the_finish_that_is_being_handled(pristine, photos, centre, monkeypatch, capfd):
    """The line is on disk, the page is told that it is, and the terminal shows no traceback."""
    servers, begun, ended, order = [], threading.Event(), threading.Event(), []
    take_over = Course.take_over

    class Interrupted(module.Server):
        def serve_forever(self):
            servers.append(self)
            super().serve_forever(0.01)

        def service_actions(self):
            if begun.is_set():
                raise KeyboardInterrupt

    def slow(*args):
        begun.set()
        ended.wait(0.3)  # what ends without waiting has ended by now
        take_over(*args)
        order.append("finished")

    def person():
        while not servers:
            time.sleep(0.01)
        client = Client(servers[0])
        client.post("/state")
        client.open()
        order.append(client.finish(centre(0))["saved"])

    monkeypatch.setattr(Course, "take_over", slow)
    monkeypatch.setattr(annotate, "Server", Interrupted)
    monkeypatch.setattr(annotate, "open_network", lambda path: (pristine, {"size": 64}))
    page = threading.Thread(target=person)
    page.start()
    with pytest.raises(KeyboardInterrupt):
        annotate.main([str(photos), "--categories", "starfish", "--device", "cpu", "--port", "0", "--no-browser"])
    order.append("ended")
    ended.set()
    page.join()
    servers[0].work.course.learner.thread.shutdown()
    servers[0].work.course.ahead.thread.shutdown()
    assert order[0] == "finished"
    assert sorted(order[1:]) == ["ended", "synthetic-0000, starfish 1"]
    output = capfd.readouterr()
    assert output.err == ""
    assert "| (d) ICP + OPO | 1 |" in output.out  # the summary knows it


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
