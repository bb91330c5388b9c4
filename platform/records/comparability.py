"""Which runs were scored on the same images and masks, so that their scores can be ranked."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import InputError
from .result_id import ResultId
from .schema import RunRecord, Score


def same_data(one: RunRecord, other: RunRecord, split: str) -> bool:
    """Return whether two runs had the same images and masks in a split.

    They had if they read the same shards, or if the digests of the split agree. Records of version
    0.1.0 have no digests; of two records without shards, the names of their data sets count.
    """
    if one.shards or other.shards:
        digests = one.digests.get(split)
        return one.shards == other.shards or (
            digests is not None and digests == other.digests.get(split)
        )
    return one.dataset == other.dataset


def same_scoring(one: Score, other: Score) -> bool:
    """Return whether two scores are means over the same classes, by the same rule."""
    names = [[score.classes[c] for c in score.scored] for score in (one, other)]
    return names[0] == names[1] and (one.n, one.rule) == (other.n, other.rule)


def check_comparable(rows: Sequence[tuple[str, ResultId, Sequence[RunRecord]]]) -> None:
    """Check that all rows of a table were scored on the same images, masks and classes.

    Args:
        rows: title, result, and runs over all seeds of each row.

    Raises:
        InputError: two rows were scored on unlike data.
    """
    first: dict[str, tuple[str, RunRecord, Score]] = {}
    for title, id, runs in rows:
        for run in runs:
            for split, score in run.scores[id].items():
                known_title, known, known_score = first.setdefault(split, (title, run, score))
                if same_data(known, run, split) and same_scoring(known_score, score):
                    continue
                raise InputError(
                    f"{known_title} ({data_of(known, split)}) and {title} ({data_of(run, split)}) "
                    f"cannot be compared on {split}, because their images, masks or classes "
                    "differ; run both on one data set"
                )


def data_of(run: RunRecord, split: str) -> str:
    """Return the data set of a run and the beginnings of the digests of a split."""
    digests = run.digests.get(split)
    if digests is None:
        return run.dataset
    return f"{run.dataset}, list {digests['ids'][:12]}, masks {digests['masks'][:12]}"
