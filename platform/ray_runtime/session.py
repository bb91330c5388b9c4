"""How Ray comes up for a command, on this machine or as a cluster's, and goes away with it."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import resource
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import InputError
from ..storage import locks
from .stderr import Aside, Guard, guarded

PREFIX, LOCK = "wsss-", "lock"
"""Of the folder where Ray keeps its files for one command, and what that command holds there."""
MOST_BYTES = 21
"""Of the path of the folder for temporary files, so that the names of Ray's sockets have room."""
VITAL = ("gcs_server", "raylet")
"""The processes without which there is no Ray on this machine."""
TICK, GRACE = 1.0, 5.0
"""Seconds between two looks at the processes, and that a command has to end by itself after one
was lost."""
PATIENCE, CONNECT, SILENT = 6.0, 3.0, 3.0
"""Seconds for which a cluster's address is tried, that one try takes at most, and after which a
command says that it waits."""
STORE = 2 << 30
"""Bytes of Ray's object store on this machine."""


class Embedded:
    """The Ray that this process starts: its processes, and the folder where they keep files.

    A thread watches the processes. Where one dies that Ray cannot do without, Ray itself would say
    nothing for a minute and then end this process without a word.
    """

    def __init__(self, guard: Guard) -> None:
        import psutil  # comes with Ray, which was imported before

        self.psutil = psutil
        self.own = psutil.Process()
        check_room(self.own.memory_info().vms)
        self.guard = guard
        self.before = set(self.own.children())
        self.names: dict[Any, str] = {}
        self.folder, self.lock = _folder()
        self.up, self.over, self.address = False, threading.Event(), ""
        self.aside: Aside | None = None

    def start(self, cpus: int, aside: Aside) -> None:
        """Starts Ray.

        Raises:
            InputError: it does not come up.
        """
        import ray

        self.aside = aside
        self.guard.tell(f"wsss: {self._unstarted('it ended this command')}")
        atexit.register(self.end)
        threading.Thread(target=self._watch, daemon=True).start()
        try:
            ray.init(
                address="local",  # not another's cluster that happens to run here
                num_cpus=cpus,
                object_store_memory=STORE,
                logging_level="ERROR",
                log_to_driver=False,
                include_dashboard=False,
                _temp_dir=str(self.folder / "ray"),  # which Ray opens to all users
            )
        except Exception as error:
            self.end(keep=True)
            raise InputError(self._unstarted(last_line(error))) from error
        self.look()
        self.address = _joined()
        self.up, self.aside = True, None

    def _unstarted(self, reason: str) -> str:
        return (
            f"Ray did not start on this machine: {reason}; look at the limits of memory and of "
            f"processes (ulimit -a) and at what Ray says in {self.folder}"
        )

    def look(self) -> None:
        """Notes the processes that are there. They have no name in common, and those of a Ray that
        was lost have no parent left to find them by."""
        pids = {process.pid for process in list(self.names)}
        for process in self.own.children(recursive=True):  # parents first
            with contextlib.suppress(self.psutil.Error):
                starts = not self.up and process not in self.before
                if starts or process in self.names or process.ppid() in pids:
                    self.names[process] = process.name()
                    pids.add(process.pid)

    def left(self) -> list[Any]:
        """The processes that still run."""
        return [process for process in list(self.names) if self._runs(process)]

    def _runs(self, process: Any) -> bool:
        try:
            return bool(process.is_running() and process.status() != self.psutil.STATUS_ZOMBIE)
        except self.psutil.Error:
            return False

    def lost(self) -> str:
        """The process that died of those that Ray cannot do without; nothing where all live."""
        if self.over.is_set() or (self.up and _joined() != self.address):  # it was ended
            return ""
        gone = (p for p, name in list(self.names.items()) if name in VITAL and not self._runs(p))
        return next((self.names[p] for p in gone), "")

    def _watch(self) -> None:
        while not self.over.wait(TICK):
            self.look()
            if (name := self.lost()) and not self.over.wait(GRACE) and self.lost():
                self.give_up(name)

    def give_up(self, name: str) -> None:
        """Ends this process with one sentence: without Ray, what it still waits for may never
        come, and Ray's own end would wait as well."""
        self.over.set()
        self.guard.dismiss()
        if self.aside:
            text = f"{self.aside.words()}\nwsss: {self._unstarted(f'its {name} ended')}"
            self.aside.say(text.strip())
        else:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
            sys.stderr.write(
                f"wsss: Ray's {name} on this machine ended, and Ray with it; what was finished "
                "and each training's last epoch are kept, so run the same command again (its "
                f"words are in {self.folder})\n"
            )
            sys.stderr.flush()
        self._kill()
        self._leave(keep=True)
        os._exit(2)

    def end(self, keep: bool = False) -> None:
        """Ends Ray and waits for its processes; its files go, unless they tell why it failed."""
        import ray

        if self.over.is_set():
            return
        self.look()
        self.over.set()
        ray.shutdown()
        self._kill()
        self.guard.dismiss()
        self._leave(keep)

    def _kill(self) -> None:
        self.psutil.wait_procs(self.left(), timeout=TICK)
        for process in (left := self.left()):
            with contextlib.suppress(self.psutil.Error):
                process.kill()
        self.psutil.wait_procs(left, timeout=GRACE)

    def _leave(self, keep: bool) -> None:
        if keep:
            (self.folder / LOCK).unlink(missing_ok=True)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self.lock)


_embedded: Embedded | None = None


def start(cpus: int, aside: Aside) -> None:
    """Starts Ray on this machine, for this process alone.

    Raises:
        InputError: it does not come up.
    """
    global _embedded
    if _embedded:
        _embedded.end()
    with guarded(aside) as guard:
        _embedded = Embedded(guard)
        _embedded.start(cpus, aside)


def lost() -> bool:
    """Whether the Ray of this process died under it."""
    return bool(_embedded and _embedded.lost())


@contextlib.contextmanager
def ended() -> Iterator[None]:
    """Ends the Ray that was started inside. After a crash its files stay, to find out why."""
    before = _embedded
    try:
        yield
    except BaseException as error:
        if _embedded and _embedded is not before:
            expected = isinstance(error, InputError | OSError | KeyboardInterrupt | SystemExit)
            limit = time.monotonic() + (0 if expected else TICK)
            while not (name := _embedded.lost()) and time.monotonic() < limit:
                time.sleep(TICK / 10)  # this process may learn of it before it is over
            if name and isinstance(error, Exception):
                _embedded.give_up(name)
            _embedded.end(keep=not expected)
            if not expected:
                sys.stderr.write(f"wsss: what Ray said is kept in {_embedded.folder}\n")
        raise
    if _embedded and _embedded is not before:
        _embedded.end()


def check_room(taken: int) -> None:
    """Looks whether Ray's object store fits into the address space beside the bytes `taken`, where
    that has a limit; Ray would end this process.

    Raises:
        InputError: it does not.
    """
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit - taken < 2 * STORE:
        raise InputError(
            f"this process may map {limit / 1e9:.1f} GB of memory (ulimit -v), and Ray needs "
            f"{2 * STORE / 1e9:.1f} GB beside the {taken / 1e9:.1f} GB of the command; raise the "
            "limit: ulimit -v unlimited"
        )


def last_line(error: BaseException) -> str:
    """An error's last line, or its kind where it has no words."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__


def _joined() -> str:
    """The address of the Ray that this process belongs to at present."""
    import ray

    with contextlib.suppress(ray.exceptions.RayError, AttributeError):
        return str(ray.get_runtime_context().gcs_address)
    return ""


def _folder() -> tuple[Path, int]:
    """A folder for Ray's files and the lock that this process holds there while it lives. Those
    of processes that were killed are removed."""
    places = (os.environ.get("RAY_TMPDIR"), tempfile.gettempdir(), "/tmp")
    known = [os.path.abspath(place) for place in places if place]
    base = next(Path(path) for path in known if len(os.fsencode(path)) <= MOST_BYTES)
    base.mkdir(parents=True, exist_ok=True)
    for folder in base.glob(f"{PREFIX}*"):
        if _abandoned(folder):
            shutil.rmtree(folder, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
    lock = os.open(folder / "new", os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    (folder / "new").rename(folder / LOCK)  # so that nobody ever sees it free
    return folder, lock


def _abandoned(folder: Path) -> bool:
    """Whether a folder is one of ours whose process has gone."""
    try:
        of = folder.lstat()
        mine = of.st_uid == os.getuid() and not folder.is_symlink() and folder.is_dir()
        lock = folder / LOCK
        return mine and lock.is_file() and not locks.is_held(lock)
    except OSError:
        return False


def join(address: str, aside: Aside) -> None:
    """Joins the cluster of `RAY_ADDRESS`.

    Raises:
        InputError: nobody answers there, or not to this command.
    """
    import ray

    timer = threading.Timer(SILENT, aside.say, (f"wsss: waiting for Ray at {address}",))
    timer.daemon = True
    timer.start()
    try:
        reach(address)
        with guarded(aside) as guard:
            guard.tell(f"wsss: {_unjoined(address, 'it ended this command')}")
            ray.init(logging_level="ERROR", log_to_driver=False)
    except InputError:
        raise
    except Exception as error:
        raise InputError(_unjoined(address, last_line(error))) from error
    finally:
        timer.cancel()


def _unjoined(address: str, reason: str) -> str:
    return (
        f"Ray at RAY_ADDRESS {address!r} does not let this command in: {reason}; look whether it "
        "is Ray, at its token (RAY_AUTH_MODE) and at its version, or unset RAY_ADDRESS to compute "
        "on this machine"
    )


def reach(address: str) -> None:
    """Waits until somebody answers at HOST:PORT or ray://HOST:PORT; other words are Ray's.

    Raises:
        InputError: nobody does.
    """
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(f"RAY_ADDRESS is {address!r}: {error}; write HOST:PORT") from error
    if not host or not port:
        return
    limit = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection((host, port), timeout=CONNECT).close()
            return
        except OSError as error:
            if time.monotonic() > limit:
                raise InputError(
                    f"nobody answers at RAY_ADDRESS {address!r} ({error}); start Ray there, "
                    "correct the address, or unset RAY_ADDRESS to compute on this machine"
                ) from error
        time.sleep(TICK / 2)
