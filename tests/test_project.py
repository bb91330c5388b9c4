"""Tests of the project files: licence, citation, changelog, hooks, and one build of faiss."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import metadata, packages_distributions
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.lock").read_text()


def test_the_licence_is_the_one_that_the_metadata_name() -> None:
    assert PROJECT["license"] == metadata("wsss")["License-Expression"] == "Apache-2.0"
    text = (ROOT / "LICENSE").read_text()
    assert text.split()[:4] == ["Apache", "License", "Version", "2.0,"]
    assert PROJECT["license-files"] == ["LICENSE"]


def test_citation_and_changelog_name_the_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    versions = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert PROJECT["version"] in versions


def test_the_hooks_run_what_make_check_runs() -> None:
    """Each line of `make check` is a hook; a check that is added to one must join the other."""
    recipe = (ROOT / "Makefile").read_text().partition("\ncheck:")[2].partition("\n\n")[0]
    checks = re.findall(r"^\t(.+)$", recipe, flags=re.MULTILINE)
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    commands = [re.sub(r"\$\((BIN)\)", ".venv/bin", line) for line in checks]
    commands = [re.sub(r"\$\(MAKE\)", "make", line).removesuffix(" .") for line in commands]
    assert sorted(hook["entry"] for hook in hooks) == sorted(commands)


def test_every_package_is_distributed() -> None:
    """A folder that the list of packages lacks would be missing from a wheel."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    tops = {"wsss." + path for path in ("platform", "methods", "tune_spaces", "dashboards")}
    folders = {
        "wsss." + ".".join(path.relative_to(ROOT).parent.parts)
        for top in tops
        for path in (ROOT / top.removeprefix("wsss.")).rglob("__init__.py")
    }
    assert set(tools["package-dir"]) == tops
    assert sorted(tools["packages"]) == sorted(tops | folders)


def test_one_distribution_alone_brings_faiss() -> None:
    """Two builds of faiss would overwrite each other's folder `faiss/`."""
    assert packages_distributions()["faiss"] == ["faiss-cpu"]
    assert re.findall(r"^(faiss[\w-]*)==", LOCK, flags=re.MULTILINE) == ["faiss-cpu"]
    requirements = metadata("wsss").get_all("Requires-Dist")
    assert [r for r in requirements if r.startswith("faiss")] == [
        next(d for d in PROJECT["dependencies"] if d.startswith("faiss"))
    ]


def test_doctor_looks_for_every_dependency() -> None:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name
    from wsss.platform.cli.ending import NEEDED

    distributions = packages_distributions()
    named = {canonicalize_name(name) for module in NEEDED for name in distributions[module]}
    assert named == {canonicalize_name(Requirement(d).name) for d in PROJECT["dependencies"]}


def test_the_locked_ray_lies_in_the_range_of_the_project() -> None:
    from packaging.requirements import Requirement

    ray = next(Requirement(d) for d in PROJECT["dependencies"] if d.startswith("ray["))
    locked = re.search(r"^ray==(\S+)", LOCK, flags=re.MULTILINE)
    assert locked
    assert ray.specifier.contains(locked[1])
    assert not ray.specifier.contains("3.0")
