"""Configuration of an experiment, in one slice for each stage of the pipeline.

A slice, such as `Experiment.training`, holds only the options that one stage reads, so that a
change of one option recomputes only the stages that depend on it.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Literal

from pydantic import AfterValidator

from ..errors import FieldError
from ..metrics import THRESHOLDS
from ..ops.crf import CRFName
from .fields import AUTO, Options, dataclass, option
from .limits import bounds
from .slices.network import Network as Network

SegmenterName = Literal["deeplabv2", "upernet"]
SEGMENTERS: tuple[SegmenterName, ...] = typing.get_args(SegmenterName)


def _threshold(value: float) -> float:
    if value not in THRESHOLDS:
        raise ValueError("one of 0, 0.01, 0.02 and so on up to 0.99, or none")
    return value


Threshold = Annotated[float, AfterValidator(_threshold)]
"""A threshold at which scores are computed, one of `metrics.THRESHOLDS`."""


@dataclass(frozen=True, kw_only=True)
class Training(Options):
    """Options of a network's training; defaults are the classifier's (IRN's train_cam)."""

    split: str = option(
        "train_aug", "Split to train on; in refine and segment, empty: training.split."
    )
    epochs: int = option(5, "Number of passes over the split.", low=1, high=100_000)
    batch_size: int = option(16, "Images per step, over all workers.", low=1, high=65_536)
    lr: float = option(0.1, "Learning rate of the backbone at the first step.", low=0, high=1_000)
    head_factor: float = option(
        10.0, "Ratio of the head's learning rate to the backbone's.", low=0, high=1_000_000
    )
    optimizer: Literal["adamw"] | None = option(None, "Optimizer: adamw; none: SGD with momentum.")
    warm_up: int | None = option(
        None,
        "Steps in which the learning rate rises to its first value; none: no warm-up.",
        low=1,
        high=10_000_000,
    )
    momentum: float = option(
        0.9,
        "Momentum of SGD (the papers based on IRN print 0.9, with which a learning rate of 0.1 "
        "diverges; their code: in effect 1e-4).",
        low=0,
        high=1,
    )
    weight_decay: float = option(1e-4, "L2 penalty on all trained weights.", low=0, high=1_000)
    power: float = option(
        0.9,
        "Power of the polynomial decay of the learning rate, updated at every step.",
        low=0,
        high=100,
    )
    schedule: Literal["deit"] | None = option(
        None,
        "Course of the learning rate; deit: by epochs, 5 of warm-up from 1e-6, then a cosine to "
        "1e-5 (DeiT's and MCTformer's code); none: polynomial decay at every step.",
        added=True,
    )
    clip_norm: float = option(
        0.0, "Largest norm of the gradient; 0: no clipping.", low=0, high=1_000_000
    )
    resize: tuple[int, int] = option(
        (320, 640), "Range of the long side of resized images, in pixels.", low=8, high=16_384
    )
    rescale: tuple[float, float] | None = option(
        None,
        "Range of the factor by which an image is resized; none: training.resize holds instead.",
        low=0.05,
        high=20,
    )
    factors: tuple[float, ...] = option(
        (),
        "Factors of which one is drawn for each image, in place of training.rescale; empty: that "
        "range holds.",
        low=0.05,
        high=20,
        added=True,
    )
    area: tuple[float, float] | None = option(
        None,
        "Range of the share of the image's area that the crop shows, stretched by up to 3/4 or 4/3 "
        "(torchvision's RandomResizedCrop); none: training.resize or training.rescale holds.",
        low=0.01,
        high=1,
        added=True,
    )
    crop: int = option(
        512, "Side of the square crop, in pixels; smaller images are padded.", low=8, high=16_384
    )
    precision: Literal["auto", "fp32", "bf16"] = option(
        AUTO,
        "Precision of training; auto: bf16 on a GPU, else fp32; bf16 is also faster on a CPU with "
        "instructions for it (AVX512-BF16, AMX).",
    )
    compiled: bool = option(
        False,
        "Run the backbone as one compiled graph, which costs half a minute or more at the start; "
        "has no effect on a boundary network with a ResNet.",
    )
    workers: int = option(1, "Number of Ray Train workers.", low=1, high=4_096)
    shuffle_rows: int = option(
        256, "Decoded rows that a worker keeps for local shuffling.", low=1, high=1_000_000
    )

    def __post_init__(self) -> None:
        for name in ("resize", "rescale", "area"):
            span = getattr(self, name)
            if span and span[0] > span[1]:
                raise FieldError(f"{name} is {span!r}; the smaller value must come first", name)


@dataclass(frozen=True, kw_only=True)
class Views(Options):
    """Options of inference, by which class maps are computed (IRN's make_cam)."""

    scales: tuple[float, ...] = option(
        (1.0, 0.5, 1.5, 2.0),
        "Scales of an image, each also mirrored; 1 must come first.",
        low=0.1,
        high=16,
        some=True,
    )
    precision: Literal["fp32", "bf16"] = option(
        "fp32",
        "Precision of every inference; bf16 is for a GPU, or a CPU with instructions for it.",
    )
    batch_size: int = option(
        8, "Images, all of one shape, per batch on a GPU.", low=1, high=65_536, machine=True
    )
    actors: int = option(
        0,
        "Number of inference actors; 0: one for each GPU, or else for each core.",
        low=0,
        high=4_096,
        machine=True,
    )
    kept_gib: float = option(
        4.0,
        "Memory for the features that are clustered, in GiB over all nodes; features that do not "
        "fit are read again in each round of k-means.",
        low=0,
        high=1 << 20,
        machine=True,
    )
    image_gib: float = option(
        8.0,
        "Memory that one image may take, in GiB; of a larger image the views are made smaller (to "
        "about a megapixel a GiB), the random walk has a coarser grid, and DenseCRF is left out.",
        low=0.1,
        high=1 << 20,
    )

    @property
    def image_bytes(self) -> int:
        """The memory in bytes that one image may take."""
        return int(self.image_gib * 2**30)

    def __post_init__(self) -> None:
        if self.scales[0] != 1:
            raise FieldError(f"scales is {self.scales!r}; 1 must come first", "scales")


@dataclass(frozen=True, kw_only=True)
class Scoring(Options):
    """Options of the evaluation: splits and classes."""

    splits: tuple[str, ...] = option(
        ("train", "val"), "Splits to score; thresholds are chosen on the first split.", some=True
    )
    classes: tuple[str, ...] = option(
        (), "Classes that mean scores run over, with the background; empty: all classes."
    )


@dataclass(frozen=True, kw_only=True)
class Refine(Options):
    """Options of the refinement of class maps into pseudo labels.

    Source: IRN's cam_to_ir_label and make_sem_seg.
    """

    kind: Literal["", "crf", "irn", "masks"] = option(
        "",
        "Refinement: crf; irn; masks: the true masks, for an upper bound; empty: class maps are "
        "cut at a threshold.",
    )
    crf: CRFName = option(
        "irn", "Source of the DenseCRF parameters: irn, psa, deeplab, mctformer or seam."
    )
    threshold: Threshold | None = option(
        None, "Threshold of the seed; none: the best on the first scored split.", low=0, high=0.99
    )
    foreground: float | None = option(
        None,
        "Seed threshold of confident foreground; none: 0.15 above the seed's threshold.",
        low=0,
        high=1,
    )
    background: float | None = option(
        None,
        "Seed threshold of confident background; none: 0.10 below the seed's threshold.",
        low=0,
        high=1,
    )
    power: float = option(
        1.0,
        "Power to which class maps are raised before they are cut for DenseCRF (AdvCAM: 1.5).",
        low=0.1,
        high=100,
    )
    walk_power: float = option(
        1.0,
        "Power to which class maps are raised before the random walk (AMN: 1.3); a higher power "
        "suits maps that are not near zero on the background, which the walk would spread.",
        low=0.1,
        high=100,
    )
    walk_background: bool = option(
        False,
        "Propagate the background plane of a method that computes one, without a threshold (SIPE's "
        "code); otherwise the plane is left out and the propagated maps are cut at a threshold. "
        "Set by the preset of the trained method, not of its localizer.",
    )
    final: Threshold | None = option(
        None,
        "Threshold after the random walk; none: the best on the first scored split.",
        low=0,
        high=0.99,
    )
    boundaries: Literal["own", "baseline"] = option(
        "own",
        "Boundary network of the random walk: own, which learns from the class maps; baseline, "
        "which the baseline trained (own where it trained none or has another backbone).",
    )
    pair_radius: int = option(
        10,
        "Largest distance of the pairs that boundaries are learnt from, in positions at stride 4.",
        low=2,
        high=64,
    )
    radius: int = option(5, "Radius of the random walk, in positions at stride 4.", low=2, high=64)
    beta: float = option(10.0, "Power to which the affinities are raised.", low=0, high=1_000)
    steps: int = option(256, "Number of steps of the random walk.", low=0, high=1_000_000)
    frozen_stages: int = option(
        4, "Number of first stages of the boundary network that are not trained.", low=0, high=4
    )
    training: Training = field(
        default_factory=lambda: Training(
            split="", epochs=3, batch_size=32, head_factor=1.0, momentum=1e-4, rescale=(0.5, 1.5)
        )
    )


@dataclass(frozen=True, kw_only=True)
class Segment(Options):
    """Options of the segmenter trained on the pseudo labels (source: deeplab-pytorch)."""

    network: Literal["", SegmenterName] = option(
        "", "Segmenter: deeplabv2 or upernet; empty: no segmenter."
    )
    backbone: str = option("", "Backbone of the segmenter; empty: the classifier's.")
    weights: str | None = option(
        None,
        "Local file of ImageNet weights for the segmenter's backbone; none: the classifier's.",
        file=True,
    )
    weights_key: str = option(
        "",
        "Key or prefix of the network to read from segment.weights if it holds several, such "
        "as teacher; empty: the only network.",
        added=True,
    )
    frozen_stages: int = option(
        0, "Number of first stages of the segmenter that are not trained.", low=0, high=4
    )
    stride: Literal[8, 16] = option(8, "Stride of the last stage, in pixels: 8 or 16.")
    scales: tuple[float, ...] = option(
        (0.75, 0.5),
        "Smaller scales that the segmenter sees beside the image, in training and at inference.",
        low=0.1,
        high=16,
    )
    test_scales: tuple[float, ...] = option(
        (),
        "Scales at inference, each also mirrored, over which probabilities are averaged; empty: "
        "the image once; not used for the probabilities that PSDPM learns from.",
        low=0.1,
        high=16,
    )
    balanced: bool = option(
        False, "Give background and foreground the same weight in the loss, whatever their size."
    )
    crf: Literal["", CRFName] = option(
        "",
        "DenseCRF parameters for the segmenter's predictions, as in refine.crf; empty: no "
        "DenseCRF.",
    )
    known: bool = option(
        False,
        "Predict only classes among the image's labels, to compare with seeds and refined labels, "
        "which use the labels too; published scores of segmenters do not.",
    )
    splits: tuple[str, ...] = option((), "Splits to segment; empty: the last scored split.")
    iterations: int = option(
        0,
        "Training steps, rounded to whole epochs; 0: segment.training.epochs holds instead.",
        low=0,
        high=1_000_000_000,
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
    """Configuration of one experiment, from data set to scores."""

    method: str = option(
        "cam", "Method to train; several joined by + train one network, e.g. sipe+cpal."
    )
    localizer: str = option(
        "", "Method that turns the network into class maps; empty: the first trained method."
    )
    imported: str = option(
        "", "Class maps or labels of another project, by their name in `wsss import`."
    )
    data: str = option("scenes", "Data set, by its name in `wsss data`.")
    seed: int = option(
        0,
        "Random seed for initialisation, data order, augmentation and clustering.",
        **bounds("seed"),
    )
    network: Network = field(default_factory=Network)
    training: Training = field(default_factory=Training)
    views: Views = field(default_factory=Views)
    scoring: Scoring = field(default_factory=Scoring)
    refine: Refine = field(default_factory=Refine)
    segment: Segment = field(default_factory=Segment)
    settings: Mapping[str, Options] = field(default_factory=dict)
    baseline: Experiment | None = None
    """The experiment whose segmenter the method learns from; None: the method needs none."""

    @property
    def trained(self) -> tuple[str, ...]:
        """Return the names of the methods whose losses are minimised together."""
        return tuple(self.method.split("+"))

    @property
    def localizer_name(self) -> str:
        """Return the name of the method or import whose class maps are scored."""
        return self.imported or self.localizer or "-".join(self.trained)

    @property
    def combination(self) -> str:
        """Return METHOD[:LOCALIZER][@BASELINE], as commands and search spaces take it."""
        text = ":".join(word for word in (self.method, self.localizer) if word)
        return (
            f"{text}@{self.baseline.imported or self.baseline.combination}"
            if self.baseline
            else text
        )
