"""Stages after the network as public code runs them: clustering, DenseCRF, curves, walks, PAR."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peers.peer_images import read
from torch.nn import functional
from wsss.platform.ops.crf import CRF, CRFS
from wsss.platform.ops.random_walk import transition_matrix
from wsss.platform.ops.refinement.pixel_adaptive import DILATIONS


def cluster(
    features: torch.Tensor, count: int, rounds: int, generator: torch.Generator
) -> torch.Tensor:
    """Return the centres of cosine k-means of one class in one process, with all distances as one
    broadcast product `[N,K,D]` (LPCAM by kmeans-pytorch), divided so that it fits the memory."""
    centers = features[torch.randperm(len(features), generator=generator)[:count]]
    for _ in range(rounds):
        nearest = []
        for chunk in features.split(4096):
            one, other = chunk[:, None], centers[None]
            one, other = (
                one / one.norm(dim=-1, keepdim=True),
                other / other.norm(dim=-1, keepdim=True),
            )
            nearest.append((one * other).sum(-1).argmax(1))
        assigned = torch.cat(nearest)
        centers = torch.stack([features[assigned == k].mean(0) for k in range(count)])
        centers = torch.where(centers.isfinite(), centers, features[:count])
    return centers


def _crf_of(job: tuple[Path, Path, Sequence[float]]) -> str:
    file, out, thresholds = job
    image, crf = read(file).copy(), CRFS["irn"]
    arrays: dict[str, Any] = np.load(out / f"{file.stem}.npy", allow_pickle=True).item()
    refined = []
    for threshold in thresholds:
        planes = np.pad(arrays["high_res"], ((1, 0), (0, 0), (0, 0)), constant_values=threshold)
        refined.append(_refined(image, planes.argmax(0), len(planes), crf))
    labels = refined[0]
    if len(thresholds) == 2:  # certain foreground and background, as IRN's cam_to_ir_label
        labels = np.where(refined[0] > 0, refined[0], np.where(refined[1] == 0, 0, 255))
    np.save(out / f"{file.stem}.crf.npy", labels.astype(np.uint8))
    return file.stem


def _refined(
    image: NDArray[np.uint8], seed: NDArray[np.integer], labels: int, crf: CRF
) -> NDArray[np.integer]:
    from pydensecrf import densecrf

    height, width = image.shape[:2]
    energy = np.where(
        seed[None] == np.arange(labels)[:, None, None],
        -np.log(crf.certainty),
        -np.log((1 - crf.certainty) / (labels - 1)),
    )
    field = densecrf.DenseCRF2D(width, height, labels)
    field.setUnaryEnergy(np.ascontiguousarray(energy.reshape(labels, -1), np.float32))
    field.addPairwiseGaussian(sxy=crf.smooth_xy, compat=crf.smooth)
    field.addPairwiseBilateral(
        sxy=crf.colour_xy, srgb=crf.colour_rgb, rgbim=image, compat=crf.colour
    )
    best: NDArray[np.integer] = np.asarray(field.inference(crf.iterations)).argmax(0)
    return best.reshape(height, width)


def crf(files: Sequence[Path], maps: Path, processes: int) -> int:
    """Refine images by DenseCRF in processes, with maps `STEM.npy` of each; return their number."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return len(pool.map(_crf_of, [(file, maps, (0.5,)) for file in files]))


def certain_labels(
    files: Sequence[Path], maps: Path, thresholds: tuple[float, float], processes: int
) -> float:
    """Return the images a second of certain labels by DenseCRF in processes, after their start.

    Args:
        files: images.
        maps: folder of class maps `STEM.npy`, which takes the labels `STEM.crf.npy`.
        thresholds: high and low threshold.
        processes: number of processes; with one, this process computes.
    """
    jobs = [(file, maps, thresholds) for file in files]
    if processes == 1:
        began = time.perf_counter()
        for job in jobs:
            _crf_of(job)
        return len(files) / (time.perf_counter() - began)
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        pool.map(_crf_of, jobs[:processes], chunksize=1)
        began = time.perf_counter()
        pool.map(_crf_of, jobs, chunksize=1)
        return len(files) / (time.perf_counter() - began)


def curve(
    stems: Sequence[str],
    maps: Path,
    masks: Sequence[NDArray[np.uint8]],
    classes: int,
    thresholds: Sequence[float],
) -> list[NDArray[np.int64]]:
    """Return the confusion at each threshold, reading all files for each (IRN `eval_cam`)."""
    out = []
    for threshold in thresholds:
        matrix = np.zeros((classes, classes), np.int64)
        for stem, mask in zip(stems, masks, strict=True):
            arrays: dict[str, Any] = np.load(maps / f"{stem}.npy", allow_pickle=True).item()
            planes = np.pad(arrays["high_res"], ((1, 0), (0, 0), (0, 0)), constant_values=threshold)
            keys = np.pad(arrays["keys"] + 1, (1, 0))
            predicted = keys[planes.argmax(0)]
            valid = mask < classes
            index = classes * mask[valid].astype(int) + predicted[valid]
            matrix += np.bincount(index, minlength=classes**2).reshape(classes, classes)
        out.append(matrix)
    return out


def walk(maps: torch.Tensor, edge: torch.Tensor) -> torch.Tensor:
    """Return the random walk as the 256th power of a dense matrix, by eight squarings."""
    matrix = transition_matrix(edge[None]).to_dense()
    for _ in range(8):
        matrix = matrix @ matrix
    return (matrix @ (maps * (1 - edge)).flatten(1).T).T.reshape(maps.shape)


def _stacked_neighbours(planes: torch.Tensor) -> torch.Tensor:
    """Return all 48 neighbours of each pixel in one tensor, `[B,K,48,H,W]`."""
    height, width = planes.shape[2:]
    reach = max(DILATIONS)
    padded = functional.pad(planes, (reach,) * 4, mode="replicate")
    shifts = [(y, x) for d in DILATIONS for y in (-d, 0, d) for x in (-d, 0, d) if y or x]
    views = [
        padded[..., reach + y : reach + y + height, reach + x : reach + x + width]
        for y, x in shifts
    ]
    return torch.stack(views, 2)


def stacked_refinement(image: torch.Tensor, planes: torch.Tensor, steps: int = 10) -> torch.Tensor:
    """Return planes refined by PAR, with the neighbours of all channels and planes stacked."""
    near = _stacked_neighbours(image)
    distance = (near - image[:, :, None]).abs() / (near.std(2, keepdim=True) + 1e-8) / 0.3
    lengths = torch.tensor(
        [
            d * (2**0.5 if y and x else 1.0)
            for d in DILATIONS
            for y in (-1, 0, 1)
            for x in (-1, 0, 1)
            if y or x
        ],
        device=image.device,
    )
    position = (-((lengths / (lengths.std() + 1e-8) / 0.3) ** 2)).softmax(0)
    weights = (-(distance**2).mean(1)).softmax(1) + 0.01 * position[:, None, None]
    for _ in range(steps):
        planes = (_stacked_neighbours(planes) * weights[:, None]).sum(2)
    return planes
