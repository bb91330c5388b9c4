"""What fuzz tests share: damaged bytes, odd values, and what a reader may do with them.

`WSSS_FUZZ` multiplies the number of examples (`make fuzz`).
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

TIMES = int(os.environ.get("WSSS_FUZZ", "1"))
LONGEST = 1500
"""Characters of a sentence."""


def fuzz(examples: int) -> settings:
    """Settings of a fuzz test; other examples each time in a long run, the same ones else."""
    return settings(
        max_examples=examples * TIMES,
        derandomize=TIMES == 1,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def fair(read: Callable[..., Any], *arguments: Any) -> Any:
    """What `read` returns; None where it refuses in one clear sentence. All else fails."""
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
    """One of some files with a few bytes changed, lost, added or repeated; now and then noise."""
    if draw(st.integers(0, 24)) == 0:
        return draw(st.binary(max_size=300))
    data = bytearray(draw(st.sampled_from(valid)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        size = draw(st.integers(1, 24))
        edit = draw(st.sampled_from(("flip", "set", "number", "put", "drop", "repeat", "cut")))
        if edit == "flip" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif edit == "set":
            data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
        elif edit == "number":
            data[at : at + 4] = draw(st.sampled_from(NUMBERS))
        elif edit == "put":
            data[at:at] = draw(st.binary(min_size=1, max_size=size))
        elif edit == "drop":
            del data[at : at + size]
        elif edit == "repeat":
            data[at:at] = data[at : at + size] * draw(st.integers(1, 40))
        elif edit == "cut":
            del data[at:]
    return bytes(data)


def summed(png: bytes) -> bytes:
    """A damaged PNG with the check sums of its chunks made right again, so that more is read."""
    out, at = bytearray(png[:8]), 8
    while at + 8 <= len(png):
        (size,) = struct.unpack(">I", png[at : at + 4])
        body = png[at + 4 : at + 8 + size]
        out += png[at : at + 4] + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + size
    return bytes(out)


FOLDER, PIPE = "folder", "pipe"
odd = st.sampled_from(
    (FOLDER, PIPE, b"", b"{}", b"[]", b"null", b"[" * 100_000, b'{"a":' * 100_000, b"\0" * 40)
)
"""What may lie in the place of a file: something else, or bytes that say nothing."""


def put(path: Path, content: bytes | str) -> None:
    """Leaves bytes, an empty folder or a pipe, which to open would never end, at a path."""
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
"""Of classes; a data set has 1 to 254."""
NESTED: Any = []
for _ in range(400):
    NESTED = [NESTED]


@st.composite
def altered(draw: st.DrawFn, value: Any) -> Any:
    """A nested value of dicts, lists and scalars with a few members changed, added or lost."""
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
