"""Vision transformers of timm as backbones: patch tokens as feature maps, and prefix tokens.

Shapes: B batch, D channels, P prefix tokens (class tokens and registers), T tokens, H W pixels,
h w grid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ....errors import InputError
from ..base import STAGES
from .attention import MOST_VALUES
from .layout import bytes_of_pixel
from .positions import PositionKind, resampled_positions
from .resampling import linear_weights, resampled
from .timm_backbone import TimmBackbone, freeze_all_but

SizeKind = Literal["pad", "floor", "squash"]


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """The output of a vision transformer.

    Attributes:
        stages: c1 to c4, `[B,D,h,w]`, which cover the image exactly.
        prefix: prefix tokens after the last block, `[B,P,D]`; normalised like c4.
        patches: patch tokens of c4 on the grid of the network, `[B,D,h,w]`, not resampled.
        grid: height and width of the grid of patch tokens in the network.
    """

    stages: Mapping[str, Tensor]
    prefix: Tensor
    patches: Tensor
    grid: tuple[int, int]


class ViT(TimmBackbone):
    """A vision transformer (Dosovitskiy et al., ICLR 2021) without its classifier.

    Stages c1 to c4 are the patch tokens after each quarter of the blocks, all on the grid of
    patches. Images of all sizes are taken. `attention_sums` is the number of float32 sums of
    attention over all pairs of tokens that inference keeps for a view; it limits the largest view.

    Args:
        name: timm's name of the network, such as vit_base_patch16_224 or deit_small_patch16_224.
        positions: rule by which the position embedding is resampled, see `resampled_positions`.
        sizes: rule for sides that are no multiple of the patch. pad: zeros complete the last
            patches, and the stages are resampled from the grid of patches to the image; floor: the
            pixels after the last whole patch are left out, and the grid counts as the whole image
            all the same (MCTformer); squash: the image is resized to the next multiple (CLIP-ES).
        final_norm: whether c4 and the prefix tokens pass the network's last normalisation.
        options: further arguments of `timm.create_model`, such as embed_dim, depth and patch_size.
    """

    def __init__(
        self,
        name: str,
        *,
        positions: PositionKind = "timm",
        sizes: SizeKind = "pad",
        final_norm: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(name, dynamic_img_size=True, **options)
        network: Any = self.network
        self.positions, self.sizes = positions, sizes
        self.width, self.depth = int(network.embed_dim), len(network.blocks)
        self.heads = int(network.blocks[0].attn.num_heads)
        self.patch = int(network.patch_embed.feat_ratio())
        self.channels = (self.width,) * 4
        self.strides = (self.patch,) * 4
        self.attention_sums = 0
        inner = max(m.out_features for m in network.modules() if isinstance(m, nn.Linear))
        self.pixel_bytes = bytes_of_pixel(8 * inner, 16 * self.width, self.patch**2)
        self.ends = tuple(math.ceil(self.depth * quarter / 4) for quarter in (1, 2, 3, 4))
        self.use_final_norm(final_norm)

    @property
    def prefix_tokens(self) -> int:
        """P, the number of tokens before the patch tokens."""
        network: Any = self.network
        return int(network.num_prefix_tokens)

    @property
    def last_norm(self) -> nn.Module:
        """The normalisation after the last block, which some networks apply after pooling."""
        network: Any = self.network
        norm: nn.Module = network.norm
        return network.fc_norm if isinstance(norm, nn.Identity) else norm

    def use_final_norm(self, used: bool) -> None:
        """Set whether c4 and the prefix tokens pass the last normalisation.

        Parameters that then have no part in the stages take no gradient.
        """
        self.final_norm = used
        self.last_norm.requires_grad_(used)
        freeze_all_but(self.network, [p for name in STAGES for p in self.stage_parameters(name)])

    def stage_parameters(self, name: str) -> list[nn.Parameter]:
        network: Any = self.network
        number = STAGES.index(name)
        first = self.ends[number - 1] if number else 0
        out = list(network.blocks[first : self.ends[number]].parameters())
        if not number:
            names = ("cls_token", "dist_token", "reg_token", "pos_embed")
            tokens = [getattr(network, token, None) for token in names]
            modules = (network.patch_embed, network.norm_pre)
            stem = [p for module in modules for p in module.parameters()]
            out = [*(p for p in tokens if isinstance(p, nn.Parameter)), *stem, *out]
        if name == "c4" and self.final_norm:
            out += list(self.last_norm.parameters())
        return out

    def repeat_class_token(self, count: int) -> None:
        """Replace the class token by equal class tokens, each with its position embedding.

        Raises:
            InputError: the network has no single class token with a position embedding.
        """
        network: Any = self.network
        if network.cls_token is None or network.num_prefix_tokens != 1 or network.no_embed_class:
            raise InputError(
                "a class token for each class needs a vision transformer with one class token that "
                "has a position embedding; set network.backbone, e.g. to "
                "timm:deit_small_patch16_224"
            )
        position, patches = network.pos_embed[:, :1], network.pos_embed[:, 1:]
        token = network.cls_token.expand(1, count, -1)
        embedding = torch.cat([position.expand(1, count, -1), patches], 1)
        for name, value in (("cls_token", token), ("pos_embed", embedding)):
            trained = getattr(network, name).requires_grad
            setattr(network, name, nn.Parameter(value.detach().clone(), requires_grad=trained))
        network.num_prefix_tokens = count

    def set_drop_path(self, rate: float) -> None:
        """Set the probability of skipping a block in training, which rises from 0 to `rate`."""
        from timm.layers import DropPath

        network: Any = self.network
        for number, block in enumerate(network.blocks):
            share = rate * number / max(1, self.depth - 1)
            block.drop_path1 = DropPath(share) if share else nn.Identity()
            block.drop_path2 = DropPath(share) if share else nn.Identity()

    def encode(self, images: Tensor) -> Encoded:
        """Return the stages and prefix tokens of images `[B,3,H,W]`.

        Args:
            images: normalised with the mean and deviation of ImageNet.
        """
        if not self.halved:
            return self._encoded(images, len(STAGES))
        with torch.autocast(images.device.type, torch.bfloat16):
            return self._encoded(images, len(STAGES))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return dict(self.encode(images).stages)

    def first_stages(self, images: Tensor, count: int) -> dict[str, Tensor]:
        return dict(self._encoded(images, count).stages)

    def dilate(self) -> None:
        """Refuse, because patches stay as they are.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"a vision transformer has a stride of {self.patch} and cannot be dilated for the "
            "segmenter deeplabv2; set segment.stride=16 or use the segmenter upernet"
        )

    def on_image(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        """Return maps on the grid of patches resampled to cover an image exactly.

        Only maps of padded images change: bilinear, at the middle of each cell.

        Args:
            maps: `[B,D,h,w]`.
            size: height and width of the image, pixels.
        """
        sides = zip(maps.shape[2:], size, strict=True)
        return self._resampled(maps, [n * self.patch / side for n, side in sides])

    def on_patches(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        """Return maps that cover an image exactly resampled to the grid of patches.

        Only maps of padded images change: bilinear, at the middle of each patch.

        Args:
            maps: `[B,D,h,w]`.
            size: height and width of the image, pixels.
        """
        sides = zip(maps.shape[2:], size, strict=True)
        return self._resampled(maps, [side / (n * self.patch) for n, side in sides])

    def _resampled(self, maps: Tensor, scales: Sequence[float]) -> Tensor:
        """Return maps resampled on their own grid; scales: new cells for each old cell."""
        if self.sizes != "pad" or all(scale == 1 for scale in scales):
            return maps
        sides = zip(maps.shape[2:], scales, strict=True)
        rows, columns = (linear_weights(n, n, scale, maps) for n, scale in sides)
        return resampled(maps, rows, columns)

    def _encoded(self, images: Tensor, count: int) -> Encoded:
        network: Any = self.network
        size = (images.shape[2], images.shape[3])
        patches = network.patch_embed(self._whole_patches(self.normalized(images)))
        grid = (patches.shape[1], patches.shape[2])
        x = network.norm_pre(network.patch_drop(self._with_positions(patches, size)))
        stages: dict[str, Tensor] = {}
        first = 0
        for name, end in zip(STAGES[:count], self.ends, strict=False):
            for block in network.blocks[first:end]:
                x = block(x)
            if name == "c4" and self.final_norm:
                x = self.last_norm(x)
            first = end
            tokens = x.float() if self.halved else x
            maps = tokens[:, self.prefix_tokens :].transpose(1, 2).unflatten(2, grid)
            stages[name] = self.on_image(maps, size)
        prefix = tokens[:, : self.prefix_tokens]
        return Encoded(stages=stages, prefix=prefix, patches=maps, grid=grid)

    def _whole_patches(self, images: Tensor) -> Tensor:
        """Return images whose sides are multiples of the patch, see `sizes`."""
        height, width = images.shape[2:]
        missing = (-height % self.patch, -width % self.patch)
        if missing == (0, 0):
            return images
        if self.sizes == "squash":
            size = (height + missing[0], width + missing[1])
            return F.interpolate(images, size, mode="bicubic", antialias=True)
        if self.sizes == "floor" and min(height, width) >= self.patch:
            return images[:, :, : height - height % self.patch, : width - width % self.patch]
        return F.pad(images, (0, missing[1], 0, missing[0]))

    def _with_positions(self, patches: Tensor, size: tuple[int, int]) -> Tensor:
        """Return patches `[B,h,w,D]` as tokens `[B,T,D]` with prefix and position embedding."""
        network: Any = self.network
        embedding, prefix = network.pos_embed, self.prefix_tokens
        if self.positions == "timm" or embedding is None:
            tokens: Tensor = network._pos_embed(patches)
            return tokens
        if network.no_embed_class or hasattr(network, "dist_token"):
            raise InputError(
                f"the position embedding {self.positions!r} needs a plain vision transformer, such "
                "as timm:deit_small_patch16_224; set network.positions=timm"
            )
        grid = (patches.shape[1], patches.shape[2])
        own = tuple(network.patch_embed.grid_size)
        embedding = resampled_positions(embedding, own, grid, prefix, self.positions, size)
        first = [t for t in (network.cls_token, network.reg_token) if t is not None]
        first = [token.expand(len(patches), -1, -1) for token in first]
        out: Tensor = network.pos_drop(torch.cat([*first, patches.flatten(1, 2)], 1) + embedding)
        return out

    def most_pixels(self, image_bytes: int) -> int:
        """Return the largest number of pixels of an image that inference has memory for.

        Memory grows with the square of the pixels only where attention is summed
        (`attention_sums`, float32 sums of all pairs of tokens, for image and mirror image).
        """
        square = self.attention_sums * 8 / self.patch**4
        if not square:
            return super().most_pixels(image_bytes)
        left = max(0, image_bytes - 3 * 4 * MOST_VALUES)
        root = math.sqrt(self.pixel_bytes**2 + 4 * square * left)
        return int((root - self.pixel_bytes) / (2 * square))
