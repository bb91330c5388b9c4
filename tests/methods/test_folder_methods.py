"""Tests of methods of other packages: declared by the current folder, or installed."""

from __future__ import annotations

import contextlib
import pickle
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest
from method_folders import method_folder
from wsss.platform.errors import InputError
from wsss.platform.method import Method, build_experiment, find_method, methods, registry

PROJECT = """
[project]
name = "my-methods"

[project.entry-points."wsss.methods"]
squared = "my_squared:Squared"
"""
CODE = """
from wsss.platform.method import find_method

class Squared(find_method("cam")):
    name = "squared"
    trains_as = "cam"

    def localize(self, network, images, labels):
        return super().localize(network, images, labels) ** 2
"""
Enter = Callable[..., None]


@pytest.fixture
def enter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Enter]:
    """Yield a function that writes the files of a folder and enters it, as a new process would."""
    monkeypatch.chdir(tmp_path)
    with contextlib.ExitStack() as folders:

        def enter(project: str = PROJECT, code: str = CODE) -> None:
            Path("pyproject.toml").write_text(project)
            Path("my_squared.py").write_text(code)
            folders.enter_context(method_folder(tmp_path, "my_squared"))

        yield enter


def test_a_folder_declares_a_method(enter: Enter) -> None:
    enter()
    assert "squared" in methods()
    assert find_method("squared").code
    assert build_experiment("squared", preset="scenes").method == "squared"


def test_a_changed_method_has_another_digest(enter: Enter) -> None:
    enter()
    before = find_method("squared").code
    enter()
    assert find_method("squared").code == before
    enter(code=CODE.replace("** 2", "** 3"))
    assert find_method("squared").code not in ("", before)


PARTS = {
    "my_parts/__init__.py": "",
    "my_parts/base.py": """
from wsss.platform.method import find_method
from my_parts import numbers
import my_parts.numbers as more

class Base(find_method("cam")):
    shares = {"a": [1, 2]}

    @staticmethod
    def power():
        return numbers.power() + more.EXTRA
""",
    "my_parts/numbers.py": """
import functools, re, torch, numpy as np
EXTRA = 0
UNUSED = 0
TABLE = {"power": [2, {3, "b", "a"}]}
ARRAY = np.arange(3)
TENSOR = torch.ones(2, dtype=torch.bfloat16)
LAYER = torch.nn.Conv2d(1, 1, 1).requires_grad_(False)
torch.nn.init.constant_(LAYER.weight, 0.5), torch.nn.init.zeros_(LAYER.bias)

class Half:
    def __init__(self):
        self.share = 0.5

HALF = Half()
PARTIAL = functools.partial(sorted, reverse=True)

def power():
    if len(ARRAY) + len(TENSOR):
        return TABLE["power"][0], LAYER, HALF, PARTIAL, re.sub
""",
}
DERIVED = """
from my_parts.base import Base

class Squared(Base):
    name = "squared"
    trains_as = "cam"

    def localize(self, network, images, labels):
        return super().localize(network, images, labels) ** self.power()
"""


def digest_with_parts(enter: Enter, file: str = "my_parts/base.py", *change: str) -> str:
    """Return the digest of a method whose parts lie in other files, one of them changed."""
    Path("my_parts").mkdir(exist_ok=True)
    for name, text in PARTS.items():
        Path(name).write_text(text.replace(*change) if change and name == file else text)
    for name in [name for name in sys.modules if name.startswith("my_parts")]:
        del sys.modules[name]
    enter(code=DERIVED)
    return find_method("squared").code


@pytest.fixture(scope="module", autouse=True)
def _forget_parts() -> Iterator[None]:
    yield
    for name in [name for name in sys.modules if name.startswith("my_parts")]:
        del sys.modules[name]


def test_what_a_method_uses_of_other_files_of_its_folder_enters_its_digest(enter: Enter) -> None:
    before = digest_with_parts(enter)
    assert digest_with_parts(enter) == before
    numbers = "my_parts/numbers.py"
    assert digest_with_parts(enter, numbers, "UNUSED = 0", "UNUSED = 1") == before
    changes = [
        ("my_parts/base.py", "power() + more", "power() - more"),
        ("my_parts/base.py", '"a": [1, 2]', '"a": [1, 3]'),
        (numbers, "EXTRA = 0", "EXTRA = 1"),
        (numbers, "[2, {3", "[4, {3"),
        (numbers, '{3, "b"', '{3, "c"'),
        (numbers, "arange(3)", "arange(4)"),
        (numbers, "ones(2", "zeros(2"),
        (numbers, "weight, 0.5", "weight, 0.25"),
        (numbers, "share = 0.5", "share = 0.25"),
        (numbers, "reverse=True", "reverse=False"),
    ]
    digests = {digest_with_parts(enter, *change) for change in changes}
    assert len(digests - {before}) == len(changes)


def test_a_value_without_content_is_refused(enter: Enter) -> None:
    change = ("my_parts/numbers.py", "np.arange(3)", "[np.random.default_rng(0)]")
    digest_with_parts(enter)
    with pytest.raises(InputError, match=r"Squared uses ARRAY item, a value of numpy\.random\."):
        digest_with_parts(enter, *change)


def test_a_worker_imports_the_module_before_it_knows_the_method(enter: Enter) -> None:
    """A worker unpickles a method by the name of its module, which then looks for its base."""
    enter()
    pickled = pickle.dumps(find_method("squared"))
    enter()
    sys.path.insert(0, str(Path.cwd()))
    assert pickle.loads(pickled).name == "squared"
    assert find_method("squared").code


def test_a_method_that_is_edited_counts_once(enter: Enter, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder whose package is installed, perhaps in an older version, gives the method."""
    enter()
    points = [
        *entry_points(group=registry.GROUP),
        EntryPoint("squared", "my_squared:Squared", registry.GROUP),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    assert find_method("squared").code


@contextlib.contextmanager
def installed(folder: Path, code: str = CODE, record: str = "") -> Iterator[None]:
    """Install a package with the module `my_squared` in a folder, as a new process would see it."""
    info = folder / "my_methods-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-methods\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[wsss.methods]\nsquared = my_squared:Squared\n")
    if record:
        (info / "RECORD").write_text(f"{record},,\n")
    (folder / "my_squared.py").write_text(code)
    with method_folder(folder.parent, "my_squared"):
        sys.path.insert(0, str(folder))
        yield


def test_an_installed_method_may_look_for_its_base(tmp_path: Path) -> None:
    """Its module is imported while the methods are gathered."""
    with installed(tmp_path / "site-packages"):
        assert issubclass(methods()["squared"], find_method("cam"))
        assert find_method("squared").code == ""
        assert "squared" not in registry.registered()


@pytest.mark.parametrize(("record", "edited"), [("my_squared.py", False), ("my.pth", True)])
def test_a_copy_outside_of_site_packages_is_not_edited(
    tmp_path: Path, record: str, edited: bool
) -> None:
    """As `pip install --target` makes it; an editable package records a file of paths."""
    with installed(tmp_path / "target", record=record):
        assert bool(find_method("squared").code) == edited


def test_commands_of_other_methods_import_no_package(tmp_path: Path) -> None:
    with installed(tmp_path / "src", "this is no Python"):
        assert "squared" in registry.method_names()
        assert build_experiment("cam", preset="scenes").method == "cam"
        assert registry.weights_field("cam") == "network.weights"
        with pytest.raises(
            InputError, match=r"unknown method 'nothing'; there are cam, .* squared"
        ):
            find_method("nothing")


def test_a_changed_method_of_an_editable_package_has_another_digest(tmp_path: Path) -> None:
    digests = []
    for code in (CODE, CODE, CODE.replace("** 2", "** 3")):
        with installed(tmp_path / "src", code):
            digests.append(find_method("squared").code)
            assert registry.registered()["squared"][1] == methods()["squared"].code == digests[-1]
    assert digests[0] == digests[1] != digests[2]
    assert digests[0]


def test_a_worker_has_the_source_code_with_which_a_sweep_began(tmp_path: Path) -> None:
    with installed(tmp_path / "src"):
        code = find_method("squared").code
        sent = registry.registered()
        assert sent["squared"] == (None, code)  # each process imports the class
    with installed(tmp_path / "src"):
        registry.restore(sent)
        assert methods()["squared"].code == find_method("squared").code == code
    changed, sentence = CODE.replace("** 2", "** 3"), "'squared' has another source code here than"
    with installed(tmp_path / "src", changed):
        registry.restore(sent)
        with pytest.raises(InputError, match=sentence):
            find_method("squared")
    with installed(tmp_path / "src", changed):
        assert find_method("squared").code != code
        with pytest.raises(InputError, match=sentence):
            registry.restore(sent)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import missing_module", "cannot be imported: No module named 'missing_module'; mend"),
        ("this is no Python", "cannot be imported: .*; mend the package, or uninstall it"),
        ("Other = 1", "my_squared.* has no attribute 'Squared'; mend the package, or uninstall it"),
        ("Squared = 1", "is no class derived from Method; mend the package"),
    ],
)
def test_a_broken_package_is_named(tmp_path: Path, code: str, message: str) -> None:
    sentence = "the package my-methods declares the method 'squared' as 'my_squared:Squared', which"
    with installed(tmp_path / "site-packages", code):
        with pytest.raises(InputError, match=f"^{sentence} .*{message}"):
            methods()
        assert find_method("cam").name == "cam"


@pytest.mark.parametrize(
    ("project", "code", "message"),
    [
        (PROJECT + "=", CODE, r"pyproject\.toml declares no methods: .*; correct it"),
        (
            PROJECT,
            "import missing_module",
            r"declares the method 'squared' as 'my_squared:Squared'",
        ),
        (PROJECT, "import missing_module", r"cannot be imported from this folder: No module named"),
        (PROJECT, "Other = 1", r"my_squared.* has no attribute 'Squared'"),
        (PROJECT, "Squared = 1", "1 is no method; derive a class from Method"),
        (PROJECT, CODE.replace('"squared"', '"cam"'), "'cam' of Squared belongs to an installed"),
    ],
)
def test_a_bad_declaration_is_refused(enter: Enter, project: str, code: str, message: str) -> None:
    enter(project, code)
    for _ in range(2):
        with pytest.raises(InputError, match=message):
            methods()


@pytest.mark.parametrize(
    "project",
    ["", "[project", '[project.entry-points."wsss.methods"]\ncam = "wsss.methods.cam:CAM"'],
)
def test_the_project_of_somebody_else_declares_nothing(enter: Enter, project: str) -> None:
    enter(project)
    assert "squared" not in methods()
    assert all(issubclass(method, Method) and not method.code for method in methods().values())
