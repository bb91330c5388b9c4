"""The whole configuration of an experiment, and how one is made from a method and its preset.

A config slice (`Experiment.training`, `.views`, ...) holds just what one stage reads, so that a
change of one recomputes nothing that does not depend on it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError
from ..metrics import THRESHOLDS
from ..ops.crf import CRFS
from .fields import AUTO, Options, bounds, is_auto, option, replaced, walk

SEGMENTERS = ("deeplabv2", "upernet")


@dataclass(frozen=True, kw_only=True)
class Network(Options):
    """The backbone that is trained."""

    backbone: str = option("resnet50", "one of `wsss doctor`'s backbones")
    weights: str | None = option(
        None, "local file of ImageNet weights (.pth), none: train from scratch", file=True
    )
    frozen_stages: int = option(
        0,
        "first stages without gradient (IRN: 2; LPCAM, ReCAM: 0, whose code still freezes the "
        "first convolution; here it belongs to stage 1)",
        low=0,
        high=4,
    )


@dataclass(frozen=True, kw_only=True)
class Training(Options):
    """A network's training; defaults are the classifier's (IRN train_cam unless noted)."""

    split: str = option("train_aug", "what is learnt; in refine and segment, none: training.split")
    epochs: int = option(5, "passes over the split", low=1, high=100_000)
    batch_size: int = option(16, "images per step, over all workers", low=1, high=65_536)
    lr: float = option(0.1, "learning rate of the backbone at the first step", low=0, high=1_000)
    head_factor: float = option(
        10.0, "the head's learning rate over the backbone's", low=0, high=1_000_000
    )
    optimizer: str | None = option(None, "none: SGD", choices=(None, "adamw"))
    warm_up: int | None = option(
        None,
        "steps in which the learning rate rises to its first value; none: none",
        low=1,
        high=10_000_000,
    )
    momentum: float = option(
        0.9, "SGD momentum (papers: 0.9; IRN's released code: effectively 1e-4)", low=0, high=1
    )
    weight_decay: float = option(1e-4, "L2 on all trained weights", low=0, high=1_000)
    power: float = option(0.9, "of the polynomial decay, updated every step", low=0, high=100)
    clip_norm: float = option(0.0, "largest gradient norm, 0: no clipping", low=0, high=1_000_000)
    resize: tuple[int, int] = option(
        (320, 640), "range of the long side, pixels", low=8, high=16_384
    )
    rescale: tuple[float, float] | None = option(
        None,
        "range of a factor on the image's own size, in place of training.resize",
        low=0.05,
        high=20,
    )
    crop: int = option(
        512, "side of the crop, pixels; smaller images are padded", low=8, high=16_384
    )
    precision: str = option(
        AUTO,
        "auto is bf16 on a GPU; worth it on a CPU that multiplies bf16 (AVX512-BF16, AMX)",
        choices=(AUTO, "fp32", "bf16"),
    )
    compiled: bool = option(
        False,
        "the backbone runs as one compiled graph: half a minute or more at the start; not where a "
        "ResNet's boundaries are learnt",
    )
    workers: int = option(1, "Ray Train workers", low=1, high=4_096)
    shuffle_rows: int = option(256, "decoded rows kept for local shuffling", low=1, high=1_000_000)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("resize", "rescale"):
            span = getattr(self, name)
            if span and span[0] > span[1]:
                raise InputError(f"{name} is {span!r}; the smaller one comes first")


@dataclass(frozen=True, kw_only=True)
class Views(Options):
    """How images are looked at for class maps (IRN make_cam), and what is kept of that."""

    scales: tuple[float, ...] = option(
        (1.0, 0.5, 1.5, 2.0),
        "image scales, each with its mirror image; 1 comes first",
        low=0.1,
        high=16,
        some=True,
    )
    precision: str = option(
        "fp32",
        "of every inference; bf16 on a GPU, or a CPU that multiplies it",
        choices=("fp32", "bf16"),
    )
    batch_size: int = option(
        8, "images of one shape looked at together on a GPU", low=1, high=65_536, machine=True
    )
    actors: int = option(
        0, "inference actors, 0: one a GPU, or a core", low=0, high=4_096, machine=True
    )
    kept_gib: float = option(
        4.0,
        "memory for the features that a clustering keeps, GiB over all nodes; what does not fit is "
        "read again in each of its rounds",
        low=0,
        high=1 << 20,
        machine=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scales[0] != 1:
            raise InputError(f"scales is {self.scales!r}; 1 must come first")


@dataclass(frozen=True, kw_only=True)
class Scoring(Options):
    """On what class maps are scored."""

    splits: tuple[str, ...] = option(
        ("train", "val"), "splits to score, the first is tuned on", some=True
    )
    classes: tuple[str, ...] = option((), "classes that means run over, none: all + background")


@dataclass(frozen=True, kw_only=True)
class Refine(Options):
    """From class maps to pseudo labels (IRN cam_to_ir_label, make_sem_seg)."""

    kind: str = option(
        "",
        "crf; irn; masks: the true ones, for an upper bound; none: class maps are cut",
        choices=("", "crf", "irn", "masks"),
    )
    crf: str = option("irn", "DenseCRF's parameters, see ops.crf.CRFS", choices=tuple(CRFS))
    threshold: float | None = option(
        None,
        "of the seed; none: the best on the first scored split",
        choices=(None, *THRESHOLDS),
    )
    foreground: float | None = option(
        None, "seed threshold of confident foreground; none: 0.15 above", low=0, high=1
    )
    background: float | None = option(
        None, "seed threshold of confident background; none: 0.10 below", low=0, high=1
    )
    power: float = option(1.0, "class maps enter to this power (AdvCAM: 1.5)", low=0.1, high=100)
    walk_power: float = option(
        1.0,
        "class maps enter the random walk to this power (AMN: 1.3); more where they are not near "
        "zero on the background, which the walk would spread",
        low=0.1,
        high=100,
    )
    walk_background: bool = option(
        False,
        "a background that the maps bring walks with them, and no threshold is searched (SIPE's "
        "code); else it is left out and the walked maps are cut. As all of refine, a preset of the "
        "method that is trained says it, not of its localizer",
    )
    final: float | None = option(
        None,
        "threshold after propagation; none: the best on the first scored split",
        choices=(None, *THRESHOLDS),
    )
    boundaries: str = option(
        "own",
        "Boundary network that the walk keeps to: own is the one that these maps teach, baseline "
        "that of the baseline (own where the baseline learnt none, or has another backbone)",
        choices=("own", "baseline"),
    )
    pair_radius: int = option(10, "of the pairs that boundaries are learnt from", low=2, high=64)
    radius: int = option(
        5, "of the random walk's neighbourhood, positions at stride 4", low=2, high=64
    )
    beta: float = option(10.0, "power of the affinities", low=0, high=1_000)
    steps: int = option(256, "of the random walk", low=0, high=1_000_000)
    frozen_stages: int = option(4, "first stages without gradient", low=0, high=4)
    training: Training = field(
        default_factory=lambda: Training(
            split="", epochs=3, batch_size=32, head_factor=1.0, momentum=1e-4, rescale=(0.5, 1.5)
        )
    )


@dataclass(frozen=True, kw_only=True)
class Segment(Options):
    """The segmenter that learns the pseudo labels (deeplab-pytorch)."""

    network: str = option("", "none, deeplabv2 or upernet", choices=("", *SEGMENTERS))
    backbone: str = option("", "its backbone, none: the classifier's")
    weights: str | None = option(
        None, "local file of its backbone's ImageNet weights; none: the classifier's", file=True
    )
    frozen_stages: int = option(0, "first stages without gradient", low=0, high=4)
    stride: int = option(8, "pixels a position of the last stage", choices=(8, 16))
    scales: tuple[float, ...] = option(
        (0.75, 0.5),
        "smaller scales beside the image, in training and of each view",
        low=0.1,
        high=16,
    )
    test_scales: tuple[float, ...] = option(
        (),
        "scales at the test, each with its mirror image, whose probabilities are averaged; none: "
        "the image once; not for the probabilities that PSDPM learns from",
        low=0.1,
        high=16,
    )
    balanced: bool = option(False, "background and foreground count the same, whatever their size")
    crf: str = option("", "DenseCRF at the test, see ops.crf.CRFS", choices=("", *CRFS))
    known: bool = option(
        False,
        "predict only classes of the image's labels: for comparison with seeds and refined labels, "
        "which know them; published figures of segmenters do not",
    )
    splits: tuple[str, ...] = option((), "splits to segment, none: the last scored one")
    iterations: int = option(
        0, "training steps, rounded to whole epochs; 0: training.epochs", low=0, high=1_000_000_000
    )
    training: Training = field(
        default_factory=lambda: Training(
            split="",
            epochs=19,
            batch_size=10,
            lr=2.5e-4,
            weight_decay=5e-4,
            rescale=(0.5, 1.5),
            crop=321,
        )
    )


@dataclass(frozen=True, kw_only=True)
class Experiment(Options):
    """One experiment, from data set to scores."""

    method: str = option("cam", "what is trained, see `wsss methods`; several: sipe+cpal")
    localizer: str = option("", "method that turns the network into class maps, none: the first")
    imported: str = option("", "class maps or labels of others, by the name of `wsss import`")
    data: str = option("scenes", "data set, by the name `wsss data` gave it")
    seed: int = option(0, "of initialisation, order, augmentation and clustering", **bounds("seed"))
    network: Network = field(default_factory=Network)
    training: Training = field(default_factory=Training)
    views: Views = field(default_factory=Views)
    scoring: Scoring = field(default_factory=Scoring)
    refine: Refine = field(default_factory=Refine)
    segment: Segment = field(default_factory=Segment)
    settings: Mapping[str, Options] = field(default_factory=dict)
    baseline: Experiment | None = None
    """What ends with the segmenter that the method learns from."""

    @property
    def trained(self) -> tuple[str, ...]:
        """The methods whose losses are minimised together."""
        return tuple(self.method.split("+"))

    @property
    def localizer_name(self) -> str:
        """The method, or the import, whose class maps are scored."""
        return self.imported or self.localizer or "-".join(self.trained)

    @property
    def combination(self) -> str:
        """METHOD[:LOCALIZER][@BASELINE], as commands and spaces take it."""
        own = ":".join(word for word in (self.method, self.localizer) if word)
        return (
            f"{own}@{self.baseline.imported or self.baseline.combination}" if self.baseline else own
        )

    def as_dict(self) -> dict[str, Any]:
        """Nested plain values."""
        return dataclasses.asdict(self)


def resolved(experiment: Experiment, gpu: bool) -> Experiment:
    """Return the experiment with each `auto` replaced by what it stands for on a machine.

    Args:
        experiment: may hold `auto` in the precision of its trainings; its baseline likewise.
        gpu: whether networks are trained on a GPU.
    """
    precision = "bf16" if gpu else "fp32"
    changes = {name: precision for name, value, f in walk(experiment) if is_auto(value, f)}
    return replaced(experiment, changes) if changes else experiment
