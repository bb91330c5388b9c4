"""Class maps from which labels are cut, and the stage that cuts them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...config.experiment import Experiment, Refine
from ...config.presets import USUAL_THRESHOLDS
from ...errors import InputError
from ...ops.crf import CRFS
from ...ray_runtime import cluster
from ...records.result_id import ResultId
from ...storage.artifact import Stage
from ...storage.artifact_files import ArtifactFolder
from ..checks.splits import largest_pixels
from ..context import Context, Runtime, Step

if TYPE_CHECKING:
    from ...stages.labels.pseudo_labels import Cut

ABOVE, BELOW = 0.15, 0.10
"""Distances of the certain levels from the seed's threshold (a rule of thumb of ReCAM's author)."""


def unchosen_thresholds(
    experiment: Experiment, own: bool, published: Refine | None
) -> dict[str, float]:
    """Return values for the thresholds that scores would choose, by name in `refine`.

    They are those that were published with the method. The threshold of the seed, which no method
    publishes, lies ABOVE below the threshold of certain foreground.

    Args:
        experiment: an experiment of which no split is scored.
        own: whether the class maps have a background plane of their own.
        published: options of refinement that were published with the method; None: nothing was.

    Raises:
        InputError: nothing was published with the method.
    """
    r = experiment.refine
    open_names = [name for name in _needed(r, own) if _value(r, name) is None]
    nothing = published is None or published.foreground is None
    if open_names and (nothing or "par.threshold" in open_names):
        raise InputError(
            f"no image of {' or '.join(experiment.scoring.splits)} of data set "
            f"{experiment.data!r} has a mask, so no score chooses refine.{open_names[0]}; set it, "
            f"for example --set refine.{open_names[0]}={USUAL_THRESHOLDS[open_names[0]]}"
        )
    if published is None or published.foreground is None:
        return {}
    seed = round(published.foreground - ABOVE, 2)
    values = {**vars(published), "threshold": seed, "segments.threshold": seed}
    return {name: values[name] for name in open_names}


def _needed(r: Refine, own: bool) -> list[str]:
    """Return the names of the thresholds that a refinement reads where they are set."""
    if r.kind == "irn":
        certain = [] if own or r.threshold is not None else ["foreground", "background"]
        return certain + ([] if own and r.walk_background else ["final"])
    if own or r.kind == "masks" or (r.kind == "par" and r.par.pair):
        return []
    return [{"par": "par.threshold", "segments": "segments.threshold"}.get(r.kind, "threshold")]


def _value(r: Refine, name: str) -> object:
    """Return the value of an option of refinement by its dotted name."""
    return functools.reduce(getattr, name.split("."), r)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeedMaps:
    """Class maps from which labels are cut.

    Attributes:
        id: name of the class maps.
        maps: stages of the class maps, by split.
        scored: stage of the scores on the first scored split, which choose the threshold; None
            where no split is scored.
        own: whether the maps have a background plane of their own, so that no threshold is chosen.
    """

    id: ResultId
    maps: Mapping[str, Stage]
    scored: Stage | None
    own: bool

    def best(self, context: Context, run: Runtime, power: float) -> float:
        """Return the best threshold on the first scored split, for the maps raised to a power."""
        assert self.scored is not None
        split = context.scored_splits[0]
        return float(run.read_score(context, self.scored, split).threshold ** power)

    def key(self, context: Context, split: str, fixed: bool) -> dict[str, Any]:
        """Return the arguments `config` and `inputs` of a `Stage` that reads these maps.

        Where the threshold is not fixed they include the scores that choose it.
        """
        chosen = not fixed and not self.own
        assert self.scored is not None or not chosen
        scores = {"scores": self.scored.key} if self.scored and chosen else {}
        return {
            "config": {"split": split, **({"scored": context.scored} if chosen else {})},
            "inputs": {"shards": context.shards.key, "maps": self.maps[split].key, **scores},
        }


def raised(threshold: float | None, power: float) -> float | None:
    """Return a given threshold as class maps that are raised to a power are cut at it."""
    return threshold if threshold is None or power == 1 else float(threshold**power)


def labels(context: Context, seeds: SeedMaps, split: str, crf: str, fixed: float | None) -> Step:
    """Return the step that cuts the class maps of a split into labels.

    Args:
        context: context of the experiment.
        seeds: class maps.
        split: split to label.
        crf: name of the DenseCRF that refines the labels, or empty. Before it the class maps and
            the threshold are raised to `refine.power`.
        fixed: threshold; None for the best one.
    """
    power = context.experiment.refine.power if crf else 1.0
    fixed, soft = raised(fixed, power), bool(crf) and not CRFS[crf].certainty
    key = seeds.key(context, split, fixed is not None)
    stage = Stage(
        name="labels",
        version=1,
        config={
            **key["config"],
            "crf": dataclasses.asdict(CRFS[crf]) if crf else None,
            "level": None if seeds.own else fixed,
            "power": power,
            **(context.crf_key if crf else {}),
            **({"background": "power"} if soft and not seeds.own else {}),
        },
        inputs=key["inputs"],
        title=f"{seeds.id} {'DenseCRF' if crf else 'seeds'} of {split}",
    )

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        level = 1.0 if seeds.own else seeds.best(context, run, power) if fixed is None else fixed
        return cut_seeds(context, run, folder, seeds, split, (level,), crf, power)

    return Step(stage, compute)


def cut_seeds(
    context: Context,
    run: Runtime,
    folder: ArtifactFolder,
    seeds: SeedMaps,
    split: str,
    levels: tuple[float, ...],
    crf: str,
    power: float,
) -> dict[str, Any]:
    """Cut the class maps of a split into labels, see `stages.labels.pseudo_labels.Cut`."""
    from ...stages.labels.pseudo_labels import Cut

    rule = Cut(levels=levels, crf=CRFS[crf] if crf else None, power=power)
    return cut_maps(context, run, folder, seeds.maps[split], split, rule)


def cut_maps(
    context: Context, run: Runtime, folder: ArtifactFolder, maps: Stage, split: str, cut: Cut
) -> dict[str, Any]:
    """Write the labels of a split, which a rule cuts from class maps, with the DenseCRF's backend.

    Args:
        context: context of the experiment, which gives the backend and the limit on the memory.
        run: surroundings of the computation.
        folder: empty folder that takes the files.
        maps: stage of the class maps.
        split: split to label.
        cut: the rule.

    Returns:
        Facts about the artifact for its manifest.
    """
    from ...stages.inference import actors
    from ...stages.labels import batched_labels, pseudo_labels

    cluster.connect()
    cut = dataclasses.replace(cut, most_bytes=context.experiment.views.image_bytes)
    files, pieces = run.artifact(maps).files(".parquet"), context.pieces(split)
    if cut.crf and context.experiment.refine.crf_backend == "torch":
        by_name = {file.stem: file for file in files}
        job = batched_labels.Job(cut=cut, maps=by_name, folder=folder, views=context.views())
        return actors.compute(batched_labels.Label, job, pieces, run.count)
    largest = largest_pixels(context.shards)
    return pseudo_labels.make(folder, pieces, files, cut, run.count, largest)
