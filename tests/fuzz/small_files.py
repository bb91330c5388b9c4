"""Small files that data sets consist of, and checks of what is read from them."""

from __future__ import annotations

from pathlib import Path

from wsss.platform.data.names import MOST_CLASSES

CLASSES = ("cat", "dog", "ox")
NAMES = b"background\ncat\ndog\nox\n"
CSV = b'id,labels,split\na,cat dog,train\nb,"ox;cat",val\nc,,train\n'


def fill(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def check_classes(names: tuple[str, ...] | None) -> None:
    if names is not None:
        assert 1 <= len(names) == len(set(names)) <= MOST_CLASSES
        assert all(name.strip() for name in names)
        assert not any(c < " " or c == "\x7f" or "\ud800" <= c <= "\udfff" for c in "".join(names))
