"""Makes a process of a job fail at one call of one function, once for all processes together.

Python imports this at its start where the folder is on PYTHONPATH. WSSS_FAULTS is a list in JSON:
`module`, `function` (or Class.method), `call` (the number of the call in a process at which it
happens), `act` and `mark`, a file that says that it happened. Acts:

    kill    this process, by SIGKILL
    node    the node of this process: its raylet, and with it all its workers
    driver  the process that started the job
    tell    nothing but the mark, for who waits for it
    set     the name stands for the number `call` from the start, in every process
    full    what a full disk says, at this call and all later ones of every process
"""

import errno
import functools
import importlib.abc
import importlib.util
import json
import os
import signal
import sys

os.environ.setdefault("WSSS_DRIVER", str(os.getpid()))  # the first process of the job


def act(kind):
    if kind == "tell":
        return
    if kind == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if kind == "node":
        os.kill(os.getppid(), signal.SIGKILL)  # its other workers end when they miss it
    if kind == "driver":
        os.kill(int(os.environ["WSSS_DRIVER"]), signal.SIGKILL)
        signal.pause()
    os.kill(os.getpid(), signal.SIGKILL)


def sabotaged(function, fault):
    count = 0

    @functools.wraps(function)
    def call(*given, **named):
        nonlocal count
        count += 1
        again = fault["act"] == "full" and os.path.exists(fault["mark"])
        if count == fault["call"] or again:
            try:
                os.close(os.open(fault["mark"], os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                if not again:
                    return function(*given, **named)
            act(fault["act"])
        return function(*given, **named)

    return call


class Loader(importlib.abc.MetaPathFinder):
    def __init__(self, faults):
        self.faults = faults

    def find_spec(self, name, path, target=None):
        mine = self.faults.pop(name, None)
        spec = importlib.util.find_spec(name) if mine else None
        if spec is None:
            return None
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            for fault in mine:
                *owner, last = fault["function"].split(".")
                holder = functools.reduce(getattr, owner, module)
                if fault["act"] == "set":
                    setattr(holder, last, fault["call"])
                    open(fault["mark"], "w").close()
                else:
                    setattr(holder, last, sabotaged(getattr(holder, last), fault))

        spec.loader.exec_module = exec_module
        return spec


wanted = {}
for fault in json.loads(os.environ.get("WSSS_FAULTS", "[]")):
    wanted.setdefault(fault["module"], []).append(fault)
if wanted:
    sys.meta_path.insert(0, Loader(wanted))
