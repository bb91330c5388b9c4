"""A site in one file: every page and picture inside it, shown by a script of its own."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path
from typing import BinaryIO

from ..platform.errors import InputError
from ..platform.storage.artifact_files import write_atomic
from ..platform.storage.filesystem import CHUNK
from .pages.layout import ASSETS, MARK
from .pages.tables import esc
from .site import Site

FRAME = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
{mark}
<title>wsss</title>
<link rel="icon" href="data:,">
<style>
body {{ margin: 0 }}
iframe {{ border: 0; width: 100vw; height: 100vh; display: block }}
</style>
</head>
<body data-start="{start}">
<iframe></iframe>
<noscript>This page needs scripts.</noscript>
"""
POLICY = (
    "default-src 'none'; script-src 'sha256-{hash}' blob:; style-src blob: 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)


END = "<!-- wsss report: the SHA-256 of everything above is {digest} -->\n"
"""The last line, by which a page is known as one that was written here and not changed since."""


def check(out: Path) -> None:
    """Refuses a file that is no report in one file, or that was changed since it was written.

    Raises:
        InputError: it is such a file, or a folder.
    """
    if out.is_dir():
        raise InputError(f"{out} is a folder; name a file for a report in one file")
    if os.path.lexists(out) and not _is_ours(out):
        raise InputError(
            f"{out} is something else than a report in one file, or was changed since it was "
            "written; name another file"
        )


def _is_ours(page: Path) -> bool:
    if not page.is_file():
        return False
    with page.open("rb") as stream:
        length = page.stat().st_size - len(END.format(digest="0" * 64))
        hasher, left = hashlib.sha256(), max(length, 0)
        while left and (data := stream.read(min(left, CHUNK))):
            hasher.update(data)
            left -= len(data)
        return stream.read() == END.format(digest=hasher.hexdigest()).encode()


def write(site: Site, out: Path, start: str) -> None:
    """Writes all files of a site as one page, whole or not at all.

    Args:
        site: that does not follow its store.
        out: the file; an earlier one is replaced.
        start: the page that is shown first.

    Raises:
        InputError: as `check`, or what pages are made of cannot be read. What was there stays as
            it was.
    """
    check(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    script = (ASSETS / "single.js").read_text()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    head = FRAME.format(policy=POLICY.format(hash=digest), mark=MARK, start=esc(start))

    def files(stream: BinaryIO) -> None:
        hasher = hashlib.sha256()

        def put(data: bytes) -> None:
            hasher.update(data)
            stream.write(data)

        put(head.encode())
        for path in site.paths():
            body = site.file(path)
            if body is not None:
                put(f'<script type="text/plain" data-path="{esc(path)}">'.encode())
                put(base64.b64encode(body))
                put(b"</script>\n")
        put(f"<script>{script}</script>\n</body>\n</html>\n".encode())
        stream.write(END.format(digest=hasher.hexdigest()).encode())
        check(out)  # that took a while, in which a user may have come

    write_atomic(out.resolve(), files)  # where a link leads: it stays one
