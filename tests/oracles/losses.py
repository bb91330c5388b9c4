"""Comparison of losses, on crops that the product's augmentation takes of the five images."""

from __future__ import annotations

from typing import Any

import formulas
import numpy as np
import ssc_formulas
import torch
from jobs import SIDE, Finished, array
from torchvision.models.vgg import cfgs, make_layers
from wsss.platform.data.transforms import Crop, crop_image, normalized, random_placement
from wsss.platform.method import Batch
from wsss.platform.ops.affinity_loss import interior, sort_pairs
from wsss.platform.stages.training.label_learners import Boundaries


def batch(job: Finished, planes: Any = None) -> Batch:
    """Return crops without padding of all images, with their labels and perhaps their planes."""
    crop, rng = Crop(resize=(2 * SIDE, 2 * SIDE), side=SIDE), np.random.default_rng(0)
    pixels, labels, cut = [], [], []
    for id, image in job.images.items():
        place = random_placement(*image.shape[:2], rng, crop)
        pixels.append(crop_image(image, place, SIDE))
        labels.append(np.isin(np.arange(len(job.plan.context.classes)), job.labels[id]))
        if planes:
            cut.append(crop_image(planes[id], place, SIDE, 255))
    return Batch(
        images=normalized(torch.from_numpy(np.stack(pixels))).contiguous(),
        labels=torch.from_numpy(np.stack(labels)).float(),
        valid=torch.ones(len(pixels), SIDE, SIDE, dtype=torch.bool),
        plane=torch.from_numpy(np.stack(cut)).long() if planes else None,
        probabilities=None,
    )


def relative(product: torch.Tensor | float, exact: float) -> float:
    return abs(float(product) - exact) / abs(exact)


def boundary_rows(job: Finished, row: Any) -> list[Any]:
    """Compare IRN's pairs and loss."""
    learner = Boundaries(pairs=job.plan.experiment.refine.pairs, enlarging="irn")
    network = job.network(job.plan.boundaries, learner)
    crops = batch(job, job.planes(job.stage("labels", "levels")))
    with torch.no_grad():
        edges = network(crops.images).sigmoid()
        product = float(sum(learner.losses(network, crops, 0.0).values()))
        kinds = sort_pairs(crops.plane[:, 2::4, 2::4], 10)
    middle = crops.plane[:, 2::4, 2::4].numpy()
    exact, counts = formulas.boundary_loss(array(edges), middle)
    rows, columns = interior(10, *middle.shape[1:])
    chosen = [int(kind[:, :, rows, columns].sum()) for kind in kinds]
    return [
        row(
            "cam", "pairs for IRN, share", float(np.abs(counts - chosen).sum() / counts.sum()), None
        ),
        row("cam", "IRN's loss, relative", relative(product, exact), None),
    ]


def sipe_rows(job: Finished, network: Any, body: Any, head: Any, sides: Any, row: Any) -> list[Any]:
    """Compare SIPE's seeds and its consistency loss in training."""
    crops, method = batch(job), job.plan.trained
    with torch.no_grad():
        loss = method.losses(network, crops, 0.0)["consistency"]
        stages = network.features(crops.images)
        present = torch.cat([torch.ones_like(crops.labels[:, :1]), crops.labels], 1)
        maps = method._maps(network.head(stages["c4"]), 0.5) * present[:, :, None, None]
        seeds = method._seeds(stages["c4"], maps, 0.5)
    exact = [
        formulas.sipe_loss(body, head, sides, pixels, labels)
        for pixels, labels in zip(array(crops.images), array(crops.labels), strict=True)
    ]
    differ = [array(a).argmax(0) != b.argmax(0) for a, (b, _, _) in zip(seeds, exact, strict=True)]
    value = float(np.mean([e[2] for e in exact]))
    return [
        row("sipe", "seeds in training, share of positions", None, float(np.mean(differ))),
        row("sipe", "consistency loss, relative", None, relative(loss, value)),
    ]


def ssc_rows(job: Finished, network: Any, body: Any, head: Any, vgg: Any, row: Any) -> list[Any]:
    """Compare SSC's suppression, decoder, losses and target."""
    crops, method = batch(job, job.planes(job.stage("superpixels"))), job.plan.trained
    with torch.no_grad():
        c4 = network.features(crops.images)["c4"]
        scores = network.head(c4)
        pictures = network.extras["ssc"](scores)
        reconstruction = method._reconstruction(network, scores, crops)
        modulation = method._modulation(scores, crops)
    exact_c4 = [formulas.stages(body, pixels, 0.55)[3] for pixels in array(crops.images)]
    exact = [formulas.conv1(head, x) for x in exact_c4]
    weights = [array(w) for w in network.extras["ssc"].state_dict().values()]
    drawn = np.stack([ssc_formulas.reconstructed(s, weights) for s in exact])
    layers = make_layers(cfgs["E"])
    state = torch.load(vgg, weights_only=True)
    layers.load_state_dict({k.removeprefix("features."): v for k, v in state.items()})
    compared = ssc_formulas.perceptual(layers[:30].double().eval(), drawn, array(crops.images))
    squares = []
    for values, labels, ids in zip(exact, crops.labels.numpy(), crops.plane.numpy(), strict=True):
        activation, target = ssc_formulas.targets(values[labels > 0], ids)
        squares += [((a - t) ** 2).mean() for a, t in zip(activation, target, strict=True)]
    top = max(np.abs(x).max() for x in exact_c4)
    return [
        row("ssc", "suppressed features, relative", None, np.abs(array(c4) - exact_c4).max() / top),
        row("ssc", "reconstructed image", None, float(np.abs(array(pictures) - drawn).max())),
        row("ssc", "reconstruction loss, relative", None, relative(reconstruction, compared)),
        row(
            "ssc", "modulation loss, relative", None, relative(modulation, float(np.mean(squares)))
        ),
    ]
