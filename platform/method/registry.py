"""Registry of the methods by name: installed methods, and methods of a folder or a script."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TypeVar

from ..errors import InputError
from . import source_code
from .base import Method

M = TypeVar("M", bound=type[Method])
GROUP = "wsss.methods"
"""Group of the entry points of methods."""
PROJECT = Path("pyproject.toml")
"""File of the current folder that may declare methods of this folder."""
_registered: dict[str, type[Method]] = {}
"""The methods that this process registered, by name."""
_loaded: dict[str, type[Method]] = {}
"""The methods of installed packages that were imported, by name."""
_sent: dict[str, str] = {}
"""The digests of methods of editable packages that another process sent, by name."""
_folder_is_read = False
"""Whether the methods that the current folder declares are registered."""


@cache
def _declared() -> dict[str, str]:
    """Return the MODULE:CLASS of each method that the current folder declares, by name.

    Raises:
        InputError: `pyproject.toml` is not valid TOML.
    """
    try:
        text = PROJECT.read_text()
    except (OSError, UnicodeDecodeError):
        return {}
    if GROUP not in text:
        return {}
    try:
        groups = tomllib.loads(text).get("project", {}).get("entry-points", {})
        points = {name: str(value) for name, value in groups.get(GROUP, {}).items()}
    except (tomllib.TOMLDecodeError, AttributeError) as error:
        raise InputError(
            f"{PROJECT.absolute()} declares no methods: {error}; correct it"
        ) from error
    return {name: value for name, value in points.items() if not value.startswith("wsss.")}


@cache
def _entry_points() -> dict[str, EntryPoint]:
    """Return the entry points of the methods of installed packages by name.

    A method that the current folder declares is left out, because its package is being edited."""
    declared = _declared()
    points = entry_points(group=GROUP)
    return {point.name: point for point in points if declared.get(point.name) != point.value}


@cache
def _installed(name: str) -> type[Method]:
    """Return a method of an installed package.

    The source code of a package that was installed with `pip install --editable` counts as that of
    a registered method does.

    Raises:
        InputError: the method cannot be imported, is no method, or has source code with a value
            that cannot be compared.
    """
    point = _entry_points()[name]
    package = f"the package {point.dist.name}" if point.dist else "an installed package"
    declares = f"{package} declares the method {name!r} as {point.value!r}, which"
    if point.value.startswith("wsss."):
        own: type[Method] = point.load()
        return own
    try:
        method: type[Method] = point.load()
    except Exception as error:  # whatever the code of the package raises, such as SyntaxError
        raise InputError(
            f"{declares} cannot be imported: {error}; mend the package, or uninstall it"
        ) from error
    if not _is_method(method):
        raise InputError(f"{declares} is no class derived from Method; mend the package")
    _check_complete(method)
    code = "" if _is_copy(point, method) else source_code.digest_of(method)
    _check_sent(name, code)
    if code:
        method.code = code
    _loaded[name] = method
    return method


def _check_sent(name: str, code: str) -> None:
    """Raise InputError where a method differs from that of the process that sent its digest."""
    if _sent.get(name, code) != code:
        raise InputError(
            f"the method {name!r} has another source code here than where the sweep began; install "
            "one version on all machines, and start the sweep again"
        )


def _is_copy(point: EntryPoint, method: type[Method]) -> bool:
    """Return whether pip copied the module of a method, so that nobody edits it."""
    module = method.__module__
    if module.partition(".")[0] == "wsss":
        return True
    if not point.dist or not point.dist.read_text("RECORD"):
        return not source_code.is_edited(module)
    file = Path(getattr(sys.modules[module], "__file__", None) or "").resolve()
    copied = (Path(str(point.dist.locate_file(f))) for f in point.dist.files or ())
    listed = any(path.resolve() == file for path in copied if path.name == file.name)
    return listed or not source_code.is_edited(module)


def _is_method(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Method)


def _register_folder() -> None:
    """Register the methods that the current folder declares, once a process.

    A method whose module is being imported is left for later: a worker that unpickles a method
    imports its module first, and the module may look for another method.

    Raises:
        InputError: a method cannot be imported, or is no method.
    """
    global _folder_is_read
    if _folder_is_read:
        return
    _folder_is_read = True  # a method of the folder may look for another method
    later = [name for name, value in _declared().items() if _is_importing(value)]
    try:
        for name, value in _declared().items():
            if name not in later:
                register(_imported(name, value))
    except InputError:
        _folder_is_read = False
        raise
    _folder_is_read = not later


def _is_importing(value: str) -> bool:
    """Return whether the module of MODULE:CLASS is being imported at this moment."""
    module = sys.modules.get(value.partition(":")[0].strip())
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


def _imported(name: str, value: str) -> type[Method]:
    """Return a method that the current folder declares.

    Raises:
        InputError: the method cannot be imported.
    """
    if (folder := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, folder)
    try:
        method: type[Method] = EntryPoint(name, value, GROUP).load()
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"{PROJECT.absolute()} declares the method {name!r} as {value!r}, which cannot be "
            f"imported from this folder: {error}"
        ) from error
    return method


def method_names() -> list[str]:
    """Return the names of all methods in order; methods of installed packages are not imported.

    Raises:
        InputError: a method that `pyproject.toml` of the current folder declares is no method.
    """
    _register_folder()
    return sorted({*_entry_points(), *_registered})


def methods() -> dict[str, type[Method]]:
    """Return all methods by name, in the order of their names.

    Raises:
        InputError: what `pyproject.toml` of the current folder or an installed package declares is
            no method, or cannot be imported.
    """
    points = _entry_points()
    names = [n for n in method_names() if n in _registered or not _is_importing(points[n].value)]
    return {name: _registered.get(name) or _installed(name) for name in names}


def find_method(name: str) -> type[Method]:
    """Return the method called `name`.

    Raises:
        InputError: there is no such method; the message lists all methods.
    """
    _register_folder()
    if name in _registered:
        return _registered[name]
    if name not in _entry_points():
        raise InputError(f"unknown method {name!r}; there are {', '.join(method_names())}")
    return _installed(name)


def weights_field(method: str) -> str:
    """Return the field that `--weights` sets, for a method or several joined by +.

    An unknown method is refused later, with its place in an experiment file.
    """
    first = method.split("+")[0]
    return (find_method(first) if first in method_names() else Method).weights_field


def register(method: M) -> M:
    """Add a method of a script, notebook or folder to the methods of this process; return it.

    All functions and commands of this process then know the method by its `name`. The digest of its
    source code enters the keys of its stages, so that a changed method is computed again; what the
    source code uses of its module and of other modules of its folder counts, too. A method
    registered before under the same name is replaced. Ray's workers get the class of a script or
    cell; the class of a module is imported there, so its module must be installed.

    Example:
        >>> @register
        ... class Squared(find_method("cam")):
        ...     name = "squared"
        ...     trains_as = "cam"
        ...
        ...     def localize(self, network, images, labels):
        ...         return super().localize(network, images, labels) ** 2

    Args:
        method: a class derived from `Method` or from an installed method, with a `name` of its own.

    Raises:
        InputError: the class is no method, its name belongs to an installed method, something that
            a method needs is missing, or its source code, or a value that it uses, cannot be
            compared with an earlier one.
    """
    title, name = getattr(method, "__qualname__", repr(method)), getattr(method, "name", "")
    if name in _entry_points():
        raise InputError(
            f"the name {name!r} of {title} belongs to an installed method; set another `name` in "
            "the class"
        )
    if not _is_method(method):
        raise InputError(f"{method!r} is no method; derive a class from Method")
    if not isinstance(name, str) or not name.isidentifier():
        raise InputError(
            f"the name {name!r} of {title} is no identifier; set another `name` in the class"
        )
    _check_complete(method)
    method.code = source_code.digest_of(method)
    _registered[name] = method
    return method


def _check_complete(method: type[Method]) -> None:
    """Raise InputError where a class lacks something that a method needs."""
    lacking = [word for word in ("source", "presets") if not hasattr(method, word)]
    lacking += sorted(method.__abstractmethods__)
    if lacking:
        raise InputError(f"{method.__qualname__} lacks {lacking[0]!r}; define it in the class")


def registered() -> dict[str, tuple[type[Method] | None, str]]:
    """Return the class and the digest of each method that this process registered, by name.

    Of a method of an editable package that was loaded there is the digest alone, because each
    process imports the class.
    """
    sent: dict[str, tuple[type[Method] | None, str]] = {
        name: (method, method.code) for name, method in _registered.items()
    }
    return sent | {name: (None, method.code) for name, method in _loaded.items() if method.code}


def restore(methods: Mapping[str, tuple[type[Method] | None, str]]) -> None:
    """Register methods that another process returned from `registered`.

    Raises:
        InputError: a method of an editable package has another source code here.
    """
    for name, (method, code) in methods.items():
        if method is None:
            _sent[name] = code
            if name in _loaded:
                _check_sent(name, _loaded[name].code)
        else:
            method.code = code
            _registered[name] = method
