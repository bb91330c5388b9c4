"""Fixtures that the tests of several folders share."""

from __future__ import annotations

import atexit
import ctypes
import functools
import gc
import logging
import os
import signal
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the helper beside this file, in any import mode
from limits import HANG

# `make test` runs three processes; more threads than cores would wait for each other, and busily.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# A job in the background ignores Ctrl-C, and so would the commands that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection() -> None:
    """Look for no garbage while tests are collected, because what they import stays."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Look for garbage from now on, but not among all that was imported before.

    The interpreter frees that at its end, because some libraries complain otherwise; pytest looks
    for garbage several times before."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(50_000, 20, 20)  # seldom, as the objects of running tests are many
    atexit.register(gc.unfreeze)


def give_up_rights() -> None:
    """Let file permissions bind this thread, and those that it starts, as they bind most users.

    Root gives up its right to override them (CAP_DAC_OVERRIDE), which each thread has by itself."""
    if os.geteuid():
        return
    libc, override = ctypes.CDLL(None, use_errno=True), 1
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, sets) == 0
    for number in range(3):
        sets[number] &= ~(1 << override)
    assert libc.prctl(24, override, 0, 0, 0) == 0, os.strerror(ctypes.get_errno())
    assert libc.capset(header, sets) == 0, os.strerror(ctypes.get_errno())


@pytest.fixture
def read_only() -> Callable[..., Any]:
    """Return a function that calls a function while a folder with all files in it is
    write-protected, in a thread that the protection binds, and returns the result."""

    def call(folder: Path, function: Callable[[], Any]) -> Any:
        paths = [folder, *folder.rglob("*")]
        for path in paths:
            path.chmod(0o555 if path.is_dir() else 0o444)
        try:
            with ThreadPoolExecutor(1, initializer=give_up_rights) as pool:
                writable = pool.submit(os.access, folder, os.W_OK).result()
                assert not writable, "the test could write where it should not"
                return pool.submit(function).result()
        finally:
            for path in paths:
                path.chmod(0o755 if path.is_dir() else 0o644)

    return call


SECRET = "the-secret-key-of-the-tests"


def one_request_at_a_time(responses: Any) -> None:
    """Let a class of moto carry out one write or read of an object after another.

    Otherwise two threads of its server may both find that an object does not exist yet, and one may
    read an object that another thread replaces and closes.
    """
    lock = threading.Lock()

    def locked(request: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def answer(self: Any) -> Any:
            with lock:
                return request(self)

        return answer

    for name in ("put_object", "get_object"):
        setattr(responses, name, locked(getattr(responses, name)))


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Start an S3 server on loopback and yield its address."""
    one_request_at_a_time(pytest.importorskip("moto.s3.responses").S3Response)
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it names each request
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@functools.cache
def make_bucket(server: str, name: str) -> str:
    """Create a bucket once and return its name; the variables that reach it must be set before."""
    from pyarrow import fs

    fs.S3FileSystem(
        endpoint_override=server,
        region="us-east-1",
        allow_bucket_creation=True,
        request_timeout=HANG,
    ).create_dir(name)
    return name


def new_store(server: str, cache: Path, patch: pytest.MonkeyPatch, bucket: str = "tests") -> str:
    """Set the variables with which a bucket is reached, and return the address of an empty store.

    All stores lie in one bucket, because a new bucket needs new connections, which take time."""
    credentials = {"ACCESS_KEY_ID": "tester", "SECRET_ACCESS_KEY": SECRET, "REGION": "us-east-1"}
    for name, value in {**credentials, "ENDPOINT_URL": server}.items():
        patch.setenv(f"AWS_{name}", value)
    patch.setenv("WSSS_CACHE", str(cache))
    return f"s3://{make_bucket(server, bucket)}/{uuid.uuid4().hex[:8]}/store"


@pytest.fixture
def bucket(s3_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the address of an empty store in a bucket; the test has a cache of its own."""
    return new_store(s3_server, tmp_path / "cache", monkeypatch)


@pytest.fixture
def own_bucket(s3_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the address of an empty store in a bucket whose policy the test may change."""
    return new_store(s3_server, tmp_path / "cache", monkeypatch, f"own-{uuid.uuid4().hex[:8]}")


@pytest.fixture(scope="module")
def shared_bucket(s3_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a store in a bucket that the tests of a file share."""
    with pytest.MonkeyPatch.context() as patch:
        yield new_store(s3_server, tmp_path_factory.mktemp("cache"), patch)


@pytest.fixture(scope="session")
def clip_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a small CLIP network with random weights.

    Its image tower has 4 blocks of 2 heads, and patches of 8 x 8 pixels on a grid of 6 x 6.
    Attentions are sharper than those of a network that was not trained.
    """
    import torch
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    image = CLIPVisionCfg(layers=4, width=128, patch_size=8, image_size=48)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = CLIP(32, image, CLIPTextCfg(width=64, heads=1, layers=2), quick_gelu=True)
    tensors = {name: value.half() for name, value in network.state_dict().items()}
    for name in tensors:
        if name.endswith("attn.in_proj_weight"):
            tensors[name] *= 3
    path = tmp_path_factory.mktemp("clip") / "tiny.pt"
    torch.save(tensors, path)
    return path
