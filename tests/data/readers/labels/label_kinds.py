"""The same labels in files of all kinds, for tests of readers."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from wsss.platform.data.readers.labels.label_files import ImageLabels, read_labels

CLASSES = ("cat", "dining table", "dog", "ox")
LABELS: Mapping[str, tuple[int, ...]] = {"a": (0, 1), "b": (0,), "c": (), "d-1.x": (1, 2)}
Labels = Mapping[str, tuple[int, ...]]


def names_of(labels: tuple[int, ...]) -> list[str]:
    return [CLASSES[k] for k in labels]


def file_of(id: str) -> str:
    return f"{id.removesuffix('.jpg')}.jpg"


def one_hot(labels: tuple[int, ...], background: int = 0) -> list[int]:
    return [1] * background + [int(k in labels) for k in range(len(CLASSES))]


def lines(make: Callable[[str, tuple[int, ...]], str], labels: Labels, head: str = "") -> bytes:
    return (head + "".join(f"{make(id, k)}\n" for id, k in labels.items())).encode()


def table(separator: str, labels: Labels) -> bytes:
    cells = {id: separator.join(names_of(k)) for id, k in labels.items()}
    return lines(lambda id, k: f'{id},"{cells[id]}"', labels, "id,labels\n")


def columns(labels: Labels, head: str, delimiter: str = ",", background: int = 0) -> bytes:
    def row(id: str, k: tuple[int, ...]) -> str:
        return delimiter.join([id, *map(str, one_hot(k, background))])

    return lines(row, labels, head)


def npz(labels: Labels, background: int = 0, kind: str = "uint8") -> bytes:
    out = io.BytesIO()
    rows = [one_hot(k, background) for k in labels.values()]
    np.savez(out, ids=np.array(list(labels)), labels=np.array(rows, kind))
    return out.getvalue()


def npy(content: Any, protocol: int = 4) -> bytes:
    out = io.BytesIO()
    about = {"descr": "|O", "fortran_order": False, "shape": ()}
    np.lib.format.write_array_header_1_0(out, about)
    pickle.dump(np.array(content, dtype=object), out, protocol)
    return out.getvalue()


def vectors(labels: Labels, kind: Any = np.float32, key: Any = str) -> dict[Any, Any]:
    return {key(id): np.array(one_hot(k), kind) for id, k in labels.items()}


def indices(labels: Labels, first: int = 0) -> dict[str, list[int]]:
    return {id: [k + first for k in present] for id, present in labels.items()}


KINDS: dict[str, tuple[str, Callable[[Labels], bytes]]] = {
    "csv, semicolons": ("a.csv", lambda m: table(";", m)),
    "csv, commas": ("a.csv", lambda m: table(",", m)),
    "csv, bars": ("a.csv", lambda m: table("|", m)),
    "csv, blanks": ("a.csv", lambda m: table(" ", m)),
    "csv, JSON lists": (
        "a.csv",
        lambda m: lines(
            lambda id, k: '{},"{}"'.format(id, json.dumps(names_of(k)).replace('"', '""')),
            m,
            "id,labels\n",
        ),
    ),
    "csv, Python lists": (
        "a.csv", lambda m: lines(lambda id, k: f'{id},"{names_of(k)}"', m, "id,labels\n")
    ),
    "csv, indices": (
        "a.csv", lambda m: lines(lambda id, k: f"{id},{' '.join(map(str, k))}", m, "id,labels\n")
    ),
    "csv of a spreadsheet": (
        "a.CSV",
        lambda m: b"\xef\xbb\xbf"
        + lines(lambda id, k: f"{id};{', '.join(names_of(k))}", m, "ID;Labels\r\n"),
    ),
    "csv, a column for each class": (
        "a.csv", lambda m: columns(m, "id,cat,dining table,dog,ox\n")
    ),
    "csv, columns in another order": (
        "a.csv",
        lambda m: lines(
            lambda id, k: ",".join([id, *map(str, reversed(one_hot(k)))]), m,
            "image,ox,dog,Dining_Table,cat\n",
        ),
    ),
    "csv, numbered columns": ("a.csv", lambda m: columns(m, "id,0,1,2,3\n")),
    "csv, columns from 1": ("a.csv", lambda m: columns(m, "id,1,2,3,4\n")),
    "csv, a column of the background": (
        "a.csv", lambda m: columns(m, "id,background,cat,dining table,dog,ox\n", background=1)
    ),
    "csv, numbered columns with background": (
        "a.csv", lambda m: columns(m, "id,0,1,2,3,4\n", background=1)
    ),
    "tsv": (
        "a.tsv", lambda m: lines(lambda id, k: f"{id}\t{';'.join(names_of(k))}", m, "id\tlabels\n")
    ),
    "txt, indices": ("a.txt", lambda m: lines(lambda id, k: f"{id} {' '.join(map(str, k))}", m)),
    "txt, indices and file names": (
        "a.txt", lambda m: lines(lambda id, k: f"/x/{file_of(id)}  {' '.join(map(str, k))} \r", m)
    ),
    "txt, names": ("a.txt", lambda m: lines(lambda id, k: f"{id} {' '.join(names_of(k))}", m)),
    "txt, names with semicolons": (
        "a.txt", lambda m: lines(lambda id, k: f"{id}\t{'; '.join(names_of(k))}", m)
    ),
    "txt, names with commas": (
        "a.txt", lambda m: lines(lambda id, k: ",".join([id, *names_of(k)]), m)
    ),
    "txt, 0 and 1": ("a.txt", lambda m: columns(m, "", " ")),
    "txt, 0 and 1 with background": ("a.txt", lambda m: columns(m, "", " ", background=1)),
    "txt with a header": ("a.txt", lambda m: table(";", m)),
    "npz": ("a.npz", npz),
    "npz, floats": ("a.npz", lambda m: npz(m, kind="float64")),
    "npz with background": ("a.npz", lambda m: npz(m, background=1)),
    "npy of SIPE": ("a.npy", lambda m: npy(vectors(m))),
    "npy, protocol 2": ("a.npy", lambda m: npy(vectors(m), 2)),
    "npy, protocol 3": ("a.npy", lambda m: npy(vectors(m), 3)),
    "npy, protocol 5": ("a.npy", lambda m: npy(vectors(m), 5)),
    "npy, bytes": ("a.npy", lambda m: npy(vectors(m, np.uint8))),
    "npy, texts of NumPy": ("a.npy", lambda m: npy(vectors(m, key=np.str_), 5)),
    "npy, lists of 0 and 1": ("a.npy", lambda m: npy({i: one_hot(k) for i, k in m.items()})),
    "npy, indices": ("a.npy", lambda m: npy(indices(m))),
    "npy, arrays of indices": (
        "a.npy", lambda m: npy({id: np.array(k, np.int64) for id, k in m.items()})
    ),
    "npy, names": ("a.npy", lambda m: npy({id: names_of(k) for id, k in m.items()})),
    "json, names": (
        "a.json", lambda m: json.dumps({id: names_of(k) for id, k in m.items()}).encode()
    ),
    "json, indices": ("a.json", lambda m: json.dumps(indices(m)).encode()),
    "json, 0 and 1": (
        "a.json", lambda m: json.dumps({id: one_hot(k) for id, k in m.items()}).encode()
    ),
    "json, 0 and 1 by name": (
        "a.json",
        lambda m: json.dumps(
            {id: dict(zip(CLASSES, one_hot(k), strict=True)) for id, k in m.items()}
        ).encode(),
    ),
    "json, list of objects": (
        "a.json",
        lambda m: json.dumps(
            [{"file_name": file_of(id), "labels": names_of(k)} for id, k in m.items()]
        ).encode(),
    ),
}  # fmt: skip


def read(folder: Path, kind: str, labels: Labels, **options: Any) -> ImageLabels:
    name, write = KINDS[kind]
    (folder / name).write_bytes(write(labels))
    return read_labels(folder / name, options.pop("classes", CLASSES), **options)
