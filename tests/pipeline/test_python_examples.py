"""Test of the Python examples in the README and the documentation, on fewer images."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = {
    re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)[0]: page
    for page in ("README.md", "docs/quick-start.md")
}
"""The page of each example; pages with the same example count once."""


@pytest.mark.cluster
@pytest.mark.parametrize("example", EXAMPLES, ids=EXAMPLES.get)
def test_the_python_example_runs(
    example: str,
    ray_started: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    smaller = example.replace("Scenes()", "Scenes(train=32, val=16)").replace(
        'preset="scenes"', 'preset="scenes", changes={"training.epochs": 1}'
    )
    assert smaller != example
    monkeypatch.chdir(tmp_path)
    exec(compile(smaller, EXAMPLES[example], "exec"), {})
    out = capsys.readouterr().out
    assert re.search(r"cam \{'train': [\d.]+, 'val': [\d.]+\}", out)
    assert re.search(r"lpcam \{'train': [\d.]+, 'val': [\d.]+\}", out)
