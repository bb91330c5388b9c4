"""Start and end of a command's Ray, which runs on this machine or is a cluster that it joins."""

from __future__ import annotations

import atexit
import contextlib
import os
import resource
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from ..errors import InputError
from . import folders, sent_folder
from .quirks import server_probe
from .quirks.native_output import CapturedStderr, ExitReporter, reporting_exit

VITAL = ("gcs_server", "raylet")
"""Names of the processes without which Ray on this machine cannot go on."""
POLL_SECONDS, GRACE_SECONDS = 1.0, 5.0
"""Seconds between two checks of Ray's processes, and seconds that a command has to end by itself
after one of them died."""
JOIN_SECONDS, CONNECT_SECONDS, SILENT_SECONDS = 6.0, 3.0, 3.0
"""Seconds for which a cluster's address is tried, most seconds of one connection attempt, and
seconds after which a command says that it waits."""
ANSWER_SECONDS = 10.0
"""Seconds within which whoever listens at a cluster's address must answer as Ray does."""
OBJECT_STORE_BYTES = 2 << 30
"""Size in bytes of Ray's object store on this machine."""


class Embedded:
    """The Ray that this process starts: its processes, and the folder with their files.

    A thread watches the processes. If one dies that Ray cannot do without, the thread ends this
    process with a message; Ray itself would end it only after a minute, and without a message.

    Args:
        reporter: prints the last message if native code ends this process.
    """

    def __init__(self, reporter: ExitReporter) -> None:
        import psutil  # comes with Ray, which is imported already

        self.psutil = psutil
        self.process = psutil.Process()
        check_room(self.process.memory_info().vms)
        self.reporter = reporter
        self.children_before = set(self.process.children())
        self.names: dict[Any, str] = {}
        self.folder, self.lock = folders.make()
        self.started, self.stopped, self.address = False, threading.Event(), ""
        self.captured: CapturedStderr | None = None

    def start(self, cpus: int, captured: CapturedStderr) -> None:
        """Start Ray.

        Args:
            cpus: logical CPUs that Ray may schedule tasks on.
            captured: standard error of this process.

        Raises:
            InputError: Ray does not start.
        """
        import ray

        self.captured = captured
        self.reporter.set_message(f"wsss: {self._unstarted('Ray ended this command')}")
        atexit.register(self.end)
        threading.Thread(target=self._watch, daemon=True).start()
        try:
            ray.init(
                address="local",  # never a cluster of somebody else on this machine
                num_cpus=cpus,
                object_store_memory=OBJECT_STORE_BYTES,
                logging_level="ERROR",
                log_to_driver=False,
                include_dashboard=False,
                _temp_dir=str(self.folder / "ray"),  # Ray makes this folder readable for all
            )
        except Exception as error:
            self.end(keep=True)
            raise InputError(self._unstarted(last_line(error))) from error
        self.note_processes()
        self.address = _joined()
        self.started, self.captured = True, None

    def _unstarted(self, reason: str) -> str:
        return (
            f"Ray did not start on this machine: {reason}; check the limits of memory and of "
            f"processes (ulimit -a) and read Ray's logs in {self.folder}"
        )

    def note_processes(self) -> None:
        """Record the running processes of Ray.

        After Ray has died they cannot be found any more: their names have nothing in common, and
        their parent is gone."""
        pids = {process.pid for process in list(self.names)}
        for process in self.process.children(recursive=True):  # a parent comes before its children
            with contextlib.suppress(self.psutil.Error):
                is_new = not self.started and process not in self.children_before
                if is_new or process in self.names or process.ppid() in pids:
                    self.names[process] = process.name()
                    pids.add(process.pid)

    def running(self) -> list[Any]:
        """Return the recorded processes that still run."""
        return [process for process in list(self.names) if self._runs(process)]

    def _runs(self, process: Any) -> bool:
        try:
            return bool(process.is_running() and process.status() != self.psutil.STATUS_ZOMBIE)
        except self.psutil.Error:
            return False

    def lost(self) -> str:
        """Return the name of a vital process that died, or an empty string."""
        # Ray that was ended on purpose is not lost.
        if self.stopped.is_set() or (self.started and _joined() != self.address):
            return ""
        dead = (p for p, name in list(self.names.items()) if name in VITAL and not self._runs(p))
        return next((self.names[p] for p in dead), "")

    def _watch(self) -> None:
        while not self.stopped.wait(POLL_SECONDS):
            self.note_processes()
            if (name := self.lost()) and not self.stopped.wait(GRACE_SECONDS) and self.lost():
                self.abort(name)

    def abort(self, name: str) -> None:
        """End this process with one sentence and exit code 2 after the Ray process `name` died.

        Without Ray this process may wait forever, and Ray's own shutdown would wait too."""
        self.stopped.set()
        self.reporter.dismiss()
        if self.captured:
            reason = self._unstarted(f"its process {name} ended")
            self.captured.write_line(f"{self.captured.last_lines()}\nwsss: {reason}".strip())
        else:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
            sys.stderr.write(
                f"wsss: Ray stopped because its process {name} on this machine ended; finished "
                "stages and the last epoch of each training are kept, so run the same command "
                f"again (Ray's logs are in {self.folder})\n"
            )
            sys.stderr.flush()
        self._kill()
        self._leave(keep=True)
        os._exit(2)

    def end(self, keep: bool = False) -> None:
        """Shut Ray down and wait for its processes.

        Args:
            keep: whether Ray's files stay, so that they can tell why Ray failed.
        """
        import ray

        if self.stopped.is_set():
            return
        self.note_processes()
        self.stopped.set()
        ray.shutdown()
        self._kill()
        self.reporter.dismiss()
        self._leave(keep)

    def _kill(self) -> None:
        self.psutil.wait_procs(self.running(), timeout=POLL_SECONDS)
        for process in (running := self.running()):
            with contextlib.suppress(self.psutil.Error):
                process.kill()
        self.psutil.wait_procs(running, timeout=GRACE_SECONDS)

    def _leave(self, keep: bool) -> None:
        if keep:
            folders.keep(self.folder)
        else:
            folders.remove(self.folder, self.lock)


_embedded: Embedded | None = None


def start(cpus: int, captured: CapturedStderr) -> None:
    """Start Ray on this machine, for this process alone.

    Args:
        cpus: logical CPUs that Ray may schedule tasks on.
        captured: standard error of this process.

    Raises:
        InputError: Ray does not start.
    """
    global _embedded
    if _embedded:
        _embedded.end()
    with reporting_exit(captured) as reporter:
        _embedded = Embedded(reporter)
        _embedded.start(cpus, captured)


def lost() -> bool:
    """Return whether the Ray that this process started has died; False without such a Ray."""
    return bool(_embedded and _embedded.lost())


@contextlib.contextmanager
def ended() -> Iterator[None]:
    """End the Ray that was started inside the block; after a crash its files stay for diagnosis."""
    outer = _embedded
    try:
        yield
    except BaseException as error:
        if _embedded and _embedded is not outer:
            expected = isinstance(error, InputError | OSError | KeyboardInterrupt | SystemExit)
            deadline = time.monotonic() + (0 if expected else POLL_SECONDS)
            while not (name := _embedded.lost()) and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS / 10)  # the error may arrive before the process is gone
            if name and isinstance(error, Exception):
                _embedded.abort(name)
            _embedded.end(keep=not expected)
            if not expected:
                sys.stderr.write(f"wsss: Ray's logs are kept in {_embedded.folder} for a week\n")
        raise
    if _embedded and _embedded is not outer:
        _embedded.end()


def check_room(used: int) -> None:
    """Check that Ray's object store fits into the address space of this process.

    Where the address space has a limit that is too low, Ray would end this process.

    Args:
        used: bytes of address space that this process has mapped.

    Raises:
        InputError: the limit leaves less than twice the size of the object store.
    """
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit - used < 2 * OBJECT_STORE_BYTES:
        raise InputError(
            f"this process may map {limit / 1e9:.1f} GB of memory (ulimit -v), and Ray needs "
            f"{2 * OBJECT_STORE_BYTES / 1e9:.1f} GB beside the {used / 1e9:.1f} GB of the command; "
            "raise the limit: ulimit -v unlimited"
        )


def last_line(error: BaseException) -> str:
    """Return the last line of an error's text, or the name of its type if it has no text."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__


def _joined() -> str:
    """Return the address of the Ray that this process is connected to, or an empty string."""
    import ray

    if ray.is_initialized():  # else asking for the context would start another Ray
        with contextlib.suppress(ray.exceptions.RayError, AttributeError):
            return str(ray.get_runtime_context().gcs_address)
    return ""


def join(address: str, captured: CapturedStderr) -> None:
    """Join the cluster at `RAY_ADDRESS`.

    Args:
        address: value of `RAY_ADDRESS`.
        captured: standard error of this process.

    Raises:
        InputError: nobody answers at the address, or Ray there refuses this command.
    """
    import ray

    timer = threading.Timer(
        SILENT_SECONDS, captured.write_line, (f"wsss: waiting for Ray at {address}",)
    )
    timer.daemon = True
    timer.start()
    try:
        reach(address)
        with reporting_exit(captured) as reporter:
            reporter.set_message(f"wsss: {_unjoined(address, 'Ray ended this command')}")
            ray.init(logging_level="ERROR", log_to_driver=False)
    except InputError:
        raise
    except Exception as error:
        raise InputError(_unjoined(address, last_line(error))) from error
    finally:
        timer.cancel()
    if text := sent_folder.description():
        captured.write_line(f"wsss: {text}")


def _unjoined(address: str, reason: str) -> str:
    return (
        f"Ray at RAY_ADDRESS {address!r} refuses this command: {reason}; check that it is Ray, its "
        "token (RAY_AUTH_MODE) and its version, or unset RAY_ADDRESS to compute on this machine"
    )


def reach(address: str) -> None:
    """Wait until Ray answers at HOST:PORT or ray://HOST:PORT.

    Args:
        address: value of `RAY_ADDRESS`; a value without host and port is left to Ray.

    Raises:
        InputError: the address is malformed, or nobody answers, or not as Ray does.
    """
    try:
        url = urlsplit(address if "://" in address else f"//{address}")
        host, port = url.hostname, url.port
    except ValueError as error:
        raise InputError(f"RAY_ADDRESS is {address!r}: {error}; write HOST:PORT") from error
    if not host or not port:
        return
    _await_listener(address, host, port)
    if not server_probe.is_ray(host, port, ANSWER_SECONDS, url.scheme == "ray"):
        raise InputError(
            f"what listens at RAY_ADDRESS {address!r} does not answer as Ray does; correct the "
            "address, restart Ray there, or unset RAY_ADDRESS to compute on this machine"
        )


def _await_listener(address: str, host: str, port: int) -> None:
    """Wait until somebody accepts connections at a host and port.

    Raises:
        InputError: nobody accepts one within `JOIN_SECONDS`.
    """
    deadline = time.monotonic() + JOIN_SECONDS
    while True:
        try:
            socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise InputError(
                    f"nobody answers at RAY_ADDRESS {address!r} ({error}); start Ray there, "
                    "correct the address, or unset RAY_ADDRESS to compute on this machine"
                ) from error
        time.sleep(POLL_SECONDS / 2)
