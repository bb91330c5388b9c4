"""Results of runs, comparisons and sweeps, as pandas frames, Plotly figures and pictures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ...dashboards.content import example_image
from ...dashboards.content.artifact_cache import ArtifactCache
from ...dashboards.content.gallery import Gallery, splits_with_images
from ...dashboards.content.records import TRAINING_STAGES, Records
from ...dashboards.content.strip import columns_of, strip
from ...dashboards.figures import optimization, scores, training
from ...dashboards.figures.parallel_coordinates import parallel_coordinates
from ...dashboards.figures.sensitivity import sensitivity
from ...dashboards.labels import drawable_sweep
from ...dashboards.pages.run import scores_by_split, titled_scores
from ..cli.options.kinds import default_store
from ..cli.sweep_commands import leaders
from ..cli.tables import Table, comparison_table, score_table
from ..data.names import check_name
from ..errors import InputError
from ..pipeline.run import Row, table_rows
from ..records.schema import RunRecord, SweepRecord, read_run, read_sweep
from ..records.unscored import unscored_sentence
from ..storage import filesystem
from ..storage.store import Store, open_store

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go
    from PIL.Image import Image

Frame: TypeAlias = "pd.DataFrame"


def frame_of(rows: Sequence[Mapping[str, object]]) -> Frame:
    """Return a pandas frame with a row for each mapping from column to value."""
    import pandas as pd

    return pd.DataFrame.from_records([dict(row) for row in rows])


def store_at(where: str | Path | None) -> Store:
    """Return the store at a folder or an address; None: the default of the command line.

    Raises:
        InputError: the address is malformed or cannot be reached, or the folder is not a store.
    """
    text = str(where or default_store())
    return open_store(filesystem.absolute(text, "--store", addresses=True))


def _plotly(figure: Mapping[str, Any]) -> go.Figure:
    import plotly.graph_objects as go

    return go.Figure(figure)


class Scored(ABC):
    """A result with a table of scores, which a notebook shows as a table."""

    @property
    @abstractmethod
    def table(self) -> Table:
        """The scores as the command line prints them."""

    @property
    def frame(self) -> Frame:
        """The scores as a pandas frame, one row for each result and split.

        The columns are `result`, `split`, `n` (scored images), `mIoU` and other measures in
        percent, the seed threshold, the number of classes, the evaluation rule and the random
        seeds. Over several seeds, a column holds the mean, and the column with `sd` the standard
        deviation.
        """
        return frame_of(self.table.values)

    def __repr__(self) -> str:
        return str(self.table)

    def _repr_html_(self) -> str:
        html: str = self.frame.to_html(index=False, float_format="{:.2f}".format)
        return html


class RunResult(Scored):
    """The result of `run`.

    Args:
        store: the store that holds the runs.
        records: the records of the runs, one for each random seed.
    """

    def __init__(self, store: Store, records: Sequence[RunRecord]) -> None:
        self.store, self.records = store, tuple(records)

    @property
    def name(self) -> str:
        """The name of the run with the first random seed, as commands and pages have it."""
        return self.records[0].name

    @property
    def table(self) -> Table:
        return score_table(self.records)

    def figure(self, kind: str = "thresholds", split: str = "") -> go.Figure:
        """Return a figure of the run with the first random seed.

        Example:
            >>> run("lpcam").figure("classes", split="val")

        Args:
            kind: `thresholds` (mIoU at each seed threshold), `classes` (IoU of each class), `parts`
                (activated share of object parts), `confusion` (of the last result), or `training`
                (losses of the last training by step).
            split: split of the scores (default: the last one, on which nothing was chosen).

        Raises:
            InputError: there is no such kind, or no score on the split.
        """
        record, name = self.records[0], self.name
        if kind == "training":
            return _plotly(self._training())
        by_split = scores_by_split(titled_scores(record))
        if not by_split and (reason := unscored_sentence(record)):
            raise InputError(f"{reason}; of run {name!r} there is the figure 'training'")
        _check("split", split := split or next(reversed([*by_split]), ""), by_split)
        rows = by_split[split]
        seeds = {title: score for title, score in rows.items() if score.boundary is None}
        figures = {
            "thresholds": lambda: scores.threshold_curve(seeds, name),
            "classes": lambda: scores.per_class_iou(rows, name),
            "parts": lambda: scores.parts(rows, name),
            "confusion": lambda: scores.confusion(*[*rows.items()][-1], name),
        }
        _check("figure", kind, [*figures, "training"])
        return _plotly(figures[kind]())

    def _training(self) -> Mapping[str, Any]:
        """Return the figure of the last training."""
        stages = [s for s in self.records[0].stages if s.stage in TRAINING_STAGES]
        if not stages:
            raise InputError(f"run {self.name!r} has no training; choose another figure")
        rows = Records(self.store).metrics(stages[-1])
        return training.training(stages[-1].title, rows, self.name)

    def images(self, split: str = "") -> list[str]:
        """Return the ids of the images that have class maps or labels.

        Args:
            split: split of the images (default: the last scored split).

        Raises:
            InputError: the run has no class maps on the split.
        """
        return self._gallery(split).ids()

    def picture(self, image: str = "") -> Image:
        """Return one image with its class maps, labels and true mask side by side.

        Example:
            >>> result = run("lpcam")
            >>> result.picture(result.images()[0])

        Args:
            image: image id (default: the image with the median score).

        Returns:
            A Pillow image, which a notebook shows; the parts have their names above them.

        Raises:
            InputError: the run has no class maps or labels of the image.
        """
        artifacts = ArtifactCache(self.store)
        galleries = [
            Gallery(artifacts, self.records[0], split)
            for split in splits_with_images(self.records[0], artifacts)
        ]
        if not image:
            example = next((e for g in galleries if (e := example_image.example(g))), None)
            image = example.id if example else next((id for g in galleries for id in g.ids()), "")
        gallery = next((g for g in galleries if image in g.ids()), None)
        if gallery is None:
            raise InputError(
                f"run {self.name!r} has no class maps of image {image!r}; images() lists its images"
            )
        return example_image.titled_picture(gallery, image)

    def _gallery(self, split: str) -> Gallery:
        artifacts = ArtifactCache(self.store)
        splits = splits_with_images(self.records[0], artifacts)
        _check("split", split := split or next(iter(splits), ""), splits)
        return Gallery(artifacts, self.records[0], split)


class Comparison(Scored):
    """The result of `compare`: the scores of several methods in one table.

    Args:
        store: the store that holds the runs.
        rows: title, result and runs of each row.
    """

    def __init__(self, store: Store, rows: Sequence[Row]) -> None:
        self.store, self.rows = store, tuple(rows)

    @property
    def table(self) -> Table:
        return comparison_table(self.rows)

    @property
    def runs(self) -> dict[str, RunResult]:
        """The runs by title; a title whose class maps are scored by another run has that run."""
        return {title: RunResult(self.store, records) for title, _, records in self.rows}

    def picture(self) -> Image:
        """Return five images, from the lowest to the highest score, as rows of one picture.

        The columns are image, each result of the table, and true mask.

        Example:
            >>> compare(["cam", "lpcam"]).picture().save("comparison.png")

        Raises:
            InputError: no result has class maps or labels with scores.
        """
        return strip(columns_of(ArtifactCache(self.store), self.rows))


class SweepResult(Scored):
    """The result of `sweep`; its table compares the best point with the untuned preset.

    Args:
        store: the store that holds the sweep and its runs.
        record: the record of the sweep.
        untuned: the runs of the untuned preset, one for each random seed.
        best: the runs of the best point, one for each random seed.
    """

    def __init__(
        self,
        store: Store,
        record: SweepRecord,
        untuned: Sequence[RunRecord],
        best: Sequence[RunRecord],
    ) -> None:
        self.store, self.record = store, record
        self.untuned, self.best = RunResult(store, untuned), RunResult(store, best)

    @property
    def table(self) -> Table:
        named = {"untuned": self.untuned.records, "tuned": self.best.records}
        rows = [row for title, runs in named.items() for row in _rows(title, runs)]
        return comparison_table(rows)

    @property
    def trials(self) -> Frame:
        """All trials, one row each: parameters, random seed, status, objective, seconds and error.

        The objective, `mIoU`, is in percent, on the split of the sweep.
        """
        labels = self.record.labels
        return frame_of(
            [
                {
                    **{labels[field]: value for field, value in trial.params.items()},
                    "seed": trial.seed,
                    "status": trial.status,
                    "mIoU": None if trial.value is None else 100 * trial.value,
                    "seconds": trial.seconds,
                    "error": trial.error,
                }
                for trial in self.record.trials
            ]
        )

    def figure(self, kind: str = "parallel") -> go.Figure:
        """Return a figure of the trials.

        Example:
            >>> sweep("lpcam").figure("importance")

        Args:
            kind: `parallel` (parallel coordinates), `sensitivity` (objective by parameter),
                `importance` (of each parameter), `history` (objective by trial), or `pairs` (of the
                most important parameters).

        Raises:
            InputError: there is no such kind.
        """
        record = drawable_sweep(self.record)
        figures = {
            "parallel": lambda: parallel_coordinates(record),
            "sensitivity": lambda: sensitivity(record),
            "importance": lambda: optimization.importance(record, optimization.importances(record)),
            "history": lambda: optimization.history(record),
            "pairs": lambda: optimization.pairs(record, optimization.importances(record)),
        }
        _check("figure", kind, figures)
        return _plotly(figures[kind]())

    def __repr__(self) -> str:
        return "\n".join([*leaders(self.record), str(self.table)])


def _rows(title: str, runs: Sequence[RunRecord]) -> list[Row]:
    return table_rows(title, runs[0].subject, runs)


def open_run(name: str, *, store: str | Path | None = None) -> RunResult:
    """Return the result of a finished run, also of one that the command line carried out.

    Example:
        >>> open_run("lpcam-scenes-1f2e3d4c").frame

    Args:
        name: name of the record.
        store: folder or s3://BUCKET/PREFIX, as in `Choices`.

    Raises:
        InputError: the store holds no such run.
    """
    opened = store_at(store)
    return RunResult(opened, [read_run(opened.location("runs", check_name(name), "run.json"))])


def open_sweep(name: str, *, store: str | Path | None = None) -> SweepResult:
    """Return the result of a finished sweep, with the runs of the first random seed.

    Args:
        name: name of the record.
        store: folder or s3://BUCKET/PREFIX, as in `Choices`.

    Raises:
        InputError: the store holds no such sweep, or the sweep was broken off before its end.
    """
    opened = store_at(store)
    record = read_sweep(opened.location("sweeps", check_name(name), "sweep.json"))
    if not record.run or not record.untuned:
        raise InputError(f"sweep {name!r} has not scored its best point; run it again to the end")
    untuned, best = (
        [read_run(opened.location("runs", run, "run.json"))] for run in (record.untuned, record.run)
    )
    return SweepResult(opened, record, untuned, best)


def _check(noun: str, word: str, known: Sequence[str] | Mapping[str, object]) -> None:
    """Check that a word is known.

    Raises:
        InputError: it is not; the message lists the known words.
    """
    if word not in known:
        raise InputError(f"unknown {noun} {word!r}; there are {', '.join(known) or 'none'}")
