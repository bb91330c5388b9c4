"""Measurement of training and labelling on one GPU beside the usual way, in about eight minutes.

    python tests/benchmarks/gpu.py

It needs no installation of this project, only the packages that docs/benchmarks.md lists, and
starts no Ray. Each row is compared with the result of the CPU; a larger difference than is allowed
is named, and ends the program with exit code 1. The table is kept as JSON in the folder `speeds` of
the store of `WSSS_STORE`, as `make bench` does, so the dashboard shows it.
Without a GPU everything is tiny, and only shows that the program runs.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import types
from pathlib import Path

ROOT = Path(__file__).parents[2]


def make_importable() -> None:
    """Make the repository the package `wsss`, unless it is installed."""
    if "wsss" not in sys.modules and importlib.util.find_spec("wsss") is None:
        package = types.ModuleType("wsss")
        package.__path__ = [str(ROOT)]
        sys.modules["wsss"] = package


make_importable()


def main() -> int:
    import torch
    from gpu_rows import classifier, features, labelling
    from gpu_rows.device_bench import FULL, SMALL, DeviceBench
    from measure import say
    from speed_table.table import keep_table

    sizes = FULL if torch.cuda.is_available() else SMALL
    with tempfile.TemporaryDirectory() as folder:
        b = DeviceBench(Path(folder), sizes=sizes)
        if not b.cuda:
            say("no GPU: all sizes are tiny, and the figures mean nothing")
        for measure_rows in (
            classifier.bench_training,
            classifier.bench_class_maps,
            labelling.bench_labels,
            labelling.bench_walk,
            features.bench_clustering,
        ):
            measure_rows(b)
        keep_table(b)
    wrong = [row.stage for row in b.rows if not b.agrees(row)]
    for stage in wrong:
        say(f"wrong on {b.device}: {stage}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
