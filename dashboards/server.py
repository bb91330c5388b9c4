"""The dashboard: the pages of a store, served on loopback to this machine alone."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from ..platform.errors import InputError
from ..platform.store import Store
from .pages import POLICY
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


class Server(ThreadingHTTPServer):
    """Hands out the pages of a site.

    Only GET and HEAD are answered, and only to who names this machine as the host: a page of
    another origin that reaches this address under a name of its own learns nothing.

    Args:
        store: what is shown.
        port: to listen on; 0: any free one.

    Raises:
        InputError: the port is taken or not allowed.
    """

    daemon_threads = True

    def __init__(self, store: Store, port: int) -> None:
        self.site = Site(store, live=True)
        self.making = threading.Lock()
        try:
            super().__init__((ADDRESS, port), Handler)
        except (OSError, OverflowError) as error:
            raise InputError(f"port {port} cannot be used: {error}; name another one") from error

    @property
    def address(self) -> str:
        """Where a browser finds the overview."""
        return f"http://{ADDRESS}:{self.server_port}/"

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that goes away in the middle of an answer is no error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    def is_host(self, name: str) -> bool:
        """Whether a request that names this host may be answered."""
        return name in {f"{own}:{self.server_port}" for own in (ADDRESS, "localhost")}


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "wsss"
    sys_version = ""

    def do_GET(self) -> None:
        """A file of the site, or `state/PAGE`: what changes when the page does."""
        if not self.server.is_host(self.headers.get("Host", "")):
            self._say(HTTPStatus.FORBIDDEN, "this server answers to its own address only")
            return
        path = unquote(urlsplit(self.path).path).removeprefix("/") or "index.html"
        try:
            if path.startswith("state/"):
                stamp = self.server.site.state(path.removeprefix("state/"))
                body = None if stamp is None else json.dumps({"stamp": stamp}).encode()
            else:
                body = self._file(path)
        except InputError as error:
            self._say(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
            return
        if body is None:
            self._say(HTTPStatus.NOT_FOUND, "there is no such page")
            return
        end = "json" if path.startswith("state/") else path.rpartition(".")[2]
        # Pictures and Plotly never change under their name: artefacts are named by content.
        fixed = path.startswith(PICTURES) or path == "plotly.min.js"
        self._send(HTTPStatus.OK, body, TYPES[end], "max-age=3600" if fixed else "no-store")

    def do_HEAD(self) -> None:
        """As `do_GET`, without the body."""
        self.do_GET()

    def _file(self, path: str) -> bytes | None:
        if path.startswith(PICTURES):
            return self.server.site.file(path)
        with self.server.making:  # two threads that make pages gain nothing over one
            return self.server.site.file(path)

    def _say(self, status: HTTPStatus, text: str) -> None:
        self._send(status, (text + "\n").encode(), "text/plain; charset=utf-8", "no-store")

    def _send(self, status: HTTPStatus, body: bytes, kind: str, cache: str) -> None:
        self.send_response(status)
        headers: Mapping[str, str] = {
            **SAFE,
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Cache-Control": cache,
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: the terminal is for what people asked for."""
