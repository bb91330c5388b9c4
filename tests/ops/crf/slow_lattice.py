"""The permutohedral lattice one position at a time in float64, with corners in a dict."""

from __future__ import annotations

import numpy as np


def basis(width):
    """Return the matrix `[D+1,D]` that takes features to the plane of the lattice."""
    out = np.zeros((width + 1, width))
    for axis in range(1, width + 1):
        out[:axis, axis - 1], out[axis, axis - 1] = 1, -axis
        out[:, axis - 1] /= np.linalg.norm(out[:, axis - 1])
    return out * np.sqrt(2 / 3) * (width + 1)


def simplex(point):
    """Return the corners around a point of the plane and their weights, which prove themselves.

    The corners are points of the lattice: they sum to zero and are equal modulo D + 1. The point
    is their mean with weights that are not negative."""
    size = len(point)
    cell = size * np.round(point / size)
    while cell.sum() > 0:
        cell[np.argmin(point - cell)] -= size
    while cell.sum() < 0:
        cell[np.argmax(point - cell)] += size
    corners, low = [cell], np.argsort(point - cell)
    for coordinate in low[: size - 1]:
        corners.append(corners[-1] + 1)
        corners[-1][coordinate] -= size
    matrix = np.array(corners)
    assert np.allclose(matrix.sum(1), 0)
    assert (np.ptp(matrix % size, 1) == 0).all()
    weights = np.linalg.lstsq(np.vstack([matrix.T, np.ones(size)]), [*point, 1], rcond=None)[0]
    assert weights.min() > -1e-9
    assert np.allclose(weights @ matrix, point)
    return [tuple(map(int, corner)) for corner in corners], weights


def filtered(features, values):
    """Return values `[P,C]` at features `[P,D]` after splat, blur along each axis, and slice."""
    size = features.shape[1] + 1
    simplices = [simplex(basis(size - 1) @ row) for row in features.astype(np.float64)]
    at_corner = {}
    for (corners, weights), value in zip(simplices, values, strict=True):
        for corner, weight in zip(corners, weights, strict=True):
            at_corner[corner] = at_corner.get(corner, 0) + weight * value
    for axis in range(size):
        step = np.full(size, -1)
        step[axis] += size
        before = dict(at_corner)
        for corner in at_corner:
            for neighbour in (tuple(corner + step), tuple(corner - step)):
                at_corner[corner] = at_corner[corner] + before.get(neighbour, 0) / 2
    sums = [sum(w * at_corner[c] for c, w in zip(*pair, strict=True)) for pair in simplices]
    return np.array(sums) / (1 + 2.0 ** (1 - size))
