"""Tests of the source itself: lengths, unsafe calls and what is written down."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from source_files import FILES, FILES_AND_TESTS, FOLDERS, ROOT, nodes, offenders, relative

MAX_FILE, MAX_FUNCTION = 400, 45
"""Most lines of a file and of a function."""
MAX_BYTES = 500_000
"""Most bytes of a file in the repository."""
MAX_FILES, MAX_LOOSE = 9, 5
"""Most Python files of a folder, and of `platform` beside its folders; a folder of tests has at
most as many tests and as many helpers."""


def test_folders_are_small():
    files = {}
    for path in FILES:
        if path.name != "__init__.py":
            files.setdefault(relative(path.parent), []).append(path.name)
    assert len(files["platform"]) <= MAX_LOOSE
    assert {name: names for name, names in files.items() if len(names) > MAX_FILES} == {}


def test_folders_of_tests_are_small():
    """Tests and helpers are counted apart, `conftest.py` not at all."""
    files = {}
    for path in (ROOT / "tests").rglob("*.py"):
        if path.name != "conftest.py":
            kind = "tests" if path.name.startswith("test_") else "helpers"
            files.setdefault(f"{kind} of {relative(path.parent)}", []).append(path.name)
    assert {name: names for name, names in files.items() if len(names) > MAX_FILES} == {}


def asks_where_files_lie(parts):
    """Return those parts of a syntax tree, as code, that look at an address or at one kind of
    storage."""
    kinds = ("LocalStorage", "ObjectStorage", "LocalFolder", "ObjectFolder", "is_address")
    return [
        ast.unparse(node)
        for node in parts
        if (isinstance(node, ast.Constant) and node.value in ("s3://", "s3", "s3:"))
        or (
            isinstance(node, ast.Name | ast.alias)
            and (node.id if isinstance(node, ast.Name) else node.name) in kinds
        )
        or (isinstance(node, ast.Attribute) and node.attr in kinds)
        or (isinstance(node, ast.ImportFrom) and "object_store" in (node.module or ""))
        or (isinstance(node, ast.Compare) and "local_folder" in ast.unparse(node))
        or (
            isinstance(node, ast.Constant)
            and re.fullmatch(r"(data|imports|runs|sweeps)/\*.*", str(node.value))
        )
    ]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ('path.startswith("s3://")', 1),
        ("isinstance(storage, ObjectStorage)", 1),
        ("from ..storage.local_storage import LocalStorage", 1),
        ("from ..storage.object_store import bucket", 1),
        ("filesystem.is_address(text)", 1),
        ("str(store) == str(store.storage.local_folder)", 1),
        ('Path(store).glob("sweeps/*/sweep.json")', 1),
        ("store.storage.pace", 0),
    ],
)
def test_questions_where_files_lie_are_recognised(code, expected):
    assert len(asks_where_files_lie(ast.walk(ast.parse(code)))) == expected


def test_only_the_storage_asks_where_files_lie():
    asked = [
        f"{relative(path)}: {text}"
        for path in FILES
        if not relative(path).startswith("platform/storage/")
        for text in asks_where_files_lie(nodes(path))
    ]
    assert asked == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_top_folders_are_no_packages_of_their_own(folder):
    assert (ROOT / folder).is_dir()
    assert not (ROOT / folder / "__init__.py").exists()


def test_the_standard_librarys_platform_module_is_not_shadowed():
    code = "import platform; print(platform.__file__, platform.python_version())"
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert not out.startswith(str(ROOT / "platform"))
    assert ".".join(map(str, sys.version_info[:3])) in out


def test_files_are_short():
    long = {
        relative(p): n for p in FILES_AND_TESTS if (n := len(p.read_text().splitlines())) > MAX_FILE
    }
    assert long == {}


def test_functions_are_short():
    long = [
        f"{relative(path)}:{node.lineno} {node.name}: {node.end_lineno - node.lineno + 1}"
        for path in FILES_AND_TESTS
        for node in nodes(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno + 1 > MAX_FUNCTION
    ]
    assert long == []


def unsafe(node):
    """Return whether a call may run code from a file."""
    called = ast.unparse(node.func)
    given = {k.arg: ast.unparse(k.value) for k in node.keywords}
    return (
        (called == "torch.load" and given.get("weights_only") != "True")
        or called in ("pickle.load", "pickle.loads", "pickle.Unpickler", "eval", "exec")
        or given.get("allow_pickle") == "True"
    )


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("torch.load(p)", True),
        ("torch.load(p, weights_only=False)", True),
        ("torch.load(p, weights_only=True)", False),
        ("np.load(p, allow_pickle=True)", True),
        ("np.load(p, allow_pickle=False)", False),
        ("pickle.load(s)", True),
        ("ast.literal_eval(s)", False),
    ],
)
def test_unsafe_calls_are_recognised(code, expected):
    assert unsafe(ast.parse(code).body[0].value) is expected


def test_nothing_runs_code_from_files():
    calls = [
        f"{relative(path)}:{node.lineno} {ast.unparse(node)}"
        for path in FILES
        for node in nodes(path)
        if isinstance(node, ast.Call) and unsafe(node)
    ]
    assert calls == []
    assert offenders(lambda path, name: name in ("pickle.load", "pickle.loads", "torch.load")) == []


HEAVY = {"torch", "ray", "numpy", "faiss", "pyarrow", "botocore", "pydantic", "rich", "yaml"}


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["data", "voc", "--help"]])
def test_help_imports_no_heavy_library(arguments):
    code = (
        "import sys\n"
        "from wsss.platform.cli import main\n"
        "assert main(sys.argv[1:]) == 0\n"
        f"print('heavy', sorted({HEAVY} & set(sys.modules)))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    ).stdout
    assert "usage: wsss" in out
    assert out.endswith("heavy []\n")


def test_timm_is_imported_only_when_one_of_its_networks_is_built():
    at_once = [
        f"{relative(path)}:{node.lineno}"
        for path in FILES
        for node in nodes(path)[0].body
        if (isinstance(node, ast.Import) and node.names[0].name.split(".")[0] == "timm")
        or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "timm")
        if not getattr(node, "level", 0)
    ]
    assert at_once == []


MACHINE = re.compile(r"(?<![\w.])/(?:work|root|home|Users)/\w")
HOSTS = ("pypi.org", "pythonhosted.org", "download.pytorch.org", "anaconda", "registry.npmjs",
         "index-url", "extra-index", "trusted-host", "huggingface.co")  # fmt: skip
REGISTRY = re.compile(r"https?://[^\s\"']*(?:" + "|".join(map(re.escape, HOSTS)) + ")")


def tracked():
    """Return the files that git tracks or, without a repository, all Python files."""
    if shutil.which("git") and (ROOT / ".git").exists():
        out = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        return [ROOT / name for name in out.split("\0") if name and (ROOT / name).is_file()]
    return [*FILES, *(p for p in (ROOT / "tests").rglob("*.py"))]


def test_no_tracked_file_is_large():
    """Weights and results, which a commit may take along, stay out of the repository."""
    large = {relative(p): p.stat().st_size for p in tracked() if p.stat().st_size > MAX_BYTES}
    assert large == {}


def lines_of(path):
    try:
        return path.read_text().splitlines()
    except UnicodeDecodeError:
        return []


def test_no_path_of_this_machine_and_no_registry_is_written_down():
    offending = [
        f"{relative(path)}:{number} {line.strip()[:80]}"
        for path in tracked()
        if path != Path(__file__)
        for number, line in enumerate(lines_of(path), 1)
        if MACHINE.search(line) or REGISTRY.search(line)
    ]
    assert offending == []


def test_the_lock_names_no_server():
    lock = ROOT / "requirements.lock"
    assert lock.is_file()
    offending = [
        line for line in lines_of(lock) if "://" in line or line.lstrip().startswith("--index")
    ]
    assert offending == []


def test_no_test_folder_is_a_package_and_file_names_are_unique():
    files = [p for p in (ROOT / "tests").rglob("*.py") if p.name != "conftest.py"]
    names = [p.name for p in files]
    assert "__init__.py" not in names
    assert sorted(names) == sorted(set(names))


def test_every_method_has_an_entry_point():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    points = project["entry-points"]["wsss.methods"]
    modules = {name: name.replace("-", "_") for name in points}
    assert set(modules.values()) == {
        p.stem for p in (ROOT / "methods").iterdir() if p.name != "__pycache__"
    }
    assert all(v.startswith(f"wsss.methods.{modules[name]}:") for name, v in points.items())


def test_tests_that_start_ray_are_in_the_folders_of_their_process():
    """`make test` looks for them in these folders alone, because looking through all takes long."""
    (line,) = re.findall(r'.*-m "cluster and not faults"', (ROOT / "Makefile").read_text())
    folders = [ROOT / word for word in line.split() if word.startswith("tests/")]
    tests = (ROOT / "tests").rglob("*.py")
    marked = [path for path in tests if re.search(r"mark\.cluster", path.read_text())]
    assert marked
    assert [p for p in marked if not any(p.is_relative_to(folder) for folder in folders)] == []
