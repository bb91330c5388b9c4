"""The stages of a CLIP method, which trains nothing: from a checkpoint file to class maps.

checkpoint -> network -> tokens -----------------> initial class maps -> class maps
                 |-----> embeddings of texts --------^                     ^
                 |-----> attentions ----------------------------------------'
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...config.fields import values_in_key
from ...errors import InputError
from ...method import CLIPMethod
from ...models.backbones import outline
from ...ray_runtime import cluster
from ...storage.artifact import Stage
from ...storage.artifact_files import ArtifactFolder
from ..checks.splits import largest_pixels
from ..context import Context, Runtime, Step

PATCH_PIXELS, ATTENTION_BYTES = 16 * 16, 20
"""Pixels of a patch of ViT-B/16, and memory in bytes that a pair of patches takes when class maps
are refined: the stored attention in half precision, and some matrices in float32."""
Add = Callable[[Step], Stage]
"""Plans a step, unless it is planned already, and returns its stage."""


@dataclasses.dataclass(frozen=True)
class CLIPStages:
    """The stages of class maps by split.

    Attributes:
        initial: initial class maps.
        refined: class maps.
    """

    initial: Mapping[str, Stage]
    refined: Mapping[str, Stage]


def plan(context: Context, method: CLIPMethod, splits: Sequence[str], add: Add) -> CLIPStages:
    """Plan all stages of a CLIP method.

    Raises:
        InputError: the method has no checkpoint, or a later stage has no weights.
    """
    _check_weights(context, method)
    network = add(_network(method))
    embeddings = add(_embeddings(context, method, network))
    initial, refined = {}, {}
    for split in splits:
        tokens = add(_tower(context, method, network, split, 0))
        initial[split] = add(_initial(context, method, (network, embeddings, tokens), split))
        attention = add(_tower(context, method, network, split, method.attention_blocks))
        refined[split] = add(_refined(context, method, attention, initial[split]))
    return CLIPStages(initial, refined)


def _check_weights(context: Context, method: CLIPMethod) -> None:
    """Check that a boundary network or segmenter does not start from random weights by oversight.

    Raises:
        InputError: a later stage trains a backbone that has published weights, without a file.
    """
    e = context.experiment
    same = e.segment.backbone in ("", e.network.backbone)
    segmented = e.segment.network and not e.segment.weights and same
    if e.network.weights or not (e.refine.kind == "irn" or segmented):
        return
    if outline(e.network.backbone).pretrained:
        stage = "boundary network" if e.refine.kind == "irn" else "segmenter"
        raise InputError(
            f"the {stage} after {method.name} needs weights of its backbone "
            f"{e.network.backbone!r}; set network.backbone and network.weights, as --weights is "
            "the checkpoint of CLIP"
        )


def _network(method: CLIPMethod) -> Step:
    path = method.checkpoint
    if not path:
        raise InputError(
            f"{method.name} needs a checkpoint of CLIP; give it with --weights, e.g. --weights "
            f"ViT-B-16.pt ({method.weights_field})"
        )
    name = method.weights_field.partition(".")[2]
    stage = Stage(
        name="clip",
        version=1,
        config={"weights": values_in_key(method.settings)[name]},
        title=f"read {Path(path).name}",
    )

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        from ...stages.clip import networks

        about = networks.keep(folder, path)
        for note in about["weights"]:
            run.progress.note(note)
        return about

    return Step(stage, compute)


def _embeddings(context: Context, method: CLIPMethod, network: Stage) -> Step:
    texts = method.texts(context.classes)
    stage = Stage(
        name="embeddings",
        version=1,
        config={"texts": texts},
        inputs={"network": network.key},
        title=f"embeddings of {len(texts)} texts",
    )

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        from ...stages.clip import networks

        return networks.embed(folder, run.artifact(network).file(networks.NETWORK), texts)

    return Step(stage, compute)


def _tower(context: Context, method: CLIPMethod, network: Stage, split: str, blocks: int) -> Step:
    """Return the step that keeps attentions of the last blocks, or tokens without `blocks`."""
    position = method.position_embedding
    stage = Stage(
        name="attentions" if blocks else "tokens",
        version=1,
        config={
            "split": split,
            "position": position,
            **({"blocks": blocks} if blocks else {}),
            **context.inference,
        },
        inputs={"shards": context.shards.key, "network": network.key},
        title=f"CLIP {'attentions' if blocks else 'tokens'} of {split}",
    )

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        from ...stages.clip import networks, towers

        cluster.connect()
        job = towers.Job(
            network=run.artifact(network).file(networks.NETWORK),
            position=position,
            blocks=blocks,
            folder=folder,
            views=context.views(),
        )
        free = run.store.storage.free_bytes()
        return towers.run(job, context.pieces(split), free, run.count)

    return Step(stage, compute)


def _initial(
    context: Context, method: CLIPMethod, inputs: tuple[Stage, Stage, Stage], split: str
) -> Step:
    """Return the step of the initial maps, from the network, the embeddings and the tokens."""
    network, embeddings, tokens = inputs
    stage = Stage(
        name="maps",
        version=1,
        config={"method": method.initial, "split": split, **method.revision_settings()},
        inputs={
            "shards": context.shards.key,
            "network": network.key,
            "embeddings": embeddings.key,
            "tokens": tokens.key,
        },
        title=f"{method.initial} maps of {split}",
    )

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        from ...stages.clip import gradient_maps, networks
        from ...stages.inference import actors

        cluster.connect()
        job = gradient_maps.Job(
            method=method,
            classes=len(context.classes),
            network=run.artifact(network).file(networks.NETWORK),
            embeddings=run.artifact(embeddings).file(networks.EMBEDDINGS),
            tokens=run.artifact(tokens).folder,
            folder=folder,
            views=context.views(),
        )
        return actors.compute(gradient_maps.GradientMaps, job, context.pieces(split), run.count)

    return Step(stage, compute)


def _refined(context: Context, method: CLIPMethod, attention: Stage, initial: Stage) -> Step:
    split = initial.config["split"]
    stage = Stage(
        name="maps",
        version=1,
        config={"method": method.name, "split": split, "settings": method.refine_settings()},
        inputs={
            "shards": context.shards.key,
            "attention": attention.key,
            "maps": initial.key,
        },
        title=f"{method.name} maps of {split}",
    )

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        from ...stages.clip import refined_maps

        cluster.connect()
        job = refined_maps.Job(
            method=method,
            attention=run.artifact(attention).folder,
            maps=run.artifact(initial).folder,
            folder=folder,
        )
        patches = largest_pixels(context.shards) // PATCH_PIXELS
        need = min(context.experiment.views.image_bytes, ATTENTION_BYTES * patches**2)
        return refined_maps.compute(job, context.pieces(split), run.count, need)

    return Step(stage, compute)
