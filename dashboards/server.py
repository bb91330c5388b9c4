"""The dashboard: the pages of a store, served on loopback to this machine alone."""

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
PICTURES = ("layers/", "prototypes/")
SAFE = {
    "Content-Security-Policy": POLICY + "; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


CONNECTIONS = 32
"""At once. A browser has six for all its pages of one host."""
CHUNK = 1 << 16
"""Bytes that go out at a time; each has `Handler.timeout` seconds."""


class Server(ThreadingHTTPServer):
    """Hands out the pages of a site.

    Only GET and HEAD are answered, and only to who names this machine as the host: a page of
    another origin that reaches this address under a name of its own learns nothing. Every request
    has an answer. No more than CONNECTIONS are open: for a further one that which has asked for
    nothing for longest, or does not read its answer, is closed.

    Args:
        store: what is shown.
        port: to listen on; 0: any free one.

    Raises:
        InputError: the port is taken or not allowed.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, store: Store, port: int) -> None:
        self.site = Site(store, live=True)
        self.making = threading.Lock()
        self.free = threading.Semaphore(CONNECTIONS)
        self.order = threading.Lock()
        self.open: dict[socket.socket, None] = {}
        """The connections, that which asked last at the end; changed under `order` alone."""
        try:
            super().__init__((ADDRESS, port), Handler)
        except (OSError, OverflowError) as error:
            raise InputError(f"port {port} cannot be used: {error}; name another one") from error

    @property
    def address(self) -> str:
        """Where a browser finds the overview."""
        return f"http://{ADDRESS}:{self.server_port}/"

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answers in a thread of its own, once there is room for another connection."""
        if not self.free.acquire(blocking=False):
            with self.order, contextlib.suppress(StopIteration, OSError):  # it ended just now
                next(iter(self.open)).shutdown(socket.SHUT_RDWR)
            self.free.acquire()
        with self.order:
            self.open[request] = None
        super().process_request(request, client_address)

    def asks(self, request: socket.socket) -> None:
        """Notes that a connection asks for something now."""
        with self.order:
            if request in self.open:
                del self.open[request]
                self.open[request] = None

    def shutdown_request(self, request: Any) -> None:
        """Ends a connection, which makes room for another."""
        with self.order:
            known = request in self.open
            self.open.pop(request, None)
        super().shutdown_request(request)
        if known:
            self.free.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """One line; none of a browser that goes away in the middle of an answer."""
        error = sys.exception()
        if not isinstance(error, ConnectionError):
            complain("a connection", error)

    def is_host(self, name: str) -> bool:
        """Whether a request that names this host may be answered."""
        return name in {f"{own}:{self.server_port}" for own in (ADDRESS, "localhost")}


def complain(what: str, error: BaseException | None) -> str:
    """Says in one line on the terminal what could not be answered, and returns it."""
    sentence = f"{what} cannot be answered: {type(error).__name__}: {error}"
    line = str(InputError(sentence))  # printable, and not too long
    sys.stderr.write(f"wsss dashboard: {line}\n")
    return line


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    server: Server
    timeout = 30
    """Seconds that a client may take to send, or to read CHUNK bytes."""
    default_request_version = "HTTP/1.0"  # to 0.9 the library sends no status
    protocol_version = "HTTP/1.1"
    server_version = "wsss"
    sys_version = ""

    def do_GET(self) -> None:
        """A file of the site, or `state/PAGE`: what changes when the page does."""
        self.server.asks(self.connection)
        try:
            path = unquote(urlsplit(self.path).path).removeprefix("/") or "index.html"
        except ValueError as error:
            self._say(HTTPStatus.BAD_REQUEST, f"the address is malformed: {error}")
            return
        if not self.server.is_host(self.headers.get("Host", "")):
            self._say(HTTPStatus.FORBIDDEN, "this server answers to its own address only")
            return
        try:
            body = self._body(path)
        except InputError as error:
            self._say(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
            return
        except Exception as error:  # a fault of ours; the next request may fare better
            text = complain(f"{self.command} /{path}", error)
            self._say(HTTPStatus.INTERNAL_SERVER_ERROR, text)
            return
        if body is None:
            self._say(HTTPStatus.NOT_FOUND, "there is no such page")
            return
        end = "json" if path.startswith("state/") else path.rpartition(".")[2]
        # Pictures and Plotly never change under their name: artifacts are named by content.
        fixed = path.startswith(PICTURES) or path == "plotly.min.js"
        self._send(HTTPStatus.OK, body, TYPES[end], "max-age=3600" if fixed else "no-store")

    def do_HEAD(self) -> None:
        """As `do_GET`, without the body."""
        self.do_GET()

    def _body(self, path: str) -> bytes | None:
        if path.startswith("state/"):
            stamp = self.server.site.state(path.removeprefix("state/"))
            return None if stamp is None else json.dumps({"stamp": stamp}).encode()
        if path.startswith(PICTURES):
            return self.server.site.file(path)
        with self.server.making:  # two threads that make pages gain nothing over one
            return self.server.site.file(path)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answers a request that the library refuses, and closes the connection."""
        self.close_connection = True
        status = HTTPStatus(code)
        self._say(status, str(InputError(message or status.phrase)))

    def _say(self, status: HTTPStatus, text: str) -> None:
        self._send(status, (text + "\n").encode(), "text/plain; charset=utf-8", "no-store")

    def _send(self, status: HTTPStatus, body: bytes, kind: str, cache: str) -> None:
        self.send_response(status)
        headers: Mapping[str, str] = {
            **SAFE,
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
        """Says nothing: the terminal is for what people asked for."""
