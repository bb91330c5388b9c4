"""Tests of imports: they point down the levels, close no circle and respect the walls."""

from __future__ import annotations

from pathlib import Path

from source_files import FILES, ROOT, imports, offenders, relative

LEVELS = (
    ("errors", "labels", "metrics", "serialization"),
    ("ops", "storage"),
    ("ray_runtime", "models", "config", "records"),
    ("data",),
    ("method",),
    ("stages", "interop", "trackers"),
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
    "tune_spaces/",
)


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


def module_of(path):
    """Return ("wsss", "platform", "ops", "maps") for platform/ops/maps.py."""
    parts = ("wsss", *path.relative_to(ROOT).with_suffix("").parts)
    return parts[:-1] if parts[-1] == "__init__" else parts


def layer_of(name):
    """Return the folder or module in `LEVELS` that a dotted name belongs to, or None."""
    parts = name.split(".")
    if parts[0] != "wsss" or len(parts) < 2:
        return None
    return parts[2] if parts[1] == "platform" and len(parts) > 2 else parts[1]


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
