"""Fixtures that write annotation files of COCO's format and their images."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the helper beside this file, in any import mode
from annotation_files import HEIGHT, WIDTH


@pytest.fixture
def write_files(tmp_path: Path, make_picture: Callable[..., bytes]) -> Callable[..., Path]:
    """Return a function that writes files by path: JSON of a dict, bytes, or an image for None."""

    def write(files: dict[str, Any]) -> Path:
        root = tmp_path / "data"
        for k, (name, content) in enumerate(files.items()):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                content = make_picture("JPEG", (WIDTH, HEIGHT), k)
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            path.write_bytes(data)
        return root

    return write
