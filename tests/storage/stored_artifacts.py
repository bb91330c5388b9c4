"""A small artifact for the tests of stores, and the objects of a store in a bucket."""

from __future__ import annotations


class Compute:
    """A computation that writes two files and counts its calls."""

    def __init__(self, error=None):
        self.calls, self.error = 0, error

    def __call__(self, folder):
        self.calls += 1
        (folder / "a.bin").write_bytes(b"content of a")
        (folder / "deep/b.bin").write_bytes(b"content of b")
        if self.error:
            raise self.error
        return {"n": 2}


def objects(store, under="artifacts"):
    """Return the sizes of the objects of a store by key."""
    return {name: info.size for name, info in store.storage.bucket.objects(under).items()}


def overwrite(store, text, data):
    """Replace the bytes of the only object whose key contains `text`."""
    (name,) = (n for n in objects(store) if text in n)
    store.storage.bucket.write(name, data)


def remove(store, text):
    """Remove the only object whose key contains `text`."""
    (name,) = (n for n in objects(store) if text in n)
    store.storage.bucket.remove(name)
