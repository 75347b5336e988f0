"""The page's server: loopback, one client, JSON in and JSON out; without the token nothing can be changed.

    GET  /  /page.js  /page.css ...    the page, which holds no secret
    POST /state /open /segment ...     the rest: a JSON object of at most 1 MiB, answered by a JSON object (the pixels
                                       of an image by a PNG)

The token is in the fragment of the page's address, which browsers never send; the page sends it as a header.
"""

import hmac
import json
import secrets
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from annotator.work import LateError, Work

LIMIT = 2**20  # bytes of a request
DISCARDED = 2**23  # bytes of a refused request that are read, so that its sender comes to read the answer
SILENCE = 90.0  # seconds after which a silent tab has lost its place
HOSTS = ("127.0.0.1", "localhost", "::1")
PAGES = {"/": "text/html", "/page.js": "text/javascript", "/picture.js": "text/javascript", "/page.css": "text/css"}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
FIELDS: dict[str, dict[str, Any]] = {  # what a request must hold: names and types
    "/state": {},
    "/bye": {},
    "/alive": {},
    "/image": {"image": int},
    "/open": {"image": int, "category": str},
    "/segment": {"view": int, "seq": int, "clicks": list},
    "/finish": {"view": int, "seq": int, "clicks": list, "proposal": str, "seconds": dict, "stay": bool},
    "/undo": {"view": int},
    "/reopen": {"view": int, "row": int, "col": int},
    "/delete": {"view": int, "id": int},
    "/empty": {"view": int, "empty": bool},
}


class RefusedError(Exception):
    """A request that is answered with a status of its own and one line."""

    def __init__(self, status: int, line: str):
        super().__init__(line)
        self.status = status


class Server(ThreadingHTTPServer):
    """Answers one page on the loopback interface.

    work:    what is done; every request but the pages' is carried out by one thread, in the order of arrival.
    port:    0 picks a free one.
    Raises:  OSError if the port is taken.
    """

    daemon_threads = True

    def __init__(self, work: Work, port: int):
        try:
            super().__init__(("127.0.0.1", port), Handler)
        except OSError as error:
            raise OSError(f"--port {port}: {error.strerror}; name another, or 0 for any free one") from error
        self.work, self.token = work, secrets.token_urlsafe(24)
        self.worker = ThreadPoolExecutor(1, "worker")
        self.client, self.heard = "", 0.0
        self.ending, self.underway, self.turn = False, set[Handler](), threading.Condition()

    @property
    def address(self) -> str:
        """The page's address with the token."""
        return f"http://127.0.0.1:{self.server_address[1]}/#{self.token}"

    def end(self, wait: bool = True) -> None:
        """Stop answering, after `serve_forever` has begun; requests that have been read are carried out and answered.

        wait:  also for a round of optimisation and an image looked at ahead that have begun.
        """
        self.shutdown()
        self.server_close()
        with self.turn:
            self.ending = True
            self.turn.wait_for(lambda: not self.underway)
        self.worker.shutdown()
        self.work.course.learner.thread.shutdown(wait, cancel_futures=True)
        self.work.course.ahead.thread.shutdown(wait, cancel_futures=True)

    def enter(self, request: "Handler") -> None:
        """Begin a request that `end` waits for; refused once the program is ending."""
        with self.turn:
            if self.ending:
                raise RefusedError(503, "the program is ending; start it again and reload this page")
            self.underway.add(request)

    def leave(self, request: "Handler") -> None:
        """End a request, its answer included."""
        with self.turn:
            self.underway.discard(request)
            self.turn.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A page that is closed during an answer is not an error."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def admit(self, client: str, path: str) -> None:
        """Admit the tab that has the place; another tab may take it once that one is closed or silent."""
        if not 1 <= len(client) <= 64:
            raise RefusedError(400, "no X-Client header; reload the page")
        now = time.monotonic()
        free = not self.client or now - self.heard > SILENCE
        if client != self.client and not (free and path == "/state"):
            raise RefusedError(409, "this folder is open in another tab; close that one, then reload this page")
        self.client, self.heard = ("" if path == "/bye" else client), now


class Handler(BaseHTTPRequestHandler):
    """One connection of the page."""

    protocol_version, server_version, sys_version = "HTTP/1.1", "siis", ""
    disable_nagle_algorithm, timeout = True, 120
    server: Server

    def do_GET(self) -> None:
        """The four files of the page."""
        self.answered(self.page)

    def do_POST(self) -> None:
        """Everything else."""
        try:
            self.answered(self.action)
        finally:
            self.server.leave(self)

    def answered(self, act: Callable[[], tuple[str, bytes]]) -> None:
        """Send what `act` gives, or the one line of its failure."""
        status, length = 200, self.headers.get("Content-Length", "")
        self.unread = min(int(length), DISCARDED) if length.isdecimal() else 0
        try:
            self.from_here()
            kind, body = act()
        except RefusedError as error:
            status, line = error.status, str(error)
        except LateError as error:
            status, line = 409, str(error)
        except ValueError as error:
            status, line = 422, str(error)
        except OSError as error:
            status, line = 507, f"not saved: {error}"
        if status != 200:
            line = " ".join(line.split())
            kind, body = "application/json", json.dumps({"error": line}).encode()
            self.close_connection = True  # the rest of the request may be unread
            if status in (422, 507):
                tell(line)
        self.send(status, kind, body)
        if status != 200:
            self.discard()

    def discard(self) -> None:
        """Read what is left of a refused request: a connection closed before may lose the answer."""
        while self.unread > 0 and (part := self.rfile.read(min(self.unread, 2**16))):
            self.unread -= len(part)

    def send(self, status: int, kind: str, body: bytes) -> None:
        """One answer, headers and all."""
        self.send_response(status)
        headers = {**HEADERS, "Content-Type": kind, "Content-Length": str(len(body))}
        if self.close_connection:
            headers["Connection"] = "close"
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def from_here(self) -> None:
        """Refuse a foreign name for this machine (DNS rebinding) and a foreign page; any port, so that ssh -L works."""
        if _host("//" + self.headers.get("Host", "")) not in HOSTS:
            raise RefusedError(403, "a foreign Host; open the address that the program printed")
        origin = self.headers.get("Origin")
        if origin is not None and (not origin.startswith("http://") or _host(origin) not in HOSTS):
            raise RefusedError(403, "a foreign Origin; open the address that the program printed")

    def page(self) -> tuple[str, bytes]:
        """(type, content) of a file of the page."""
        if self.path not in PAGES:
            raise RefusedError(404, "no such page")
        name = "page.html" if self.path == "/" else self.path[1:]
        return f"{PAGES[self.path]}; charset=utf-8", (Path(__file__).parent / name).read_bytes()

    def action(self) -> tuple[str, bytes]:
        """(type, answer) of a request, checked before anything is done."""
        if not hmac.compare_digest(self.headers.get("X-Token", "").encode(), self.server.token.encode()):
            raise RefusedError(401, "no valid token; open the address that the program printed")
        if self.path not in FIELDS:
            raise RefusedError(404, "no such action")
        body = self.body()
        server, name = self.server, self.path[1:]
        server.enter(self)
        server.admit(self.headers.get("X-Client", ""), self.path)
        if name in ("bye", "alive"):
            return "application/json", b"{}"
        if name == "segment":
            server.work.announce(body["view"], body["seq"])  # at once, so that older requests in the queue give up
        answer = server.worker.submit(getattr(server.work, name), **body).result()
        if name == "finish":
            server.worker.submit(server.work.course.save)
        if isinstance(answer, bytes):
            return "image/png", answer
        for line in answer.get("notices", []):
            tell(line)
        return "application/json", json.dumps(answer).encode()

    def body(self) -> dict[str, Any]:
        """The request's JSON object with exactly the fields that its action takes."""
        if self.headers.get_content_type() != "application/json":
            raise RefusedError(415, "expected application/json")
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise RefusedError(411, "no Content-Length")
        if int(length) > LIMIT:
            raise RefusedError(413, f"{length} bytes; at most {LIMIT} are read")
        try:
            self.unread = 0
            body = json.loads(self.rfile.read(int(length)), parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise RefusedError(400, "not valid JSON") from None
        fields = FIELDS[self.path]
        if not isinstance(body, dict) or body.keys() != fields.keys():
            raise RefusedError(400, f"expected an object with the fields {', '.join(fields) or '(none)'}")
        for name, kind in fields.items():
            if type(body[name]) is not kind:
                raise RefusedError(400, f"{name}: expected {kind.__name__}")
        return body

    def log_message(self, format: str, *args: Any) -> None:
        """No line for each request: the terminal is for what the person should know."""


def tell(line: str) -> None:
    """Show the person at the terminal a line that the page shows too."""
    print(f"annotate: {line}", flush=True)


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text}: not a number of JSON")
