"""Tests of the source itself: folders, imports, lengths, unsafe calls and what is written down."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


FOLDERS = ("platform", "methods", "tune_spaces", "dashboards")


FILES = sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py"))


LEVELS = (
    ("errors", "metrics", "serialization"),
    ("ops", "storage"),
    ("ray_runtime", "models", "config", "records"),
    ("data",),
    ("method",),
    ("stages", "interop"),
    ("pipeline",),
    ("tuning",),
    ("dashboards",),
    ("cli",),
    ("api",),
)


LEVEL = {name: height for height, names in enumerate(LEVELS) for name in names}


METHOD_MAY_IMPORT = ("method", "config", "errors", "models", "ops", "metrics")


RAY = (
    "platform/ray_runtime/",
    "platform/stages/",
    "platform/tuning/",
    "platform/data/formats/shards.py",
)


MAX_FILE, MAX_FUNCTION = 400, 45


MAX_FILES, MAX_LOOSE = 9, 5


def location_of(name):
    """Return the folders and the file that hold a dotted name, as ("platform", "ops", "maps") for
    wsss.platform.ops.maps.normalize, or () for other packages."""
    location = ()
    words = name.split(".")
    for word in words[1:] if words[0] == "wsss" else []:
        path = ROOT.joinpath(*location, word)
        if path.with_suffix(".py").is_file():
            return (*location, word)
        if not path.is_dir():
            break
        location = (*location, word)
    return location


def arrows():
    """Return, by folder, the imports between the files and folders in it, as (importer, imported).

    The folders of `platform` count as lying beside the other top folders, because the command line
    shows the dashboards. An `__init__.py` is left out, because it only passes names on."""
    out = {}
    for path in FILES:
        source = path.relative_to(ROOT).with_suffix("").parts
        if source[-1] == "__init__":
            continue
        for line, name in imports(path):
            target = location_of(name)
            source, target = (p[1:] if p[:1] == ("platform",) else p for p in (source, target))
            pairs = zip(source, target, strict=False)
            depth = next((k for k, (a, b) in enumerate(pairs) if a != b), None)
            if depth is not None:
                pairs = out.setdefault("/".join(source[:depth]), {})
                pairs.setdefault((source[depth], target[depth]), f"{relative(path)}:{line} {name}")
    return out


def circles(pairs):
    """Return the imports that lie on a circle or lead from one circle to another."""
    pairs = dict(pairs)
    while True:
        importers, imported = {a for a, _ in pairs}, {b for _, b in pairs}
        left = {(a, b): why for (a, b), why in pairs.items() if b in importers and a in imported}
        if len(left) == len(pairs):
            return left
        pairs = left


def relative(path):
    return path.relative_to(ROOT).as_posix()


def module_of(path):
    """Return ("wsss", "platform", "ops", "maps") for platform/ops/maps.py."""
    parts = ("wsss", *path.relative_to(ROOT).with_suffix("").parts)
    return parts[:-1] if parts[-1] == "__init__" else parts


def imports(path):
    """Yield (line, absolute dotted name) of each import of a file, also inside functions."""
    package = ("wsss", *path.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{stem}.{alias.name}") for alias in node.names)


def layer_of(name):
    """Return the folder or module in `LEVELS` that a dotted name belongs to, or None."""
    parts = name.split(".")
    if parts[0] != "wsss" or len(parts) < 2:
        return None
    return parts[2] if parts[1] == "platform" and len(parts) > 2 else parts[1]


def offenders(check):
    """Return "file:line name" of each import for which `check(path, name)` is true."""
    return [
        f"{relative(path)}:{line} {name}"
        for path in FILES
        for line, name in imports(path)
        if check(path, name)
    ]


def test_imports_of_files_and_functions_are_read():
    names = {name for _, name in imports(ROOT / "methods/lpcam.py")}
    assert {"wsss.platform.config.fields.Options", "torch"} <= names
    inside = {name for _, name in imports(ROOT / "platform/ray_runtime/cluster.py")}
    assert "ray" in inside
    assert layer_of("wsss.platform.ops.maps.normalize") == "ops"
    assert layer_of("wsss.dashboards.report") == "dashboards"
    assert layer_of("torch.nn") is None
    assert location_of("wsss.platform.ops.maps.normalize") == ("platform", "ops", "maps")
    assert location_of("wsss.platform.method.Method") == ("platform", "method")
    assert ("storage", "errors") in arrows()[""]
    assert len(FILES) > 20


def test_circles_of_imports_are_found():
    pairs = {("a", "b"): "", ("b", "c"): "", ("c", "b"): "", ("c", "d"): ""}
    assert set(circles(pairs)) == {("b", "c"), ("c", "b")}
    assert circles({("a", "b"): "", ("b", "c"): "", ("a", "c"): ""}) == {}


def test_no_files_or_folders_import_each_other():
    """No two files or folders that lie side by side import each other, directly or by way of
    others."""
    assert {
        folder: circle for folder, pairs in arrows().items() if (circle := circles(pairs))
    } == {}


def test_ray_is_imported_only_where_ray_work_is_done():
    def ray(path, name):
        return name.split(".")[0] == "ray" and not relative(path).startswith(RAY)

    assert offenders(ray) == []


def test_folders_are_small():
    files = {}
    for path in FILES:
        if path.name != "__init__.py":
            files.setdefault(relative(path.parent), []).append(path.name)
    assert len(files["platform"]) <= MAX_LOOSE
    assert {name: names for name, names in files.items() if len(names) > MAX_FILES} == {}


def test_every_folder_of_the_platform_has_a_level():
    folders = {
        layer_of(".".join(module_of(p))) for p in FILES if p.is_relative_to(ROOT / "platform")
    }
    assert folders <= set(LEVEL)


def test_imports_point_down():
    def up(path, name):
        importer, imported = layer_of(".".join(module_of(path))), layer_of(name)
        return importer in LEVEL and imported in LEVEL and LEVEL[imported] > LEVEL[importer]

    assert offenders(up) == []


def test_methods_import_only_what_a_method_may():
    def forbidden(path, name):
        if not relative(path).startswith("methods/"):
            return False
        return name.startswith("wsss.platform") and layer_of(name) not in METHOD_MAY_IMPORT

    assert offenders(forbidden) == []


def test_no_method_imports_another():
    def other(path, name):
        parts = path.relative_to(ROOT).parts
        if parts[0] != "methods" or not name.startswith("wsss.methods"):
            return False
        method = Path(parts[1]).stem
        return name.split(".")[2:3] != [method]

    assert offenders(other) == []


def test_the_platform_imports_no_method_and_no_search_space():
    def imported(path, name):
        outside = name.startswith(("wsss.methods", "wsss.tune_spaces"))
        return outside and not relative(path).startswith(("methods/", "tune_spaces/"))

    assert offenders(imported) == []


def test_search_spaces_import_nothing_of_the_package():
    def internal(path, name):
        return relative(path).startswith("tune_spaces/") and name.startswith("wsss")

    assert offenders(internal) == []


def test_dashboards_do_not_import_the_stages():
    def stage(path, name):
        return relative(path).startswith("dashboards/") and layer_of(name) in ("stages", "pipeline")

    assert offenders(stage) == []


def asks_where_files_lie(code):
    """Return the parts of a file's code that look at an address or at one kind of storage."""
    kinds = ("LocalStorage", "ObjectStorage", "LocalFolder", "ObjectFolder", "is_address")
    return [
        ast.unparse(node)
        for node in ast.walk(ast.parse(code))
        if (isinstance(node, ast.Constant) and node.value in ("s3://", "s3", "s3:"))
        or (
            isinstance(node, ast.Name | ast.alias)
            and (node.id if isinstance(node, ast.Name) else node.name) in kinds
        )
        or (isinstance(node, ast.Attribute) and node.attr in kinds)
        or (isinstance(node, ast.ImportFrom) and "object_store" in (node.module or ""))
    ]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ('path.startswith("s3://")', 1),
        ("isinstance(storage, ObjectStorage)", 1),
        ("from ..storage.local_storage import LocalStorage", 1),
        ("from ..storage.object_store import bucket", 1),
        ("filesystem.is_address(text)", 1),
        ("store.storage.pace", 0),
    ],
)
def test_questions_where_files_lie_are_recognised(code, expected):
    assert len(asks_where_files_lie(code)) == expected


def test_only_the_storage_asks_where_files_lie():
    asked = [
        f"{relative(path)}: {text}"
        for path in FILES
        if not relative(path).startswith("platform/storage/")
        for text in asks_where_files_lie(path.read_text())
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
    long = {relative(p): n for p in FILES if (n := len(p.read_text().splitlines())) > MAX_FILE}
    assert long == {}


def test_functions_are_short():
    long = [
        f"{relative(path)}:{node.lineno} {node.name}: {node.end_lineno - node.lineno + 1}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
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
        for node in ast.walk(ast.parse(path.read_text()))
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
    assert set(points) == {p.stem for p in (ROOT / "methods").glob("*.py")}
    assert all(value.startswith(f"wsss.methods.{name}:") for name, value in points.items())
