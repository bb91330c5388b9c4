"""What Ray's native code writes to standard error, and who speaks where it ends the process."""

from __future__ import annotations

import atexit
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator

LINES = 20
"""Of what Ray's native code wrote, at most, that are shown where a start fails."""
FRAME = "[0x"
"""In a line of a native stack, which tells a user nothing."""
GUARD = """
while IFS= read -r line; do said=$line; done
if [ -n "$said" ]; then grep -vF "$3" "$2" | tail -n "$1"; echo "$said"; fi >&2
"""
ENDED = (
    "wsss: this command was ended, by Ray or from outside; what was finished and each training's "
    "last epoch are kept, so run the same command again"
)


class Aside:
    """Standard error, while what Ray's native code writes there is kept in a file."""

    def __init__(self, out: int, path: int) -> None:
        self.out, self.kept = out, path

    def say(self, text: str) -> None:
        """Writes a line that is seen."""
        os.write(self.out, f"{text}\n".encode(errors="replace"))

    def words(self) -> str:
        """The last lines of what was kept."""
        size = os.fstat(self.kept).st_size
        data = os.pread(self.kept, 1 << 16, max(0, size - (1 << 16)))
        lines = data.decode(errors="replace").splitlines()
        return "\n".join([line for line in lines if FRAME not in line][-LINES:])


@contextlib.contextmanager
def quiet() -> Iterator[Aside]:
    """Keeps Ray's native code from writing to standard error; where Ray does not come up, that is
    shown after all."""
    sys.stderr.flush()
    out = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        aside = Aside(out, kept.fileno())
        os.dup2(aside.kept, 2)
        try:
            yield aside
        except Exception:
            if words := aside.words():
                aside.say(words)
            raise
        finally:
            os.dup2(out, 2)
            os.close(out)


class Guard:
    """A process that says the last sentence which it was told when this one is gone: Ray's native
    code may end it without a word."""

    def __init__(self, aside: Aside) -> None:
        words = ["/bin/sh", "-c", GUARD, "sh", str(LINES), f"/dev/fd/{aside.kept}", FRAME]
        self.process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=aside.out,
            pass_fds=[aside.kept],
            text=True,
        )

    def tell(self, sentence: str) -> None:
        """Replaces the sentence; an empty one is not said."""
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):  # Ctrl-C ends it too
            self.process.stdin.write(f"{sentence}\n")
            self.process.stdin.flush()

    def dismiss(self) -> None:
        """Lets it go without a word."""
        assert self.process.stdin
        if self.process.stdin.closed:
            return
        self.tell("")
        with contextlib.suppress(BrokenPipeError):
            self.process.communicate()


@contextlib.contextmanager
def guarded(aside: Aside) -> Iterator[Guard]:
    """While Ray comes up, and as long as it is there, somebody says where it ended this process."""
    guard = Guard(aside)
    atexit.register(guard.dismiss)
    try:
        yield guard
    except BaseException:
        guard.dismiss()
        raise
    os.ftruncate(aside.kept, 0)
    guard.tell(ENDED)
