"""Tests of stores that may only be read: reading works, writing is refused before computing."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import outputs
from drawn_store import add_sweep
from limits import HANG
from wsss.dashboards.server import Server
from wsss.platform.cli import main
from wsss.platform.errors import InputError
from wsss.platform.records.result_id import ResultId
from wsss.platform.records.schema import read_run
from wsss.platform.storage.artifact import Stage
from wsss.platform.storage.object_store.bucket import Bucket
from wsss.platform.storage.store import Store, open_store

PAGES = ("", "run.run-0.html", "images.run-0.html")


def answers(store: Store) -> list[tuple[int, bool]]:
    """Return status of each of `PAGES`, as a server of the store gives it, and whether it is long.

    The server runs in threads that this thread starts."""
    out = []
    with Server(store, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for page in PAGES:
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
            connection.request("GET", f"/{page}")
            answer = connection.getresponse()
            out.append((answer.status, len(answer.read()) > 1000))
            connection.close()
        server.shutdown()
    return out


def content(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file in a folder, by name."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def damage(store: Store, stage: str = "labels") -> str:
    """Change a byte of an artifact and return its name as `wsss doctor` prints it."""
    (key,) = list(
        read_run(store.location("runs", "run-1", "run.json"))
        .labels[ResultId.parse("lpcam/crf")]
        .values()
    )
    path = store.open(stage, key).files(".parquet")[0].local()
    text = bytearray(path.read_bytes())
    text[len(text) // 2] ^= 1
    path.write_bytes(bytes(text))
    return f"{stage}/{key[:12]}"


def test_commands_that_read_and_verify_write_nothing(
    store: Store, tmp_path: Path, read_only: Callable[..., Any]
) -> None:
    add_sweep(store)
    name, out = damage(store), tmp_path / "out"
    before = content(store.storage.local_folder)
    out.mkdir()
    commands = [
        ["report", str(out / "site"), "--run", "run-0"],
        ["report", str(out / "page.html"), "--single-file", "--run", "run-0", "--images", "2"],
        ["export", str(out / "png"), "--run", "run-0", "--to", "png", "--what", "lpcam/crf"],
        ["methods", "lpcam"],
        ["doctor", "--verify"],
        ["data", "scenes", "--train", "2", "--val", "1"],
    ]
    words = [[*command, "--store", str(store)] for command in commands]
    root = store.storage.local_folder
    (*reading, writing), pages = read_only(root, lambda: (outputs(words), answers(store)))
    assert [code for code, _, _ in reading] == [0] * 4 + [2], reading
    assert {p.name for p in out.iterdir()} == {"site", "page.html", "png"}
    doctor = reading[-1][1].splitlines()
    assert f"{name} damaged, not moved to quarantine: " in "\n".join(doctor)
    assert sum(line.count("damaged") for line in doctor) == 1
    assert reading[-1][2].endswith(
        "1 artifact is damaged; repeat the commands that computed them\n"
    )
    code, output, error = writing
    assert (code, output) == (2, "")
    assert "data set 'scenes' cannot be kept: " in error
    assert len(error.splitlines()) == 1
    assert content(store.storage.local_folder) == before
    assert pages == [(200, True)] * 3


def test_an_artifact_that_cannot_be_kept_is_not_computed(
    store: Store, read_only: Callable[..., Any]
) -> None:
    root, began = store.storage.local_folder, []
    root.joinpath("artifacts", "a").mkdir()
    for name in ("", "locks", "attempts", "artifacts/a"):

        def get() -> object:
            stage = Stage(name="a", version=1, config={})
            return Store(root).get(stage, lambda folder: began.append(folder) or {})

        with pytest.raises(InputError, match=re.escape(f"a cannot be kept: {root}")):
            read_only(root / name, get)
        assert not began


def read_only_bucket(address: str, server: str) -> None:
    """Set a policy that lets nobody write into a bucket."""
    name = address.removeprefix("s3://").partition("/")[0]
    resources = [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"]
    actions = ["s3:PutObject", "s3:DeleteObject", "s3:PostObject"]
    deny = {"Effect": "Deny", "Principal": "*", "Action": actions, "Resource": resources}
    text = json.dumps({"Version": "2012-10-17", "Statement": [deny]})
    connection = http.client.HTTPConnection(server.removeprefix("http://"), timeout=HANG)
    connection.request("PUT", f"/{name}?policy", text)
    answer = connection.getresponse()
    assert answer.status < 300, answer.read()
    connection.close()


def test_a_bucket_that_may_only_be_read_is_verified_and_not_written(
    own_bucket: str, s3_server: str, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, stages = open_store(own_bucket), []
    for number in range(3):
        stage = Stage(name="thing", version=1, config={"n": number})
        store.get(stage, lambda folder: {"n": (folder / "a.bin").write_bytes(b"a" * 9)})
        stages.append(stage)
    objects = Bucket(own_bucket.removeprefix("s3://"))
    (name,) = (n for n in objects.objects(f"artifacts/thing/{stages[0].key}") if "a.bin" in n)
    objects.write(name, b"b" * 9)
    store.manifest("thing", stages[1].key).write(b"{}")
    monkeypatch.setenv("WSSS_CACHE", str(tmp_path / "another machine"))
    read_only_bucket(own_bucket, s3_server)
    assert main(["doctor", "--verify", "--store", own_bucket]) == 2
    out, err = capsys.readouterr()
    assert err == "wsss: 2 artifacts are damaged; repeat the commands that computed them\n"
    lines = [line for line in out.splitlines() if line.startswith("thing/")]
    fates = {line.split()[0]: "not moved to quarantine" in line for line in lines}
    assert fates == {f"thing/{s.key[:12]}": s is not stages[2] for s in stages}
    with pytest.raises(InputError, match=r"new cannot be kept: .*(AccessDenied|Forbidden)"):
        open_store(own_bucket).get(
            Stage(name="new", version=1, config={}), lambda folder: pytest.fail("it began")
        )
