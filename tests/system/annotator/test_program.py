"""annotate.py: the command line, how the browser is opened, and how the program ends."""

import os
import subprocess
import sys
import threading
import webbrowser
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
from lines import event
from processes import locked_by_another

import annotate
from annotator.server import Server
from annotator.store import Store


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["{photos}", "--port", "-1"], "expected a whole number"),
        (["{photos}", "--memory", "0"], "expected a number of gigabytes"),
        (["{photos}", "--weights", "nowhere.pt"], "nowhere.pt: no such file"),
        (["{photos}", "--export", "svg"], "invalid choice"),
        (["{empty}"], "no image inside"),
    ],
)
def test_bad_input_is_one_line(refused, photos, tmp_path, arguments, message):
    """CONTRIBUTING, 'How errors read': one line that names the thing, exit code 2."""
    (tmp_path / "empty").mkdir()
    filled_in = [a.format(photos=photos, empty=tmp_path / "empty") for a in arguments]
    assert message in refused(filled_in, annotate.main, "annotate")


def test_a_second_server_on_the_folder_is_refused_in_one_line(refused, photos):
    """Two programs would write over each other."""
    with locked_by_another(photos.parent / "photos-annotations" / "lock"):
        assert "in use by another process" in refused([photos], annotate.main, "annotate")


def test_export_writes_and_ends(photos, capsys):
    """--export needs no network and no page."""
    store = Store(photos, photos.parent / "out")
    store.add(event(1, "synthetic-0000", np.eye(64, dtype=bool)))
    annotate.main([str(photos), "--out", str(store.out), "--export", "coco", "yolo", "labelme"])
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert (store.out / "yolo" / "data.yaml").exists()


BUSY = """
import os, runpy, signal, sys, time
import annotator.server
import training.checkpoints
from networks import thin_net

class Server(annotator.server.Server):
    def service_actions(self):
        self.annotator.session.learner.submit(time.sleep, 3600)
        os.kill(os.getpid(), signal.SIGTERM)

annotator.server.Server = Server
training.checkpoints.open_network = lambda path: (thin_net(), {"size": 64})
sys.argv = ["annotate.py", *sys.argv[1:], "--device", "cpu", "--port", "0", "--no-browser"]
runpy.run_path("annotate.py", run_name="__main__")
"""


def test_sigterm_ends_the_program_like_ctrl_c_and_waits_for_no_round(photos):
    """`docker stop`, also of process 1, which has no handler of its own: what is saved is printed, nothing is lost."""
    out, root = photos.parent / "out", Path(annotate.__file__).parent
    Store(photos, out).add(event(1, "synthetic-0000", np.eye(64, dtype=bool)))
    line = [sys.executable, "-c", BUSY, photos, "--out", out]
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'tests'}"}
    ended = subprocess.run(line, capture_output=True, text=True, check=False, cwd=root, env=environment, timeout=300)
    assert ended.returncode == 130, ended.stderr
    assert "| (d) ICP + OPO | 1 |" in ended.stdout
    assert (out / "session.pt").exists()


def test_a_text_browser_is_not_opened_and_a_machine_without_any_is_no_error(monkeypatch):
    """It cannot show the page, and the program would wait for it."""
    monkeypatch.setattr(webbrowser, "get", lambda: SimpleNamespace(name="/usr/bin/w3m", open=pytest.fail))
    annotate.browse("http://127.0.0.1:1/")
    monkeypatch.setattr(webbrowser, "get", Mock(side_effect=webbrowser.Error("no browser")))
    annotate.browse("http://127.0.0.1:1/")


def test_the_page_is_answered_while_the_browser_is_still_starting(pristine, photos, monkeypatch):
    """A browser may return only when its first page is there: it is opened from a thread."""
    answered, opened = threading.Event(), []

    class Answering(Server):
        def service_actions(self):
            answered.set()
            if opened:
                raise KeyboardInterrupt

    def wait_and_open(address):
        assert answered.wait(20)
        opened.append(address)

    monkeypatch.setattr(webbrowser, "get", lambda: SimpleNamespace(name="firefox", open=wait_and_open))
    monkeypatch.setattr(annotate, "Server", Answering)
    monkeypatch.setattr(annotate, "open_network", lambda path: (pristine, {"size": 64}))
    with pytest.raises(KeyboardInterrupt):
        annotate.main([str(photos), "--device", "cpu", "--port", "0"])
    assert opened[0].startswith("http://127.0.0.1:")
