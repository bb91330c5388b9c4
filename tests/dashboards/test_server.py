"""Tests of the dashboard server: pages, refused requests and clients that misbehave."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from limits import HANG
from wsss.dashboards.pages.layout import POLICY
from wsss.dashboards.server import MOST_CONNECTIONS, Handler, Server
from wsss.platform.errors import InputError
from wsss.platform.storage.store import Store


@pytest.fixture(scope="module")
def server(scenes: Path) -> Iterator[Server]:
    with Server(Store(scenes), 0) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()


def ask(
    server: Server, path: str, method: str = "GET", host: str = ""
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=HANG)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{server.server_port}")
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def test_pages_and_files_are_served_with_their_headers(server: Server) -> None:
    for path, kind in (
        ("/", "text/html"),
        ("/run.run-0.html?x=1", "text/html"),
        ("/app.js", "text/javascript"),
    ):
        answer, body = ask(server, path)
        assert (answer.status, answer.getheader("Content-Type", "").split(";")[0]) == (200, kind)
        assert len(body) == int(answer.getheader("Content-Length", ""))
        assert answer.getheader("Content-Security-Policy") == POLICY + "; frame-ancestors 'none'"
        assert answer.getheader("X-Content-Type-Options") == "nosniff"
    assert b'src="live.js"' in ask(server, "/index.html")[1]
    assert b'data-every="250"' in ask(server, "/index.html")[1]
    assert server.server_address[0] == "127.0.0.1"


def test_the_state_of_a_page_is_the_stamp_in_it(server: Server) -> None:
    for page in ("index.html", "run.run-0.html"):
        first, second = (json.loads(ask(server, f"/state/{page}")[1]) for _ in range(2))
        assert first == second
        assert set(first) == {"stamp"}
        assert f'data-stamp="{first["stamp"]}"' in ask(server, f"/{page}")[1].decode()
    assert ask(server, "/state/run.nobody.html")[0].status == 404
    assert ask(server, "/state/papers.html")[0].status == 404


@pytest.mark.parametrize(
    "host", ["example.org", "127.0.0.1", "127.0.0.1:1", "localhost.example:80"]
)
def test_a_request_for_another_host_is_refused(server: Server, host: str) -> None:
    answer, body = ask(server, "/", host=host)
    assert answer.status == 403
    assert b"run-0" not in body


def test_localhost_is_allowed(server: Server) -> None:
    assert ask(server, "/", host=f"localhost:{server.server_port}")[0].status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_only_reading_methods_are_allowed(server: Server, method: str) -> None:
    assert ask(server, "/", method)[0].status == 501


def test_head_has_no_body(server: Server) -> None:
    answer, body = ask(server, "/", "HEAD")
    assert (answer.status, body) == (200, b"")


@pytest.mark.parametrize(
    "path",
    ["/../runs/run-0/run.json", "/..%2fruns%2frun-0%2frun.json", "/runs/run-0/run.json",
     "//etc/passwd", "/data/..%2f..%2frun-0/run.js", "/layers/..%2f..%2fdata/scenes.json",
     "/%00", "/papers.json"],
)  # fmt: skip
def test_no_file_but_the_pages_is_served(server: Server, path: str) -> None:
    answer, body = ask(server, path)
    assert answer.status == 404
    assert body == b"there is no such page\n"


def test_a_damaged_record_is_answered_with_one_sentence(store: Store) -> None:
    (store.storage.local_folder / "runs" / "run-0" / "run.json").write_text("{")
    with Server(store, 0) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        answer, body = ask(running, "/run.run-0.html")
        running.shutdown()
    assert answer.status == 500
    assert body.decode().count("\n") == 1
    assert "cannot be read" in body.decode()


def test_a_port_that_is_taken_or_invalid_is_refused(server: Server, scenes: Path) -> None:
    for port in (server.server_port, 70000, -1):
        with pytest.raises(InputError, match=f"port {port} cannot be used"):
            Server(Store(scenes), port)


def answer_to(server: Server, request: bytes) -> bytes:
    """Return all bytes that the server answers to a request until it closes the connection."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=60) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition on the threads of the server holds."""
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("request_line", "status"),
    [(b"GET http://[x/ HTTP/1.1", 400), (b"GET //[x HTTP/1.1", 404), (b"GET / FTP/1.1", 400),
     (b"GET / HTTP/9.9", 505), (b"nonsense", 400), (b"GET / of HTTP/1.1", 400),
     (b"\0\xff\x80 / HTTP/1.1", 501), (b"GET /" + b"a" * 70_000 + b" HTTP/1.1", 414),
     (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200, 431)],
)  # fmt: skip
def test_a_malformed_request_is_answered(server: Server, request_line: bytes, status: int) -> None:
    host = b"Host: 127.0.0.1:%d\r\nConnection: close" % server.server_port
    head, _, body = answer_to(server, request_line + b"\r\n" + host + b"\r\n\r\n").partition(
        b"\r\n\r\n"
    )
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"Content-Security-Policy" in head
    assert body.decode().strip().isprintable()


def test_a_fault_of_the_server_is_answered_and_logged_in_one_line(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(path: str) -> bytes:
        raise RecursionError("maximum recursion depth\nexceeded")

    monkeypatch.setattr(server.site, "file", broken)
    answer, body = ask(server, "/")
    assert answer.status == 500
    sentence = (
        "GET /index.html cannot be answered: RecursionError: maximum recursion depth exceeded"
    )
    assert body.decode() == sentence + "\n"
    assert capsys.readouterr().err == f"wsss dashboard: {sentence}\n"
    monkeypatch.undo()
    assert ask(server, "/")[0].status == 200


def silent(server: Server, request: bytes) -> socket.socket:
    """Return a client that sends a request and does nothing more."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", server.server_port))
    client.sendall(request)
    return client


@pytest.mark.parametrize("request_line", [b"", b"GET / HT", b"GET /plotly.min.js HTTP/1.1\r\n"])
def test_a_client_that_stops_sending_or_reading_is_cut_off(
    server: Server, monkeypatch: pytest.MonkeyPatch, request_line: bytes
) -> None:
    monkeypatch.setattr(Handler, "timeout", 0.2)
    host = b"Host: 127.0.0.1:%d\r\n\r\n" % server.server_port
    client = silent(server, request_line + (host if request_line.endswith(b"\n") else b""))
    until(lambda: len(server.open) > 0)
    until(lambda: not server.open)
    client.close()


def test_a_hundred_clients_that_never_read_leave_room(server: Server) -> None:
    request = b"GET /plotly.min.js HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % server.server_port
    clients = []
    for _ in range(100):
        clients.append(silent(server, request))
        assert len(server.open) <= MOST_CONNECTIONS
    assert ask(server, "/")[0].status == 200
    assert len(server.open) <= MOST_CONNECTIONS
    for client in clients:
        client.close()
    until(lambda: not server.open)
