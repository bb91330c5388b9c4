"""Helpers of the fuzz tests: damaged bytes, odd values, and checks of what readers do with them.

`WSSS_FUZZ` multiplies the number of examples: by a half in `make test`, by 12 in `make fuzz`.
"""

from __future__ import annotations

import copy
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from wsss.platform.errors import InputError

TIMES = float(os.environ.get("WSSS_FUZZ", "0.5"))
LONGEST = 1500
"""Characters that a sentence may have at most."""


def fuzz(examples: int) -> settings:
    """Return settings of a fuzz test; a long run draws new examples, a short run the same ones."""
    return settings(
        max_examples=round(examples * TIMES),
        derandomize=TIMES < 1,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def attempt(read: Callable[..., Any], *arguments: Any) -> Any:
    """Return what `read` returns, or None if it refuses in one clear sentence; fail otherwise."""
    try:
        return read(*arguments)
    except InputError as error:
        check_sentence(str(error))
        return None


def check_sentence(text: str) -> None:
    assert text.strip()
    assert len(text) < LONGEST, text
    assert text.isprintable(), repr(text)


NUMBERS = (
    b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f",
    b"\x80\0\0\0", b"\0\0\0\x80", b"\0\0\0\1", b"\1\0\0\0",
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, *valid: bytes) -> bytes:
    """Draw one of some files with a few bytes changed, lost, added or repeated; rarely noise."""
    if draw(st.integers(0, 24)) == 0:
        return draw(st.binary(max_size=300))
    data = bytearray(draw(st.sampled_from(valid)))
    for _ in range(draw(st.integers(1, 4))):
        offset = draw(st.integers(0, max(0, len(data) - 1)))
        size = draw(st.integers(1, 24))
        edit = draw(st.sampled_from(("flip", "set", "number", "put", "drop", "repeat", "cut")))
        if edit == "flip" and data:
            data[offset] ^= 1 << draw(st.integers(0, 7))
        elif edit == "set":
            data[offset : offset + 1] = draw(st.binary(min_size=1, max_size=1))
        elif edit == "number":
            data[offset : offset + 4] = draw(st.sampled_from(NUMBERS))
        elif edit == "put":
            data[offset:offset] = draw(st.binary(min_size=1, max_size=size))
        elif edit == "drop":
            del data[offset : offset + size]
        elif edit == "repeat":
            data[offset:offset] = data[offset : offset + size] * draw(st.integers(1, 40))
        elif edit == "cut":
            del data[offset:]
    return bytes(data)


def with_checksums(png: bytes) -> bytes:
    """Return a damaged PNG with correct check sums of its chunks, so that readers get further."""
    out, offset = bytearray(png[:8]), 8
    while offset + 8 <= len(png):
        (size,) = struct.unpack(">I", png[offset : offset + 4])
        chunk = png[offset + 4 : offset + 8 + size]
        out += png[offset : offset + 4] + chunk + struct.pack(">I", zlib.crc32(chunk))
        offset += 12 + size
    return bytes(out)


FOLDER, PIPE = "folder", "pipe"
odd = st.sampled_from(
    (FOLDER, PIPE, b"", b"{}", b"[]", b"null", b"[" * 100_000, b'{"a":' * 100_000, b"\0" * 40)
)
"""Odd contents at the path of a file: a folder, a pipe, or bytes without meaning."""


def put(path: Path, content: bytes | str) -> None:
    """Put bytes, an empty folder, or a pipe that blocks whoever opens it, at a path."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == PIPE:
        os.mkfifo(path)
    else:
        path.mkdir()


TEXTS = (
    "", " ", "\0", "\n", "..", ".", "/", "../../escaped", "a/b", "-", "--", "a\nb", "\x1b[2J",
    "é", "🐈", "\ud800", "a" * 300, "nan", "inf", "-1", "0", "1e999", "9" * 30, "None", "[]",
    "%s", "{}", "{0.__class__}", "$HOME", "~", "CON", "a:b", "a+b", ":", "+", "=", "a=b",
    "-rf", "--x", "._", "0x" + "f" * 5000, "9" * 4000, "9" * 9000, "1e99999", "\u2028", "c" * 201,
    "=" * 5, "<script>", "'", '"', "\\", "\u202e", "\x85", "(" * 300, "-" * 9999 + "1",
)  # fmt: skip
texts = st.sampled_from(TEXTS) | st.text(max_size=12)
scalars = (
    texts
    | st.none()
    | st.booleans()
    | st.sampled_from(
        (0, 1, -1, 255, 256, 1 << 31, 1 << 63, 1 << 70, -(1 << 70), 10**400, 10**4200)
    )
    | st.integers(-9, 9)
    | st.sampled_from((0.5, -0.0, 1e308, float("nan"), float("inf"), -float("inf")))
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
counts = st.sampled_from((0, 1, 253, 254, 255, 256, 300, 1000))
"""Numbers of classes; a data set has 1 to 254."""
NESTED: Any = []
for _ in range(400):
    NESTED = [NESTED]


@st.composite
def altered(draw: st.DrawFn, value: Any) -> Any:
    """Draw a copy of a nested value with a few members changed, added or lost."""
    out = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        parent, key, at = None, None, out
        for _ in range(draw(st.integers(0, 6))):
            keys = list(at) if isinstance(at, dict) else range(len(at)) if type(at) is list else ()
            if not keys:
                break
            parent, key = at, draw(st.sampled_from(list(keys)))
            at = parent[key]
        if parent is None:
            if draw(st.integers(0, 9)) == 0:
                out = draw(values)
            continue
        edit = draw(st.sampled_from(("set", "set", "drop", "add", "twice")))
        if edit == "set":
            parent[key] = draw(values)
        elif edit == "drop":
            del parent[key]
        elif edit == "add" and isinstance(parent, dict):
            parent[draw(texts)] = draw(values)
        elif isinstance(parent, list):
            parent.insert(draw(st.integers(0, len(parent))), copy.deepcopy(at))
    return out
