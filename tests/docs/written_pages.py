"""The README and the pages of the documentation, their commands and their words."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
README = ROOT / "README.md"
PAGES = [README, *DOCS]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.DOTALL | re.MULTILINE)


def name_of(page: Path) -> str:
    """Return the path of a page below the repository's root."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    """Return the contents of a page's code blocks in a language."""
    return [text for _, word, text in FENCE.findall(page.read_text()) if word == language]


def prose(page: Path) -> str:
    """Return the text of a page without its code blocks."""
    return FENCE.sub("", page.read_text())


def words(text: str) -> list[str]:
    """Return the words of a text, without signs that stand alone."""
    return [word for word in text.split() if re.search(r"\w", word)]


def lines(page: Path) -> list[str]:
    """Return the commands of a page without prompts and comments; a line may go on after `\\`."""
    text = "\n".join(blocks(page, "console"))
    whole = re.sub(r" *\\\n *", " ", text)
    return [
        re.split(r"\s#\s", line)[0].strip()[2:]
        for line in whole.splitlines()
        if line.startswith("$ ")
    ]


def commands(page: Path) -> list[str]:
    """Return the commands `wsss` of a page, also those that a job of Ray or of Slurm runs."""
    last = [line.split(" -- ")[-1] for line in lines(page)]
    last = [re.sub(r"^sbatch .*deploy/slurm\.sbatch ", "wsss ", line) for line in last]
    return [line for line in last if re.match(r"(\.venv/bin/)?wsss ", line)]


def quoted_commands(page: Path) -> list[str]:
    """Return the commands in a page's sentences that carry out experiments."""
    quoted = re.findall(r"`(wsss (?:run|compare|ablate|sweep|figure) [^`]+)`", prose(page))
    return [text for text in quoted if not re.search(r"\b[A-Z]{2,}\b", text)]


def files_of_method_folder() -> dict[str, str]:
    """Return the files of the folder with a method that docs/clusters.md shows, by name."""
    languages = {"pyproject.toml": "toml", "squared.py": "python", "squared.yaml": "yaml"}
    page = ROOT / "docs" / "clusters.md"
    return {name: "".join(blocks(page, language)) for name, language in languages.items()}


def demo_commands() -> list[str]:
    """Return the commands of `make demo`, in order."""
    makefile = (ROOT / "Makefile").read_text()
    recipe = makefile.partition("\ndemo: $(READY)\n")[2].partition("\n\n")[0]
    return [line.strip().removeprefix("$(BIN)/") for line in recipe.splitlines()]
