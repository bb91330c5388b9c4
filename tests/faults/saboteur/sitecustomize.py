"""Make a process of a job fail at one call of one function, once for all processes together.

Python imports this at its start where the folder is on PYTHONPATH. WSSS_FAULTS is a list in JSON:
`module`, `function` (or Class.method), `call` (the number of the call in a process at which it
happens), `act` and `mark`, a file whose existence says that it happened. Acts:

    kill    this process, by SIGKILL
    node    the node of this process: its raylet, and with it all its workers
    driver  the process that started the job
    tell    nothing but the mark, for a test that waits for it
    pause   wait forever; the mark names the host, which a test then kills
    set     the name stands for the number `call` from the start, in every process
    full    the error of a full disk, at this call and all later calls of every process
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
    if kind == "pause":
        while True:
            signal.pause()
    if kind == "node":
        os.kill(os.getppid(), signal.SIGKILL)  # its other workers end when they miss it
    if kind == "driver":
        os.kill(int(os.environ["WSSS_DRIVER"]), signal.SIGKILL)
        signal.pause()
    os.kill(os.getpid(), signal.SIGKILL)


def sabotaged(function, fault):
    count = 0

    @functools.wraps(function)
    def call(*args, **kwargs):
        nonlocal count
        count += 1
        still_full = fault["act"] == "full" and os.path.exists(fault["mark"])
        if count == fault["call"] or still_full:
            try:
                with open(fault["mark"], "x") as stream:
                    stream.write(os.uname().nodename)
            except FileExistsError:
                if not still_full:
                    return function(*args, **kwargs)
            act(fault["act"])
        return function(*args, **kwargs)

    return call


class Loader(importlib.abc.MetaPathFinder):
    def __init__(self, faults):
        self.faults = faults

    def find_spec(self, name, path, target=None):
        module_faults = self.faults.pop(name, None)
        spec = importlib.util.find_spec(name) if module_faults else None
        if spec is None:
            return None
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            for fault in module_faults:
                *owner, last = fault["function"].split(".")
                holder = functools.reduce(getattr, owner, module)
                if fault["act"] == "set":
                    setattr(holder, last, fault["call"])
                    open(fault["mark"], "w").close()
                else:
                    setattr(holder, last, sabotaged(getattr(holder, last), fault))

        spec.loader.exec_module = exec_module
        return spec


faults_by_module = {}
for fault in json.loads(os.environ.get("WSSS_FAULTS", "[]")):
    faults_by_module.setdefault(fault["module"], []).append(fault)
if faults_by_module:
    sys.meta_path.insert(0, Loader(faults_by_module))
