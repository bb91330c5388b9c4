"""CLIP-ES: class maps from a frozen CLIP network (Lin et al., CVPR 2023).

The texts of the present classes and of common backgrounds compete in a softmax, whose gradient in
the last block gives the initial maps (softmax-GradCAM). The attentions between patches, made
doubly stochastic, then spread each map from inside its boxes (class-aware affinity).
Shapes: T = 1 + h w tokens, D channels, M texts, E channels of an embedding, K present classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from ..platform.config.experiment import Experiment
from ..platform.config.fields import Options, dataclass, option
from ..platform.config.presets import Preset, irn_default, irn_release, irn_scenes
from ..platform.errors import FieldError, InputError
from ..platform.method import CLIPMethod
from ..platform.models.clip.image_tower import PositionEmbedding, image_embeddings

VOC_BACKGROUND = (
    "ground", "land", "grass", "tree", "building", "wall", "sky", "lake", "water", "river", "sea",
    "railway", "railroad", "keyboard", "helmet", "cloud", "house", "mountain", "ocean", "road",
    "rock", "street", "valley", "bridge", "sign",
)  # fmt: skip
COCO_BACKGROUND = tuple(word for word in VOC_BACKGROUND if word not in ("keyboard", "sign"))
"""The background texts of the authors' code."""
SYNONYMS: Mapping[str, str] = {
    "bird": "bird avian",
    "chair": "chair seat",
    "person": "person with clothes,people,human",
    "tvmonitor": "tvmonitor screen",
    "airplane": "aeroplane",
    "backpack": "backpack,bag",
    "baseball glove": "glove",
    "couch": "sofa",
    "dining table": "diningtable",
    "hair drier": "hairdrier,blowdrier",
    "handbag": "handbag,purse",
    "motorcycle": "motorbike",
    "potted plant": "pottedplant",
    "remote": "remote control",
    "snowboard": "sknowboard",
    "spoon": "dessertspoon",
    "tie": "necktie",
    "tv": "tvmonitor screen",
    "umbrella": "umbrella,parasol",
}
"""The names of classes of VOC and COCO in the texts of the authors' code, with its spellings."""
EPS = 1e-7
"""What is added to the maximum of a map before the map is divided by it."""
NEIGHBOURS = np.ones((3, 3), dtype=int)
"""The 8 neighbours that belong to one component."""


@dataclass(frozen=True, kw_only=True)
class CLIPESConfig(Options):
    """Options of CLIP-ES; the defaults are those of the authors' code for VOC."""

    weights: str | None = option(
        None,
        "Local file of CLIP's weights, as OpenAI publishes it (ViT-B-16.pt), or a file of its "
        "tensors by name; the option --weights sets it.",
        file=True,
    )
    templates: tuple[str, ...] = option(
        ("a clean origami {}.",),
        "Sentences with {} in place of the text; the embedding is their mean.",
        some=True,
    )
    synonyms: bool = option(
        True, "Replace names of VOC's and COCO's classes by the texts of the authors' code."
    )
    names: tuple[str, ...] = option(
        (), "Texts of single classes, each as CLASS=TEXT; they replace names and synonyms."
    )
    background: tuple[str, ...] = option(
        VOC_BACKGROUND,
        "Texts that compete with the present classes; a text that is a class of the data set is "
        "left out (COCO: without keyboard and sign).",
        some=True,
    )
    position: PositionEmbedding = option(
        "clip_es",
        "Resizing of CLIP's position embedding: clip_es: bilinear, rounded to float16, as in the "
        "authors' code; timm: bicubic with antialiasing.",
    )
    blocks: int = option(
        8, "Number of last blocks whose attentions are averaged.", low=1, high=1_000
    )
    rounds: int = option(
        3,
        "Rounds of Sinkhorn normalisation of the attention, by columns and then by rows.",
        low=1,
        high=1_000,
    )
    box_threshold: float = option(
        0.4,
        "Share of a map's maximum above which positions are put into boxes (COCO: 0.7).",
        low=0,
        high=1,
    )
    box_edge: Literal["release", "inclusive"] = option(
        "release",
        "Extent of a box; release: it leaves out the last row and column of the grid, as in the "
        "authors' code; inclusive: it holds all of its component.",
    )

    def __post_init__(self) -> None:
        for template in self.templates:
            if template.count("{}") != 1:
                raise FieldError(f"templates holds {template!r}; put {{}} once in it", "templates")
        for pair in self.names:
            if "" in pair.partition("="):
                raise FieldError(f"names holds {pair!r}; write CLASS=TEXT", "names")


def clip_es_crf(e: Experiment) -> Experiment:
    """Refine with the DenseCRF of the authors' code."""
    return replace(e, refine=replace(e.refine, crf="deeplab"))


def release(e: Experiment) -> Experiment:
    """Refine and segment as the authors' code does."""
    return clip_es_crf(irn_release(e))


def default(e: Experiment) -> Experiment:
    """Compute class maps and DenseCRF as the authors' code, all later stages as CAM's preset."""
    return clip_es_crf(irn_default(e))


def scenes(e: Experiment) -> Experiment:
    """Refine and segment the drawn data set `scenes`."""
    return clip_es_crf(irn_scenes(e))


class CLIPES(CLIPMethod):
    """Class maps of a frozen CLIP network, from texts of the present classes."""

    name = "clip-es"
    source = "Lin et al., CVPR 2023"
    initial = "clip-es-gradcam"
    weights_field = "clip-es.weights"
    refine_options = ("rounds", "box_threshold", "box_edge")
    Config = CLIPESConfig
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(release, CLIPESConfig(box_edge="inclusive")),
        "paper-coco": Preset(
            release,
            CLIPESConfig(background=COCO_BACKGROUND, box_threshold=0.7, box_edge="inclusive"),
        ),
        "release": Preset(release),
        "release-coco": Preset(
            release, CLIPESConfig(background=COCO_BACKGROUND, box_threshold=0.7)
        ),
        "default": Preset(default),
        "scenes": Preset(scenes),
    }
    ablation: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "names of the data set": {"clip-es.synonyms": False},
        "texts of the authors": {},
    }
    settings: CLIPESConfig

    @property
    def checkpoint(self) -> str | None:
        return self.settings.weights

    @property
    def position_embedding(self) -> PositionEmbedding:
        return self.settings.position

    @property
    def attention_blocks(self) -> int:
        return self.settings.blocks

    def texts(self, classes: Sequence[str]) -> list[list[str]]:
        s = self.settings
        given = dict(pair.split("=", 1) for pair in s.names)
        if unknown := [name for name in given if name not in classes]:
            raise InputError(
                f"{self.name}.names holds the class {unknown[0]!r}; the data set has "
                f"{', '.join(classes)}; name one of them"
            )
        names = {**(SYNONYMS if s.synonyms else {}), **given}
        background = [word for word in s.background if word not in classes]
        texts = [*(names.get(name, name) for name in classes), *background]
        return [[template.replace("{}", text) for template in s.templates] for text in texts]

    def gradient_maps(
        self, visual: Any, tokens: Tensor, texts: Tensor, scale: float, present: int
    ) -> Tensor:
        return softmax_gradcam(visual, tokens, texts, scale, present)

    def normalize(self, maps: Tensor) -> Tensor:
        return min_max(maps)

    def refine(self, attention: Tensor, maps: Tensor) -> Tensor:
        s, maps = self.settings, min_max(maps)
        boxes = [box_mask(plane, s.box_threshold, s.box_edge) for plane in maps]
        return min_max(spread(affinity(attention, s.rounds), maps, torch.stack(boxes)))


def softmax_gradcam(
    visual: Any, tokens: Tensor, texts: Tensor, scale: float, present: int
) -> Tensor:
    """Return the softmax-GradCAM of each present class, `[K,hw]`.

    The gradient of the class's log-probability is taken at the input of the last block's attention,
    through the attention alone. It is averaged over the patches to channel weights. The logarithm
    gives the same normalised map as the probability, without its underflow.

    Args:
        visual: image tower.
        tokens: tokens that enter the last block, `[T,D]`.
        texts: unit embeddings of the K present classes, then of the backgrounds, `[K+M,E]`.
        scale: factor on cosines of image and text.
        present: K.
    """
    with torch.no_grad():
        normed = visual.transformer.resblocks[-1].ln_1(tokens[None])
    normed.requires_grad_()
    with torch.enable_grad():
        logits = scale * image_embeddings(visual, tokens[None], normed)[0] @ texts.T
        scores = logits.log_softmax(0)
        weights = [
            torch.autograd.grad(score, normed, retain_graph=True)[0][0, 1:].mean(0)
            for score in scores[:present]
        ]
    return F.relu(torch.stack(weights) @ normed.detach()[0, 1:].T)


def min_max(maps: Tensor) -> Tensor:
    """Return maps `[K,h,w]` whose values begin at 0 and end just below 1; constant maps are 0."""
    maps = maps - maps.amin((1, 2), keepdim=True)
    return maps / (EPS + maps.amax((1, 2), keepdim=True))


def affinity(attention: Tensor, rounds: int) -> Tensor:
    """Return the symmetric affinity of patches from an attention `[hw,hw]`.

    Each round divides columns by their sums, then rows by theirs; the result is the mean of the
    matrix and its transpose. A factor on the attention has no effect.
    """
    for _ in range(rounds):
        attention = attention / attention.sum(0, keepdim=True)
        attention = attention / attention.sum(1, keepdim=True)
    return (attention + attention.T) / 2


def box_mask(plane: Tensor, threshold: float, edge: Literal["release", "inclusive"]) -> Tensor:
    """Return where a map `[h,w]` in 0..1 lies in a box around one of its high components.

    Map and threshold are rounded down to 256 steps. A component is a set of 8-connected positions
    above `threshold` times the maximum; its box is the smallest one.

    Args:
        plane: the map.
        threshold: share of the maximum.
        edge: `release`: no box has the last row or column of the grid; `inclusive`: it may.

    Returns:
        Bool `[h,w]`; false everywhere for a map of zeros.
    """
    steps = (255 * plane).floor().to(torch.uint8).cpu().numpy()
    components, _ = ndimage.label(steps > int(threshold * steps.max()), NEIGHBOURS)
    mask = torch.zeros(plane.shape, dtype=torch.bool, device=plane.device)
    last = 1 if edge == "release" else 0
    height, width = plane.shape
    for rows, columns in ndimage.find_objects(components):
        bottom, right = min(rows.stop, height - last), min(columns.stop, width - last)
        mask[rows.start : bottom, columns.start : right] = True
    return mask


def spread(affinity: Tensor, maps: Tensor, sources: Tensor) -> Tensor:
    """Return the values that each position takes from the sources of a map in two steps.

    The mask restricts the positions that values come from, not the positions that take them.

    Args:
        affinity: `[hw,hw]`, symmetric.
        maps: `[K,h,w]`.
        sources: bool `[K,h,w]`.

    Returns:
        `[K,h,w]`.
    """
    values = (maps * sources).flatten(1).T
    return (affinity @ (affinity @ values)).T.reshape(maps.shape)
