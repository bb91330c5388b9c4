"""Configuration of an experiment, in one group of options for each stage of the pipeline.

A group, such as `Experiment.training`, holds only the options that one stage reads, so that a
change of one option recomputes only the stages that depend on it.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from ..errors import FieldError
from ..ops.crf import CRFBackend, CRFName
from ..records.result_id import RefinementName
from .fields import AUTO, Options, dataclass, option
from .groups.network import Network
from .groups.training import Training
from .limits import bounds
from .refiners.par import PixelAdaptive
from .refiners.segments import SegmentMerging
from .rules import Threshold

Enlarging = Literal["stretch", "irn"]
SegmenterName = Literal["deeplabv2", "upernet"]
SEGMENTERS: tuple[SegmenterName, ...] = typing.get_args(SegmenterName)


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
        "Number of inference actors; 0: as many as the GPUs have memory for (image_gib each, and "
        "at most four a GPU), or one for each core, if the memory is enough for large images.",
        low=0,
        high=4_096,
        machine=True,
    )
    kept_gib: float = option(
        4.0,
        "Memory for the features that k-means keeps without a GPU, in GiB over all nodes; features "
        "that do not fit are read again in each round. GPUs keep as many as fit in their memory.",
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

    enlarging: Enlarging = option(
        "stretch",
        "Enlargement of class maps and boundaries: stretch, of maps stored at stride 4, over the "
        "image; irn (IRN's code): to multiples of 16, cut to the image and stored at its size, "
        "which takes 16 times the space.",
        added=True,
    )

    @property
    def enlarging_key(self) -> dict[str, str]:
        """The rule of enlarging, which enters the keys of stages where it is not the default."""
        return {} if self.enlarging == "stretch" else {"enlarging": self.enlarging}

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
        ("train", "val"), "Splits to score; thresholds come from the first with masks.", some=True
    )
    classes: tuple[str, ...] = option(
        (), "Classes that mean scores run over, with the background; empty: all classes."
    )


@dataclass(frozen=True, kw_only=True)
class Refine(Options):
    """Options of the refinement of class maps into pseudo labels.

    Source: IRN's cam_to_ir_label and make_sem_seg.
    """

    kind: Literal["", RefinementName] = option(
        "",
        "Refinement: crf; irn; par; segments; masks: the true masks, for an upper bound; empty: "
        "class maps are cut at a threshold.",
    )
    crf: CRFName = option(
        "irn",
        "Source of the DenseCRF parameters where kind is crf: irn, psa, deeplab, mctformer or "
        "seam; the certain labels of IRN always take those of irn.",
    )
    crf_backend: Literal["auto", CRFBackend] = option(
        AUTO,
        "Library that computes every DenseCRF, also of segment.crf: pydensecrf, on CPUs, or torch, "
        "on GPUs if there are any; auto: torch where there is a GPU, else pydensecrf.",
        added=True,
        auto=("torch", "pydensecrf"),
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
        "Power to which class maps and refine.threshold are raised before the maps are cut for "
        "DenseCRF (AdvCAM: 1.5).",
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
    pairs: Literal["all", "interior"] = option(
        "all",
        "Positions whose pairs are learnt from: all, or interior (IRN's code): those that have all "
        "their neighbours in the crop.",
        added=True,
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
    par: PixelAdaptive = field(default_factory=PixelAdaptive)
    segments: SegmentMerging = field(default_factory=SegmentMerging)

    @property
    def last_threshold(self) -> float | None:
        """The threshold that is given for the refined result; None: the best one."""
        by_kind = {"par": self.par.threshold, "segments": self.segments.threshold}
        return by_kind.get(self.kind, self.final)


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
    stride: Literal[8, 16] = option(
        8, "Stride of the last stage of deeplabv2, in pixels: 8 or 16; upernet does not use it."
    )
    scales: tuple[float, ...] = option(
        (0.75, 0.5),
        "Smaller scales that deeplabv2 sees beside the image, in training and at inference; "
        "upernet does not use them.",
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
        inner = self.baseline and (self.baseline.imported or self.baseline.combination)
        return f"{text}@{inner}" if inner else text
