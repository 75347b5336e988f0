"""What the page does, without a page, and a server that it asks."""

import itertools
import json
import threading
import urllib.error
import urllib.request

from annotator.annotator import Annotator
from annotator.folder_session import FolderSession
from annotator.server import Server
from annotator.store import Store
from session import Session, Settings

SETTINGS = Settings(size=64)
TIMES = {"first": 1.0, "after": None, "total": 2.0, "valid": True}
KEYS = (f"key {n:06d}" for n in itertools.count())


class Client:
    """What the page does, without a page."""

    def __init__(self, server, name="a tab"):
        self.server, self.name = server, name
        self.base = f"http://127.0.0.1:{server.server_address[1]}"
        self.annotator, self.store = server.annotator, server.annotator.store
        self.session = server.annotator.session
        self.net = self.session.session.net
        self.at, self.seq = {}, 0

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

    def refused(self, path, **body):
        """(status, answer) of a request with these fields."""
        return self.send(path, json.dumps(body).encode())

    def post(self, path, **body):
        status, answer = self.refused(path, **body)
        assert status == 200, answer
        if isinstance(answer, dict) and "proposal" in answer:
            self.at = answer
        return answer

    @property
    def where(self):
        return {"image": self.at["image"], "category": self.at["category"]}

    def open(self, image="synthetic-0000", category="starfish", propose=False):
        return self.post("/open", image=image, category=category, propose=propose)

    def draft(self, *clicks, **more):
        given = {"box": None, "plain": self.at["plain"], "instance": None, "strokes": []}
        return {**self.where, **given, "clicks": [list(c) for c in clicks], **more}

    def segment(self, *clicks, **more):
        self.seq += 1
        return self.post("/segment", seq=self.seq, draft=self.draft(*clicks, **more))

    def body(self, *clicks, **more):
        """What a finish sends: the clicks given, or the proposal."""
        point = self.at["proposal"] if more.get("instance") is None else None
        own = bool(clicks or more.get("strokes"))
        kind = ("own" if own else "accept") if point else "click"
        clicks = clicks if own else [(*point, True)]
        return {
            "key": next(KEYS),
            "draft": self.draft(*clicks, **more),
            "proposal": {"point": point, "accepted": not own} if point else None,
            "seconds": {**TIMES, "kind": kind},
        }

    def finish(self, *clicks, **more):
        return self.post("/finish", **self.body(*clicks, **more))

    def correct(self, instance, *clicks, **more):
        """Reopen an instance and finish it with more clicks."""
        draft = self.post("/instance", instance=instance)["draft"]
        draft = {**draft, "clicks": [*draft["clicks"], *map(list, clicks)], **more}
        return self.post("/finish", key=next(KEYS), draft=draft, proposal=None, seconds={**TIMES, "kind": None})

    def act(self, path, **body):
        """A request that is carried out once."""
        return self.post(path, key=next(KEYS), **body)

    def undo(self):
        return self.act("/undo", **self.where)

    def redo(self):
        return self.act("/redo", **self.where)

    def settle(self):
        """Wait for what is learnt behind the user's back."""
        self.session.learner.submit(int).result()


def started(net, photos, categories=("starfish", "clover"), settings=SETTINGS, memory=1e9, port=0, **options):
    """A server of the folder, which answers in a thread."""
    session = FolderSession(Session(net, settings), Store(photos, photos.parent / "out"), memory)
    server = Server(Annotator(session, categories, **options), port)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server
