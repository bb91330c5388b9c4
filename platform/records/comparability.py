"""Which runs were scored on the same images and masks, so that their scores can be ranked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..errors import InputError
from .result_id import ResultId
from .schema import RunRecord, Score

Known = Mapping[str, Mapping[str, Mapping[str, str]]]
"""Digests of images and masks by key of the shards and by split."""


def known_digests(runs: Iterable[RunRecord]) -> Known:
    """Return the digests of shards that records hold; other records of the shards may lack them."""
    known: dict[str, dict[str, Mapping[str, str]]] = {}
    for run in runs:
        if run.shards:
            known.setdefault(run.shards, {}).update(run.digests)
    return known


def data_key(run: RunRecord, split: str, known: Known) -> tuple[str, ...]:
    """Return values that two runs share if they had the same images and masks in a split.

    These are the digests; for a record of an earlier version, which lacks them, the key of the
    shards, or, without shards, the name of the data set.

    Args:
        run: the run.
        split: the split.
        known: digests of shards, from `known_digests`.
    """
    digests = run.digests.get(split) or known.get(run.shards, {}).get(split)
    if digests is None:
        return (run.shards or run.dataset, split)
    return (digests["ids"], digests["masks"])


def same_data(one: RunRecord, other: RunRecord, split: str) -> bool:
    """Return whether two runs had the same images and masks in a split."""
    known = known_digests((one, other))
    return data_key(one, split, known) == data_key(other, split, known)


def scoring_key(score: Score) -> tuple[object, ...]:
    """Return values that two scores share if they are means over the same classes by one rule."""
    return (*(score.classes[c] for c in score.scored), score.n, score.rule)


def same_scoring(one: Score, other: Score) -> bool:
    """Return whether two scores are means over the same classes, by the same rule."""
    return scoring_key(one) == scoring_key(other)


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
