"""The page's server: loopback, one client, JSON in and JSON out; without the token nothing can be changed.

    GET  /  /page.js  /page.css ...    the page, which holds no secret
    POST /state /open /segment ...     the rest: a JSON object of at most 1 MiB, answered by a JSON object (the pixels
                                       of an image by a BMP, a thumbnail by a JPEG)

The token is in the fragment of the page's address, which browsers never send; the page sends it as a header.
"""

import hmac
import ipaddress
import json
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, get_args, get_type_hints
from urllib.parse import urlsplit

from annotator.annotator import Annotator
from annotator.checks import Kinds, RefusedError, checked_fields
from annotator.store import one_line
from support.command_line import needing_memory

LIMIT = 2**20  # bytes of a request
DISCARDED = 2**23  # bytes of a refused request that are read, so that its sender comes to read the answer
HOSTS = ("127.0.0.1", "localhost", "::1")
KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
HERE = Path(__file__).parent
PAGES = {"/": HERE / "page.html"} | {f"/{p.name}": p for p in sorted(HERE.iterdir()) if p.suffix in KINDS}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
ACTIONS = (
    *("state", "images", "image", "thumbnail", "open", "segment", "instance", "way", "category", "export"),
    *("finish", "done", "empty", "delete", "recategorise", "undo", "redo"),
)
FIELDS: dict[str, Kinds] = {f"/{name}": {} for name in ("take_over", "alive", "bye")}  # of this module, and the rest
for name in ACTIONS:  # a request holds what its method of the annotator takes
    kinds = get_type_hints(getattr(Annotator, name)).items()
    FIELDS[f"/{name}"] = {field: get_args(kind) or (kind,) for field, kind in kinds if field != "return"}
STATUSES = {  # of refused requests, by the reason that the page is told
    **{"request": 400, "token": 401, "foreign": 403, "page": 404},
    **{"tab": 409, "late": 409, "outside": 422, "ending": 503},
}
ENDING = "the program is ending; start it again and reload this page"


class Server(ThreadingHTTPServer):
    """Answers one page.

    annotator:  what is done; requests are carried out by one thread, in the order of arrival.
    port:       0 picks a free one;  host: an address of this machine; without it the loopback interface.
    Raises:     OSError if the port is taken.
    """

    daemon_threads = True

    def __init__(self, annotator: Annotator, port: int, host: str = HOSTS[0]):
        try:
            super().__init__((host, port), Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise OSError(f"--port {port}: {reason}; name another, or 0 for any free one") from error
        self.annotator, self.host, self.token = annotator, host, annotator.store.kept["token"]
        self.worker = ThreadPoolExecutor(1, "worker")
        self.client = ""  # the tab that has the place
        self.ending, self.underway, self.turn = False, set[Handler](), threading.Condition()

    @property
    def address(self) -> str:
        """The page's address with the token."""
        return f"http://{HOSTS[0]}:{self.server_address[1]}/#{self.token}"

    def knows(self, url: str) -> bool:
        """Whether a URL names this machine; with --host any number does, for only names can be made to lead here."""
        try:
            name = urlsplit(url).hostname or ""
            if name in HOSTS or self.host in HOSTS:
                return name in HOSTS
            return name == self.host or bool(ipaddress.ip_address(name))
        except ValueError:
            return False

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
        self.annotator.session.end(wait)

    def carry_out(self, name: str, body: dict[str, Any]) -> Any:
        """What the annotator answers, in the one thread that asks it.

        What is on disk is answered as done: a failure after that is a notice, and the answer is that of a request which
        is sent again.
        """
        store, act = self.annotator.store, getattr(self.annotator, name)
        if self.ending and "key" not in body:
            raise RefusedError("ending", ENDING)
        saved = len(store.events)
        try:
            with needing_memory(name):
                return act(**body)
        except Exception as error:
            if len(store.events) == saved:
                raise
            store.notices.append(f"saved, but not all that follows was done: {one_line(error)}")
        with needing_memory(name):
            return act(**body)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A page that is closed during an answer is not an error."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def admit(self, request: "Handler") -> None:
        """Begin a request, which `end` waits for, of the tab that has the place; another takes it where it is free."""
        with self.turn:
            if self.ending:
                raise RefusedError("ending", ENDING)
            self.underway.add(request)
        client, path = request.headers.get("X-Client", ""), request.path
        if not 1 <= len(client) <= 64:
            raise RefusedError("request", "no X-Client header; reload the page")
        free = not self.client and path not in ("/alive", "/bye")
        if client != self.client and not free and path != "/take_over":
            raise RefusedError("tab", "this folder is open in another tab; take over, or continue there")
        self.client = "" if path == "/bye" else client


class Handler(BaseHTTPRequestHandler):
    """One connection of the page."""

    protocol_version, server_version, sys_version = "HTTP/1.1", "siis", ""
    disable_nagle_algorithm, timeout = True, 120
    server: Server

    def do_GET(self) -> None:
        """The files of the page."""
        self.answered(self.page)

    def do_POST(self) -> None:
        """Everything else."""
        try:
            self.answered(self.action)
        finally:
            with self.server.turn:
                self.server.underway.discard(self)
                self.server.turn.notify_all()

    def answered(self, act: Callable[[], tuple[str, bytes]]) -> None:
        """Send what `act` gives, or the one line of its failure."""
        status, length = 200, self.headers.get("Content-Length", "")
        self.unread = min(int(length), DISCARDED) if length.isdecimal() else 0
        try:
            self.from_here()
            kind, body = act()
        except RefusedError as error:
            status, reason, line = STATUSES[error.reason], error.reason, str(error)
        except ValueError as error:
            status, reason, line = 422, "input", str(error)
        except MemoryError as error:
            status, reason, line = 507, "disk", f"not done: {error}"
        except OSError as error:
            status, reason, line = 507, "disk", f"not saved: {error}"
        except Exception as error:
            status, reason, line = 500, "fault", f"not done: {one_line(error)}"
        if status != 200:
            line = " ".join(line.split())
            kind, body = "application/json", json.dumps({"error": line, "reason": reason}).encode()
            self.close_connection = True  # the rest of the request may be unread
            if status in (422, 500, 507):
                tell(line)
        self.send_response(status)
        ends = {"Connection": "close"} if self.close_connection else {}
        for name, value in {**HEADERS, **ends, "Content-Type": kind, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        if status != 200:  # a connection that is closed before all is read may lose the answer
            self.rfile.read(self.unread)

    def from_here(self) -> None:
        """Refuse a foreign name for this machine (DNS rebinding) and a foreign page; any port, so that ssh -L works."""
        if not self.server.knows("//" + self.headers.get("Host", "")):
            raise RefusedError("foreign", "a foreign Host; open the address that the program printed")
        origin = self.headers.get("Origin")
        if origin is not None and (not origin.startswith("http://") or not self.server.knows(origin)):
            raise RefusedError("foreign", "a foreign Origin; open the address that the program printed")

    def page(self) -> tuple[str, bytes]:
        """(type, content) of a file of the page."""
        if self.path not in PAGES:
            raise RefusedError("page", "no such page")
        file = PAGES[self.path]
        return f"{KINDS[file.suffix]}; charset=utf-8", file.read_bytes()

    def action(self) -> tuple[str, bytes]:
        """(type, answer) of a request, checked before anything is done."""
        if not hmac.compare_digest(self.headers.get("X-Token", "").encode(), self.server.token.encode()):
            raise RefusedError("token", "no valid token; open the address that the program printed")
        if self.path not in FIELDS:
            raise RefusedError("page", "no such action")
        body = self.body()
        server, annotator, name = self.server, self.server.annotator, self.path[1:]
        server.admit(self)
        if name in ("bye", "alive", "take_over"):
            return "application/json", b"{}"
        if name == "thumbnail":
            return "image/jpeg", annotator.thumbnail(body["image"])
        if name == "segment":
            annotator.latest = max(annotator.latest, body["seq"])  # at once, so that older ones in the queue give up
        answer = server.worker.submit(server.carry_out, name, body).result()
        if isinstance(answer, bytes):
            return "image/bmp", answer
        for line in answer.get("notices", []):
            tell(line)
        return "application/json", json.dumps(answer).encode()

    def body(self) -> dict[str, Any]:
        """The request's JSON object with exactly the fields that its action takes."""
        length = self.headers.get("Content-Length", "")
        if self.headers.get_content_type() != "application/json" or not length.isdecimal() or int(length) > LIMIT:
            raise RefusedError("request", f"expected application/json of at most {LIMIT} bytes")
        try:
            self.unread = 0
            body = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            raise RefusedError("request", "not valid JSON") from None
        return checked_fields("request", body, FIELDS[self.path])

    def log_message(self, format: str, *args: Any) -> None:
        """No line for each request: the terminal is for what the person should know."""


def tell(line: str) -> None:
    """Show the person at the terminal a line that the page shows too, unless the terminal is gone or has no letters."""
    with suppress(OSError, ValueError):  # it must not make a failure of what is saved
        print(f"annotate: {line}", flush=True)
