"""What the page does, without a page, and a server that it asks."""

import json
import threading
import urllib.error
import urllib.request
from functools import partial

from annotator.course import Course
from annotator.server import Server
from annotator.store import Store
from annotator.work import Work
from model import digest
from session import Session, Settings

SETTINGS = Settings(size=64)
TIMES = {"first": 1.0, "after": None, "total": 2.0, "valid": True}


class Client:
    """What the page does, without a page."""

    def __init__(self, server, name="a tab"):
        self.server, self.name = server, name
        self.base = f"http://127.0.0.1:{server.server_address[1]}"
        self.at = {}

    def send(self, path, data, **headers):
        """(status, answer) of a request as it is."""
        known = {"Content-Type": "application/json", "X-Token": self.server.token, "X-Client": self.name}
        sent = {k: v for k, v in {**known, **headers}.items() if v is not None}
        request = urllib.request.Request(self.base + path, data, sent, method="POST" if data is not None else "GET")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                content = answer.read()
                return answer.status, json.loads(content) if "json" in answer.headers["Content-Type"] else content
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def post(self, path, **body):
        status, answer = self.send(path, json.dumps(body).encode())
        assert status == 200, answer
        if isinstance(answer, dict) and "proposal" in answer:
            self.at = answer
        return answer

    def open(self, image=0, category="starfish"):
        return self.post("/open", image=image, category=category)

    def segment(self, *clicks, seq=1):
        return self.post("/segment", view=self.at["view"], seq=seq, clicks=[list(c) for c in clicks])

    def body(self, *clicks, seq=1, stay=False):
        """What a finish sends: the clicks given, or the proposal."""
        proposal = self.at["proposal"]
        kind = ("own" if clicks else "accept") if proposal else "click"
        taken = "none" if not proposal else "rejected" if clicks else "accepted"
        clicks = [list(c) for c in clicks] or [[*proposal, True]]
        return {
            "view": self.at["view"],
            "seq": seq,
            "clicks": clicks,
            "proposal": taken,
            "seconds": {**TIMES, "kind": kind},
            "stay": stay,
        }

    def finish(self, *clicks, seq=1, stay=False):
        return self.post("/finish", **self.body(*clicks, seq=seq, stay=stay))

    def settle(self):
        """Wait for what is learnt behind the user's back."""
        for future in list(self.server.work.course.rounds.values()):
            future.result()


def started(net, photos, categories=("starfish", "clover"), settings=SETTINGS, **options):
    """A server of the folder, which answers in a thread."""
    store, make = Store(photos, photos.parent / "out"), partial(Session, net, known=digest(net))
    course = Course(make, partial(Session.load, net=net), settings, store)
    server = Server(Work(course, categories, **options), 0)
    server.worker.submit(course.replay).result()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server
