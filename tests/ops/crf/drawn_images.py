"""Drawn images with scores of labels, and mean field with exact kernels."""

from __future__ import annotations

import numpy as np


def blobs(height=24, width=32, seed=0):
    """Return a noisy image of two colours, its object, and soft scores that miss the edge."""
    rng = np.random.default_rng(seed)
    inside = np.zeros((height, width), bool)
    inside[6:18, 8:22] = True
    image = np.where(inside[..., None], [200, 60, 40], [40, 90, 160]).astype(np.float64)
    image = np.clip(image + rng.normal(0, 1, image.shape), 0, 255).astype(np.uint8)
    seed_mask = np.zeros((height, width), np.float32)
    seed_mask[7:17, 9:20] = 0.8
    return image, inside, seed_mask


def exact(image, probabilities, crf):
    """Return the mean field of whole kernel matrices, in float64 (symmetric normalisation)."""
    labels, height, width = probabilities.shape
    rows, columns = np.mgrid[:height, :width]
    position = np.stack([columns, rows], -1).reshape(-1, 2).astype(np.float64)
    colour = image.reshape(-1, 3).astype(np.float64)

    def kernel(features):
        distance = ((features[:, None] - features[None]) ** 2).sum(-1)
        matrix = np.exp(-distance / 2)
        norm = 1 / np.sqrt(matrix.sum(1) + 1e-20)
        return norm[:, None] * matrix * norm[None]

    smooth = kernel(position / crf.smooth_xy)
    coloured = kernel(np.concatenate([position / crf.colour_xy, colour / crf.colour_rgb], 1))
    energy = -np.log(np.clip(probabilities, 1e-5, 1)).reshape(labels, -1).astype(np.float64)

    def softmax(x):
        e = np.exp(x - x.max(0))
        return e / e.sum(0)

    belief = softmax(-energy)
    for _ in range(crf.iterations):
        message = crf.smooth * belief @ smooth + crf.colour * belief @ coloured
        belief = softmax(-energy + message)
    return belief.reshape(labels, height, width)


def shaded(height=24, width=32, seed=0):
    """Return an image of slowly changing colours, and mostly noisy scores of three labels."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    inside = (rows - 11) ** 2 / 60 + (columns - 15) ** 2 / 110 < 1
    red = 60 + 110 * columns / width + 20 * np.sin(rows / 3)
    green = 90 + 70 * rows / height
    blue = 120 + 40 * np.cos((rows + columns) / 5)
    image = np.stack([red, green, blue], -1) + inside[..., None] * np.array([30, -18, 14])
    image = np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8)
    scores = rng.dirichlet([1.2, 1, 1], (height, width)).transpose(2, 0, 1)
    scores[1] += inside / 2
    return image, (scores / scores.sum(0)).astype(np.float32)
