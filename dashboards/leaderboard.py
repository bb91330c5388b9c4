"""Leaderboards: the scores of runs on the same data, beside the papers' scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ..platform.records.comparability import data_key, known_digests, scoring_key
from ..platform.records.result_id import ResultId
from ..platform.records.schema import RunRecord, Score
from .content.gallery import scored_splits
from .labels import REFINEMENT_TITLES, classes_of, method_title
from .published import STAGES, leaderboard
from .tables import Cell, Table, percent_cell, text_cell

VOC, COCO = "VOC 2012", "COCO 2014"
PUBLISHED_SIZES: Mapping[tuple[int, str], tuple[str, tuple[int, ...]]] = {
    (20, "train"): (VOC, (1464,)),
    (20, "val"): (VOC, (1449,)),
    (80, "train"): (COCO, (82783, 82081)),
    (80, "val"): (COCO, (40504, 40137)),
}
"""Data set and numbers of images of the papers' splits, by (number of foreground classes, split).
Of COCO, some papers take all images, others only those with a label."""
TUNED = ("seed", "crf", "refined")
"""Columns of the leaderboard with scores on the tuning split; other ones are of held-out splits."""


@dataclass(frozen=True, kw_only=True)
class Rival:
    """Run on the leaderboard.

    Attributes:
        run: the run.
        scores: its scores by column, in the order of the columns; there is at least one.
        keys: for each score, values that it shares with scores on the same data and classes.
    """

    run: RunRecord
    scores: Mapping[str, Score]
    keys: Mapping[str, tuple[object, ...]]

    @property
    def first(self) -> str:
        """The first column, in which runs are compared."""
        return next(iter(self.scores))

    @property
    def rank(self) -> tuple[float, int]:
        """The mIoU in the first column, and the number of columns, by which ties are broken."""
        return self.scores[self.first].value, len(self.scores)

    @property
    def paper(self) -> str:
        """The data set of the papers with as many images and classes as the first score, or ""."""
        return _paper(self.scores[self.first], self.first)


def stages_of(run: RunRecord) -> dict[str, ResultId]:
    """Return the result of each stage (seed, crf, refined, segmenter) that a run has scores of.

    Results of the run's baseline are left out, because the baseline has runs of its own.
    """
    out: dict[str, ResultId] = {}
    for id in run.scores:
        if id.baseline:
            continue
        if id.segmenter or (id in run.labels and id not in run.maps and not id.refinement):
            out["segmenter"] = id
        elif id.refinement:
            out["crf" if id.refinement == "crf" else "refined"] = id
        elif id == run.subject or "seed" not in out:
            out["seed"] = id
    return out


def told(id: ResultId) -> str:
    """Return in words what a segmenter was told beside its method: true masks, image labels."""
    words = [REFINEMENT_TITLES["masks"]] if id.refinement == "masks" else []
    return ", ".join([*words, *(["labels known"] if id.known else [])])


def boards(runs: Sequence[RunRecord]) -> list[Table]:
    """Return the leaderboards: one for the runs on the same data, and one for the papers.

    The rows of the papers stand among those of a data set with the papers' images and classes.
    """
    tables: list[Table] = []
    papers: set[str] = set()
    for group in _groups(runs):
        paper = min(rival.paper for rival in group)  # empty where that of one run is
        papers.add(paper)
        rows = [_row_of_run(rival, paper) for rival in _best(_on_one_held_out_split(group, paper))]
        caption = (
            f"Leaderboard on {_data_sets(group)}: mIoU %; for each method, the run whose seed "
            "masks have the highest mIoU, with its tuning split as train and its held-out "
            "split as val"
        )
        tables.append(_board(caption, [*rows, *(_published(paper) if paper else [])]))
    if VOC not in papers:
        tables.append(_board("Leaderboard of the papers: mIoU %", _published(VOC)))
    return tables


def _board(caption: str, rows: Sequence[Sequence[Cell]]) -> Table:
    head = ["method", "measured by", *STAGES.values(), "data", "source"]
    return Table(caption=caption, head=head, rows=rows, sortable=True, cards=True)


def _rivals(runs: Sequence[RunRecord]) -> Iterator[Rival]:
    """Yield the runs that have scores which stand for their method, with these scores.

    A segmenter that was told true masks or image labels does not stand for the method.
    """
    known = known_digests(runs)
    for run in runs:
        stages = {stage: id for stage, id in stages_of(run).items() if not told(id)}
        splits = scored_splits(run) or [""]
        scores: dict[str, Score] = {}
        for stage in (*TUNED, "segmenter"):
            by_split = run.scores[stages[stage]] if stage in stages else {}
            if score := by_split.get(splits[-1 if stage in TUNED else 0]):
                held_out = "coco" if _paper(score, "coco") == COCO else "val"
                scores[stage if stage in TUNED else held_out] = score
        keys = {
            column: (data_key(run, score.split, known), scoring_key(score))
            for column, score in scores.items()
        }
        if scores:
            yield Rival(run=run, scores=scores, keys=keys)


def _paper(score: Score, column: str) -> str:
    """Return the data set of the papers with as many images and classes as a score in a column.

    Empty: the papers have other images or classes there.
    """
    split = "train" if column in TUNED else "val"
    name, sizes = PUBLISHED_SIZES.get((len(score.classes) - 1, split), ("", ()))
    has_all = score.n in sizes and len(score.scored) == len(score.classes)
    return name if has_all and score.split == split else ""


def _groups(runs: Sequence[RunRecord]) -> list[list[Rival]]:
    """Return runs that are compared on the same data and classes, in groups; the best one first."""
    groups: dict[tuple[object, ...], list[Rival]] = {}
    for rival in sorted(_rivals(runs), key=lambda rival: rival.rank, reverse=True):
        groups.setdefault(rival.keys[rival.first], []).append(rival)
    return [*groups.values()]


def _on_one_held_out_split(rivals: Sequence[Rival], paper: str) -> list[Rival]:
    """Return runs without the held-out scores on other data or classes than most of them have.

    Args:
        rivals: the runs, best first.
        paper: the data set of the papers whose rows stand beside the runs, so that only its
            held-out split counts; or empty.
    """
    counts = Counter(
        rival.keys[column]
        for rival in rivals
        for column, score in rival.scores.items()
        if column not in TUNED and (not paper or _paper(score, column) == paper)
    )
    kept = [key for key, _ in counts.most_common(1)]
    out = []
    for rival in rivals:
        shown = {*TUNED, rival.first}  # the first score is on the data of the table
        scores = {c: s for c, s in rival.scores.items() if c in shown or rival.keys[c] in kept}
        out.append(replace(rival, scores=scores))
    return out


def _best(rivals: Sequence[Rival]) -> list[Rival]:
    """Return, for each method, the run with the highest `Rival.rank`, best first."""
    best: dict[str, Rival] = {}
    for rival in sorted(rivals, key=lambda rival: rival.rank, reverse=True):
        best.setdefault(rival.run.method, rival)
    return [*best.values()]


def _row_of_run(rival: Rival, paper: str) -> list[Cell]:
    run, scores = rival.run, rival.scores
    values = {column: score.value for column, score in scores.items()}
    cells = [percent_cell(values.get(column)) for column in STAGES]
    method = method_title(run.method)
    title = Cell(text=f"{method}, this store", value=method)
    if paper:
        text, kind = f"{run.dataset}: as many images and classes as {paper}", "good"
    else:
        measured = [f"{s.split} {s.n:,}, {classes_of(s)}" for s in scores.values()]
        text, kind = f"other data: {run.dataset}, {'; '.join(dict.fromkeys(measured))}", "bad"
    data = Cell(text=text, value=text, pill=kind)
    source = Cell(text=run.name, value=run.name, file=f"run.{run.name}.html")
    return [title, text_cell("this store"), *cells, data, source]


def _published(paper: str) -> list[list[Cell]]:
    """Return the rows of the papers beside runs on the data set `paper`.

    Beside runs on COCO a row has its figure on COCO alone, as all other figures are on VOC.
    """
    rows = []
    for line in leaderboard():
        figures = {k: v for k, v in line.figures.items() if paper == VOC or k == "coco"}
        if not figures:
            continue
        cells = [percent_cell(_fraction(figures.get(stage))) for stage in STAGES]
        data = Cell(text=f"{VOC}, {COCO}" if paper == VOC else COCO, value=paper, pill="plain")
        name = f"{method_title(line.method)} on {line.builds_on}"
        rows.append([text_cell(name), text_cell("paper"), *cells, data, text_cell(line.sources)])
    return rows


def _data_sets(rivals: Sequence[Rival]) -> str:
    """Return the names of the data sets of comparable runs, and the digest of their images."""
    names = ", ".join(dict.fromkeys(rival.run.dataset for rival in rivals))
    for rival in rivals:
        split = rival.scores[rival.first].split
        if split in rival.run.digests:
            return f"{names} (list: {split} {rival.run.digests[split]['ids'][:12]})"
    return names


def _fraction(value: float | None) -> float | None:
    return None if value is None else value / 100
