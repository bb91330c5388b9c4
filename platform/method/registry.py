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
        InputError: the method cannot be imported, or is no method.
    """
    point = _entry_points()[name]
    package = f"the package {point.dist.name}" if point.dist else "an installed package"
    declares = f"{package} declares the method {name!r} as {point.value!r}, which"
    try:
        method: type[Method] = point.load()
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"{declares} cannot be imported: {error}; mend the package, or uninstall it"
        ) from error
    if not _is_method(method):
        raise InputError(f"{declares} is no class derived from Method; mend the package")
    if method.__module__.partition(".")[0] != "wsss" and source_code.is_edited(method.__module__):
        _add(name, method)
    return method


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


def methods() -> dict[str, type[Method]]:
    """Return all methods by name, in the order of their names.

    Raises:
        InputError: what `pyproject.toml` of the current folder or an installed package declares is
            no method, or cannot be imported.
    """
    _register_folder()
    points = _entry_points().items()
    names = [name for name, point in points if not _is_importing(point.value)]
    return {n: _registered.get(n) or _installed(n) for n in sorted({*names, *_registered})}


def find_method(name: str) -> type[Method]:
    """Return the method called `name`.

    Raises:
        InputError: there is no such method; the message lists all methods.
    """
    _register_folder()
    if name in _registered:
        return _registered[name]
    if name not in _entry_points():
        raise InputError(f"unknown method {name!r}; there are {', '.join(methods())}")
    return _installed(name)


def weights_field(method: str) -> str:
    """Return the field that `--weights` sets, for a method or several joined by +.

    An unknown method is refused later, with its place in an experiment file.
    """
    return methods().get(method.split("+")[0], Method).weights_field


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
    _add(name, method)
    return method


def _add(name: str, method: type[Method]) -> None:
    """Check a class and register it under a name.

    Raises:
        InputError: see `register`.
    """
    if not _is_method(method):
        raise InputError(f"{method!r} is no method; derive a class from Method")
    title = method.__qualname__
    if not isinstance(name, str) or not name.isidentifier():
        raise InputError(
            f"the name {name!r} of {title} is no identifier; set another `name` in the class"
        )
    lacking = [word for word in ("source", "presets") if not hasattr(method, word)]
    lacking += sorted(method.__abstractmethods__)
    if lacking:
        raise InputError(f"{title} lacks {lacking[0]!r}; define it in the class")
    method.code = source_code.digest_of(method)
    _registered[name] = method


def registered() -> dict[str, tuple[type[Method], str]]:
    """Return the class and the digest of each method that this process registered, by name."""
    return {name: (method, method.code) for name, method in _registered.items()}


def restore(methods: Mapping[str, tuple[type[Method], str]]) -> None:
    """Register methods that another process returned from `registered`."""
    for name, (method, code) in methods.items():
        method.code = code
        _registered[name] = method
