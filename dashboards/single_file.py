"""A site as a single HTML file that holds every page, script and picture.

The script `assets/single.js` inside the file shows one page at a time.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..platform.errors import InputError
from ..platform.storage.filesystem import CHUNK, write_atomic
from .pages.layout import ASSETS, TEMPLATES
from .site import Site

POLICY = (
    "default-src 'none'; script-src 'sha256-{hash}' blob:; style-src blob: 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)
END = "<!-- wsss report: the SHA-256 of everything above is {digest} -->\n"
"""Last line of the file, which shows that a report wrote the file and nobody changed it since."""


def check(out: Path) -> None:
    """Refuse a path where a report in one file cannot be written.

    Raises:
        InputError: `out` is a folder, a file that is no report in one file, or a report that was
            changed since it was written.
    """
    if out.is_dir():
        raise InputError(f"{out} is a folder; name a file for a report in one file")
    if os.path.lexists(out) and not _is_unchanged_report(out):
        raise InputError(
            f"{out} is something other than a report in one file, or was changed since it was "
            "written; name another file"
        )


def _is_unchanged_report(page: Path) -> bool:
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
    """Write all files of a site as one HTML file, completely or not at all.

    Args:
        site: a site that does not follow its store.
        out: the file; an earlier report is replaced.
        start: path of the page that opens first.

    Raises:
        InputError: as `check`, or something that a page needs cannot be read. An earlier file then
            stays as it was.
    """
    check(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    script = (ASSETS / "single.js").read_text()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = TEMPLATES.get_template("single_file.html")

    def write_files(stream: BinaryIO) -> None:
        hasher = hashlib.sha256()
        policy = POLICY.format(hash=digest)
        for text in page.generate(policy=policy, start=start, files=_files(site), script=script):
            hasher.update(text.encode())
            stream.write(text.encode())
        stream.write(END.format(digest=hasher.hexdigest()).encode())
        check(out)  # a user may have put a file there meanwhile

    # A link stays a link: the file that it leads to is replaced.
    write_atomic(out.resolve(), write_files)


def _files(site: Site) -> Iterator[tuple[str, str]]:
    """Yield path and content in base64 of each file of a site."""
    for path in site.paths():
        content = site.file(path)
        if content is not None:
            yield path, base64.b64encode(content).decode()
