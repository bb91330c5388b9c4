"""Benchmarks of the attention of vision transformers and of CLIP-ES; see bench.py.

Networks have random weights, on which neither time nor memory depends. Each way computes in a
process of its own, so that its peak of memory is its own.
"""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from measure import say, seconds
from torch import Tensor
from wsss.platform.models.backbones.from_timm.attention import AttentionSum, summed_attention
from wsss.platform.ray_runtime import cluster

READ = {"the last 3": range(9, 12), "all 12": range(12)}
SIDES = (512, 1024)
BACKGROUNDS, PRESENT = 25, 2


def vit() -> Any:
    """Return a ViT of DeiT-S's size for any size of image."""
    import timm

    torch.manual_seed(0)
    return timm.create_model("deit_small_patch16_224", num_classes=0, dynamic_img_size=True).eval()


def without_reading(network: Any, images: Tensor, blocks: range) -> None:
    network.forward_features(images)


def summed(network: Any, images: Tensor, blocks: range) -> None:
    with summed_attention(network, AttentionSum(blocks)):
        network.forward_features(images)


def kept(network: Any, images: Tensor, blocks: range) -> None:
    """Keep the attention of all blocks and heads, then take the mean of what is read."""
    values: list[Tensor] = []
    handles = []
    for block in network.blocks:
        block.attn.fused_attn = False
        keep = lambda module, inputs, output: values.append(output)  # noqa: E731
        handles.append(block.attn.attn_drop.register_forward_hook(keep))
    network.forward_features(images)
    torch.stack([values[number] for number in blocks]).float().mean(2).sum(0)
    for handle in handles:
        handle.remove()


WAYS: dict[str, Callable[[Any, Tensor, range], None]] = {
    "not read": without_reading,
    "summed": summed,
    "all kept": kept,
}


def peak() -> float:
    """Return the highest memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def _attention(way: str, read: str, side: int) -> tuple[float, float]:
    """Return the seconds for two images in bfloat16, and the MiB above the network."""
    torch.set_num_threads(cluster.cores())
    network, images = vit(), torch.zeros(2, 3, side, side)
    before = peak()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        took = seconds(lambda: WAYS[way](network, images, READ[read]), 3)
    return took, peak() - before


def alone(function: Callable[..., tuple[float, float]], *arguments: object) -> tuple[float, float]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def bench_attention(folder: Path) -> None:
    """Compare summed attention with the same network unread, and with all attention kept."""
    for side in SIDES:
        for read in READ:
            results = {way: alone(_attention, way, read, side) for way in WAYS}
            base = results["not read"][0]
            for way, (took, memory) in results.items():
                say(
                    f"attention: {side} pixels, {read} blocks, {way}: {took / base:.2f} of the "
                    f"unread network's {base:.2f} s; {memory:.0f} MiB"
                )


def clip(side: int) -> tuple[Any, Tensor, Tensor]:
    """Return an image tower of ViT-B/16's size, an image and unit embeddings of texts."""
    import open_clip

    torch.manual_seed(0)
    visual = open_clip.create_model("ViT-B-16", pretrained=None).visual.eval()
    texts = torch.randn(PRESENT + BACKGROUNDS, visual.proj.shape[1])
    return visual, torch.randn(1, 3, side, side), torch.nn.functional.normalize(texts, dim=1)


def last_block_alone(visual: Any, image: Tensor, texts: Tensor) -> None:
    from wsss.methods.clip_es import softmax_gradcam
    from wsss.platform.models.clip.image_tower import last_block_tokens

    with torch.no_grad():
        tokens = last_block_tokens(visual, image, "timm")
    softmax_gradcam(visual, tokens[0], texts, 100.0, PRESENT)


def whole_graph(visual: Any, image: Tensor, texts: Tensor) -> None:
    """Compute with gradients from the first block on, and one whole backward pass a class."""
    from wsss.platform.models.clip.image_tower import image_embeddings, last_block_tokens

    tokens = last_block_tokens(visual, image.requires_grad_(), "timm")
    normed = visual.transformer.resblocks[-1].ln_1(tokens)
    scores = (100.0 * image_embeddings(visual, tokens, normed)[0] @ texts.T).log_softmax(0)
    for score in scores[:PRESENT]:
        torch.autograd.grad(score, [normed, image], retain_graph=True)


def _gradients(way: str, side: int) -> tuple[float, float]:
    torch.set_num_threads(cluster.cores())
    visual, image, texts = clip(side)
    before = peak()
    compute = {"last block alone": last_block_alone, "whole graph": whole_graph}[way]
    return seconds(lambda: compute(visual, image, texts), 3), peak() - before


def bench_clip_es(folder: Path) -> None:
    """Compare gradients of the last block alone with gradients through the whole network."""
    for side in SIDES:
        ours, peer = (alone(_gradients, w, side) for w in ("last block alone", "whole graph"))
        say(
            f"clip_es: {side} pixels, {PRESENT} classes: {ours[0]:.2f} s and {ours[1]:.0f} MiB; "
            f"whole graph {peer[0] / ours[0]:.2f} times as long, {peer[1]:.0f} MiB"
        )
