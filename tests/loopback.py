"""A server on the loopback interface with the habits of those that data sets come from, good and bad."""

import http.server
import threading


class Server(http.server.ThreadingHTTPServer):
    """Serves `files` by name; `whole` False cuts every body in half, `stall` also keeps the connection open.

    asked:  the names that were asked for;  halfway: set when half of a body is out.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.asked, self.whole, self.stall = dict[str, bytes](), list[str](), True, False
        self.halfway, self.free = threading.Event(), threading.Event()
        self.address = f"http://127.0.0.1:{self.server_address[1]}/pub"

    daemon_threads = True

    def handle_error(self, request, client_address):
        """A client that was killed is none."""


class Handler(http.server.BaseHTTPRequestHandler):
    """GET alone; like Zenodo's it refuses clients that do not say who they are."""

    def do_GET(self):
        name, server = self.path.removeprefix("/pub/"), self.server
        server.asked.append(name)
        if self.headers["User-Agent"] is None or self.headers["User-Agent"].startswith("Python"):
            self.send_error(403)
        elif name not in server.files:
            self.send_error(404)
        else:
            body = server.files[name]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body if server.whole else body[: len(body) // 2])
            self.wfile.flush()
            if server.stall:
                server.halfway.set()
                server.free.wait(30)

    def log_message(self, *_):
        """Nothing on stderr, which the tests read."""
