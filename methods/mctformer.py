"""MCTformer: class maps from the attention of class tokens (Xu et al., CVPR 2022).

A vision transformer has one class token for each class, whose mean channel is the class score. The
attention of a class token to the patches is a class map; a convolution on the patch tokens gives
another (PatchCAM). Their product is spread by the attention between patches.
Shapes: B batch, N foreground classes, D channels, H W pixels, h w grid of patches, T = h w.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..platform.config.experiment import Experiment
from ..platform.config.fields import Options, dataclass, option
from ..platform.config.presets import Preset, freeze, irn_default, irn_scenes
from ..platform.errors import InputError
from ..platform.method import Batch, Method
from ..platform.models.backbones import Backbone
from ..platform.models.backbones.from_timm.attention import AttentionSum, summed_attention
from ..platform.models.backbones.from_timm.vit import ViT
from ..platform.models.classifier import Classifier, soft_margin
from ..platform.models.network import ParameterGroup
from ..platform.ops.maps import merge_flip, normalize_range

TOKENS = "class tokens"
"""The name of the class tokens `[B,N,D]` among the features of a network."""
MOST_PAIRS = 2**25
"""Most values of attention between patches of several views at once, 128 MiB in float32."""


@dataclass(frozen=True, kw_only=True)
class MCTformerConfig(Options):
    """Options of MCTformer; the defaults follow the authors' code for V2."""

    version: Literal["v2", "v1"] = option(
        "v2",
        "Version of MCTformer; v2: class tokens, and a convolution on the patch tokens (PatchCAM); "
        "v1: class tokens alone.",
    )
    fusion: Literal["fused", "patchcam", "attention"] = option(
        "fused",
        "Class maps before they are spread; fused: attention of the class tokens times PatchCAM; "
        "patchcam: PatchCAM alone; attention: the attention alone, as always in v1. Class maps of "
        "another localizer take the place of PatchCAM, but with attention they stay as they are.",
    )
    attention_blocks: int = option(
        3,
        "Number of last blocks whose attention of class tokens to patches is summed.",
        low=1,
        high=1_000,
    )
    affinity_blocks: int | None = option(
        None,
        "Number of last blocks whose attention between patches spreads the class maps; none: all; "
        "0: the class maps are not spread.",
        low=0,
        high=1_000,
    )
    divides: Literal["patchcam", "seed"] = option(
        "patchcam",
        "Class maps by which a localizer with prototypes divides features into foreground and "
        "context: patchcam, or seed, the class maps of MCTformer itself (LPCAM's paper: silent).",
    )
    drop_path: float = option(
        0.1,
        "Probability of skipping the last block in training, which falls linearly to 0 at the "
        "first block.",
        low=0,
        high=0.99,
    )


def spread(maps: Tensor, affinity: Tensor) -> Tensor:
    """Return for each patch the sum of the map over all patches, weighted by its attention.

    The weights of a patch are not normalised.

    Args:
        maps: `[B,N,h,w]`.
        affinity: attention between patches, `[B,T,T]`, the patch that attends first.

    Returns:
        `[B,N,h,w]`.
    """
    return (maps.flatten(2) @ affinity.mT).reshape(maps.shape)


class ClassTokenClassifier(Classifier):
    """A classifier on a vision transformer with a class token for each class.

    Tokens stay without the last normalisation, with which the mean over channels, the class score,
    would be zero. Its `features` also hold the class tokens, see `TOKENS`.

    Args:
        backbone: vision transformer with one class token, which is repeated.
        classes: foreground classes N.
        frozen_stages: how many of the first stages take no gradient.
        patch_head: whether the head on the patch tokens, a 3x3 convolution, is trained.
    """

    def __init__(
        self, backbone: ViT, classes: int, frozen_stages: int = 0, patch_head: bool = True
    ) -> None:
        super().__init__(backbone, classes, frozen_stages)
        backbone.repeat_class_token(classes)
        backbone.use_final_norm(False)
        self.head = nn.Conv2d(backbone.width, classes, 3, padding=1)
        self.head.requires_grad_(patch_head)

    def features(self, images: Tensor) -> dict[str, Tensor]:
        encoded = vision_transformer(self).encode(images)
        return {**encoded.stages, TOKENS: encoded.prefix}

    def forward(self, images: Tensor) -> Tensor:
        """Return the class scores `[B,N]` of the class tokens of images `[B,3,H,W]`."""
        return self.features(images)[TOKENS].mean(2)

    def parameter_groups(
        self, head_factor: float, lr: float, weight_decay: float
    ) -> list[ParameterGroup]:
        """Return the parameter groups; vectors, class tokens and positions have no weight decay."""
        exempt = {id(p) for name, p in self.named_parameters() if p.ndim < 2 or _is_token(name)}
        groups: list[ParameterGroup] = []
        for group in super().parameter_groups(head_factor, lr, weight_decay):
            decayed = [p for p in group["params"] if id(p) not in exempt]
            others = [p for p in group["params"] if id(p) in exempt]
            groups += [
                {"params": decayed, "lr": group["lr"], "weight_decay": weight_decay},
                {"params": others, "lr": group["lr"], "weight_decay": 0.0},
            ]
        return [group for group in groups if group["params"]]


def _is_token(name: str) -> bool:
    return name.endswith(("cls_token", "pos_embed"))


def vision_transformer(network: Classifier) -> ViT:
    """Return the backbone of a network with class tokens."""
    assert isinstance(network.backbone, ViT)
    return network.backbone


def recipe(e: Experiment) -> Experiment:
    """Train DeiT-S as the authors' code does, and localize on the image and its mirror image.

    DenseCRF of the seeds has the parameters of PSA's code; `mctformer` names those of the
    predictions of MCTformer's segmenter.
    """
    training = replace(
        e.training,
        epochs=60,
        batch_size=64,
        lr=6.25e-5,
        head_factor=1.0,
        optimizer="adamw",
        weight_decay=0.05,
        clip_norm=0.0,
        schedule="deit",
        area=(0.08, 1.0),
        crop=224,
    )
    network = replace(e.network, backbone="timm:deit_small_patch16_224")
    refine = replace(e.refine, crf="psa")
    e = replace(e, network=network, training=training, refine=refine)
    return freeze(replace(e, views=replace(e.views, scales=(1.0,))), 0)


def release(e: Experiment) -> Experiment:
    """Resample positions and cut images to whole patches as the authors' code does."""
    e = recipe(e)
    return replace(e, network=replace(e.network, positions="mct", sizes="floor"))


def default(e: Experiment) -> Experiment:
    """Refine and segment as for all methods; the training is that of the authors' code."""
    return recipe(irn_default(e))


def scenes(e: Experiment) -> Experiment:
    """Train a small vision transformer from scratch on the drawn data set `scenes`.

    Images of 96 pixels have only 6 x 6 patches, so they are also seen at twice their size.
    """
    e = irn_scenes(e)
    training = replace(
        e.training,
        optimizer="adamw",
        lr=1e-3,
        head_factor=1.0,
        weight_decay=0.05,
        warm_up=100,
        epochs=30,
        resize=(96, 192),
        crop=192,
    )
    views = replace(e.views, scales=(1.0, 2.0))
    network = replace(e.network, backbone="timm:test_vit")
    return replace(e, network=network, training=training, views=views)


class MCTformer(Method):
    """Multi-class token transformer."""

    name = "mctformer"
    source = "Xu et al., CVPR 2022"
    fuses = True
    inference_options = ("fusion", "attention_blocks", "affinity_blocks", "divides")
    Config = MCTformerConfig
    settings: MCTformerConfig
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(recipe),
        "release": Preset(release),
        "default": Preset(default),
        "scenes": Preset(scenes, MCTformerConfig(affinity_blocks=0, drop_path=0.0)),
    }
    ablation: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "class attention": {"mctformer.fusion": "attention", "mctformer.affinity_blocks": 0},
        "PatchCAM": {"mctformer.fusion": "patchcam", "mctformer.affinity_blocks": 0},
        "class attention and PatchCAM": {"mctformer.affinity_blocks": 0},
        "class attention, PatchCAM and affinity": {"mctformer.affinity_blocks": None},
    }

    def __init__(self, settings: Options) -> None:
        super().__init__(settings)
        self.fuses = self._fusion != "attention"

    @property
    def _fusion(self) -> str:
        return "attention" if self.settings.version == "v1" else self.settings.fusion

    def classifier(self, classes: int, backbone: Backbone, frozen_stages: int) -> Classifier:
        if not isinstance(backbone, ViT):
            raise InputError(
                "MCTformer needs a vision transformer with a class token; set network.backbone, "
                "e.g. to timm:deit_small_patch16_224"
            )
        backbone.set_drop_path(self.settings.drop_path)
        backbone.attention_sums = int(self.settings.affinity_blocks != 0)
        trained = self.settings.version == "v2"
        return ClassTokenClassifier(backbone, classes, frozen_stages, trained)

    def check_sharing(self, other: str) -> None:
        if self.settings.version == "v1":
            raise InputError(
                f"{other} needs class scores of positions, which mctformer.version 'v1' does not "
                "have; set mctformer.version=v2"
            )

    def losses(self, network: Classifier, batch: Batch, progress: float) -> dict[str, Tensor]:
        features = network.features(batch.images)
        scores = features[TOKENS].mean(2)
        terms = {"tokens": F.multilabel_soft_margin_loss(scores, batch.labels)}
        if self.settings.version == "v2":
            terms["classification"] = soft_margin(network.head(features["c4"]), batch.labels)
        return terms

    def localize(self, network: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        views = torch.cat([images, images.flip(-1)])
        return merge_flip(*torch.cat(self._maps(network, views)).chunk(2))

    def fuse(self, network: Classifier, images: Tensor, maps: Tensor) -> Tensor:
        return torch.cat(self._maps(network, images, maps))

    def normalize(self, maps: Tensor) -> Tensor:
        return normalize_range(maps)

    def divider(self) -> Method:
        if self.settings.divides == "seed":
            return self
        unread = MCTformerConfig()
        settings = replace(self.settings, attention_blocks=unread.attention_blocks)
        return MCTformer(replace(settings, fusion="patchcam", affinity_blocks=0))

    def _maps(
        self, network: Classifier, images: Tensor, maps: Tensor | None = None
    ) -> list[Tensor]:
        """Return the class maps of views `[B,3,H,W]`, some views at a time.

        Args:
            network: network in evaluation mode.
            images: `[B,3,H,W]`.
            maps: maps in the place of PatchCAM, `[B,N,h,w]`; None: PatchCAM.
        """
        patch = vision_transformer(network).patch
        count = -(-images.shape[2] // patch) * -(-images.shape[3] // patch)
        step = max(1, MOST_PAIRS // count**2)
        starts = range(0, len(images), step)
        return [
            self._view_maps(
                network, images[k : k + step], None if maps is None else maps[k : k + step]
            )
            for k in starts
        ]

    def _view_maps(self, network: Classifier, images: Tensor, maps: Tensor | None) -> Tensor:
        vit = vision_transformer(network)
        size = (images.shape[2], images.shape[3])
        attention, affinity = self._attention_sums(vit)
        sums = [one for one in (attention, affinity) if one.blocks]
        with summed_attention(vit, *sums):
            encoded = vit.encode(images)
        if maps is not None:
            maps = vit.on_patches(maps, size)
        elif self._fusion != "attention":
            maps = F.relu(network.head(encoded.patches))
        if self._fusion != "patchcam":
            of_tokens = attention.value.reshape(*attention.value.shape[:2], *encoded.grid)
            maps = of_tokens if maps is None else of_tokens * maps
        assert maps is not None
        if affinity.blocks:
            maps = spread(maps, affinity.value)
        return vit.on_image(maps, size)

    def _attention_sums(self, vit: ViT) -> tuple[AttentionSum, AttentionSum]:
        """Return the sums of class-to-patch and patch-to-patch attention, still empty."""
        s, prefix = self.settings, vit.prefix_tokens
        blocks = range(vit.depth)
        last = blocks[-s.attention_blocks :] if self._fusion != "patchcam" else ()
        count = vit.depth if s.affinity_blocks is None else s.affinity_blocks
        patches = slice(prefix, None)
        return (
            AttentionSum(last, rows=slice(0, prefix), columns=patches),
            AttentionSum(blocks[max(0, vit.depth - count) :], rows=patches, columns=patches),
        )
