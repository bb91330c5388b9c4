"""The dashboard server, which serves the pages of a store on loopback to this machine alone."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from ..platform.errors import InputError
from ..platform.storage.store import Store
from .pages.layout import POLICY
from .site import Site

ADDRESS = "127.0.0.1"
TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "json": "application/json",
    "png": "image/png",
    "jpg": "image/jpeg",
}
PICTURES = ("layers/", "prototypes/", "examples/")
SECURITY_HEADERS = {
    "Content-Security-Policy": POLICY + "; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
MOST_CONNECTIONS = 32
"""Most open connections. A browser opens six to a server, for all its pages together."""
CHUNK = 1 << 16
"""Bytes sent at a time; the client has `Handler.timeout` seconds to read each chunk."""


class Server(ThreadingHTTPServer):
    """HTTP server for the pages of a store.

    It answers only GET and HEAD, and only requests whose Host header names this machine, so that a
    page of another origin that resolves its own name to this address learns nothing. Every request
    gets an answer. At most MOST_CONNECTIONS are open: a further connection closes the connection
    whose last request is the oldest.

    Args:
        store: the store that the pages present.
        port: port to listen on, 0 to 65535; 0: any free port.

    Raises:
        InputError: the port is taken or not allowed.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, store: Store, port: int) -> None:
        self.site = Site(store, live=True)
        self.making = threading.Lock()
        self.free = threading.Semaphore(MOST_CONNECTIONS)
        self.order = threading.Lock()
        self.open: dict[socket.socket, None] = {}
        """Open connections, the one with the latest request last; changed only under `order`."""
        try:
            super().__init__((ADDRESS, port), Handler)
        except (OSError, OverflowError) as error:
            raise InputError(f"port {port} cannot be used: {error}; name another port") from error

    @property
    def address(self) -> str:
        """Address of the overview page."""
        return f"http://{ADDRESS}:{self.server_port}/"

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a connection in its own thread; close an older one where too many are open."""
        if not self.free.acquire(blocking=False):
            with self.order, contextlib.suppress(StopIteration, OSError):  # it just ended
                next(iter(self.open)).shutdown(socket.SHUT_RDWR)
            self.free.acquire()
        with self.order:
            self.open[request] = None
        super().process_request(request, client_address)

    def mark_latest(self, request: socket.socket) -> None:
        """Note that a connection sends a request now."""
        with self.order:
            if request in self.open:
                del self.open[request]
                self.open[request] = None

    def shutdown_request(self, request: Any) -> None:
        """End a connection, which makes room for a new connection."""
        with self.order:
            counted = request in self.open
            self.open.pop(request, None)
        super().shutdown_request(request)
        if counted:
            self.free.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Print an error in one line; a browser that closes its connection early is no error."""
        error = sys.exception()
        if not isinstance(error, ConnectionError):
            print_failure("a connection", error)

    def is_host(self, name: str) -> bool:
        """Return whether the Host header of a request names this server."""
        return name in {f"{host}:{self.server_port}" for host in (ADDRESS, "localhost")}


def print_failure(request: str, error: BaseException | None) -> str:
    """Print in one line that a request failed and why, and return that line."""
    sentence = f"{request} cannot be answered: {type(error).__name__}: {error}"
    line = str(InputError(sentence))  # printable, and not too long
    sys.stderr.write(f"wsss dashboard: {line}\n")
    return line


class Handler(BaseHTTPRequestHandler):
    """Handler of the requests of one connection."""

    server: Server
    timeout = 30
    """Seconds that a client has to send a request or to read CHUNK bytes."""
    default_request_version = "HTTP/1.0"  # for HTTP/0.9 the library sends no status line
    protocol_version = "HTTP/1.1"
    server_version = "wsss"
    sys_version = ""

    def do_GET(self) -> None:
        """Send a file of the site, or for `state/PAGE` a stamp that changes with the page."""
        self.server.mark_latest(self.connection)
        try:
            path = unquote(urlsplit(self.path).path).removeprefix("/") or "index.html"
        except ValueError as error:
            self._say(HTTPStatus.BAD_REQUEST, f"the address is malformed: {error}")
            return
        if not self.server.is_host(self.headers.get("Host", "")):
            self._say(HTTPStatus.FORBIDDEN, "this server answers only requests to its own address")
            return
        try:
            body = self._body(path)
        except InputError as error:
            self._say(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
            return
        except Exception as error:  # a bug here must not end the server
            text = print_failure(f"{self.command} /{path}", error)
            self._say(HTTPStatus.INTERNAL_SERVER_ERROR, text)
            return
        if body is None:
            self._say(HTTPStatus.NOT_FOUND, "there is no such page")
            return
        extension = "json" if path.startswith("state/") else path.rpartition(".")[2]
        # Pictures lie under their artifact's key, so they never change, and neither does Plotly.
        fixed = path.startswith(PICTURES) or path == "plotly.min.js"
        self._send(HTTPStatus.OK, body, TYPES[extension], "max-age=3600" if fixed else "no-store")

    def do_HEAD(self) -> None:
        """Send the headers that `do_GET` sends, without a body."""
        self.do_GET()

    def _body(self, path: str) -> bytes | None:
        if path.startswith("state/"):
            stamp = self.server.site.state(path.removeprefix("state/"))
            return None if stamp is None else json.dumps({"stamp": stamp}).encode()
        if path.startswith(PICTURES):
            return self.server.site.file(path)
        with self.server.making:  # a second thread would not make pages faster
            return self.server.site.file(path)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer a request that the library refuses, and close the connection."""
        self.close_connection = True
        status = HTTPStatus(code)
        self._say(status, str(InputError(message or status.phrase)))

    def _say(self, status: HTTPStatus, text: str) -> None:
        self._send(status, (text + "\n").encode(), "text/plain; charset=utf-8", "no-store")

    def _send(self, status: HTTPStatus, body: bytes, kind: str, cache: str) -> None:
        self.send_response(status)
        headers: Mapping[str, str] = {
            **SECURITY_HEADERS,
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Cache-Control": cache,
            **({"Connection": "close"} if self.close_connection else {}),
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        for start in range(0, len(body), CHUNK):
            self.wfile.write(body[start : start + CHUNK])

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: requests of a browser would flood the terminal."""
