"""Superpixels of an image by Felzenszwalb's graph segmentation, merged to few regions, or by SLIC.

The region tool that SSC cites (ICD) merges by features of a VGG network, without asking whether
regions touch. Here merging is the hierarchical grouping of selective search (Uijlings et al.,
IJCV 2013), colour, texture, size and fill, between regions that touch: regions stay connected.
Shapes: H W pixels, R regions.
"""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Ids = NDArray[np.int64]
SCALE, SIGMA, SMALLEST = 75.0, 0.8, 75
COLOUR_BINS, TEXTURE_BINS, DIRECTIONS = 25, 10, 8


def felzenszwalb(image: Pixels) -> Ids:
    """Segment an image, uint8 RGB `[H,W,3]`, into connected regions, ids `[H,W]` from 0.

    Source: Felzenszwalb and Huttenlocher, IJCV 2004; ICD's parameters (k 75, sigma 0.8,
    smallest region 75 pixels), which scikit-image takes on the same scale.
    """
    from skimage.segmentation import felzenszwalb as graph_based

    ids = graph_based(image, scale=SCALE, sigma=SIGMA, min_size=SMALLEST)
    return renumber_regions(split_components(ids))


def slic(image: Pixels, regions: int = 64) -> Ids:
    """Segment an image into about `regions` compact connected regions, at most 255.

    Returns ids `[H,W]` from 0.

    Source: Achanta et al., PAMI 2012.
    """
    from skimage.segmentation import slic as clustered

    ids = clustered(image, n_segments=regions, compactness=10, start_label=0)
    return merge_regions(image, renumber_regions(ids), 255)


def merge_regions(image: Pixels, ids: Ids, most: int = 64) -> Ids:
    """Join touching regions, the most similar ones first, until at most `most` are left.

    Args:
        image: uint8 `[H,W,3]`.
        ids: `[H,W]`, 0 to R - 1.
        most: largest number of regions.

    Returns:
        Ids `[H,W]` from 0.
    """
    regions = _Regions(image, ids)
    queue = [(-regions.similarity(a, b), a, b) for a, b in regions.pairs()]
    heapq.heapify(queue)
    while regions.count > most and queue:
        _, a, b = heapq.heappop(queue)
        if a in regions.near and b in regions.near:
            new = regions.join(a, b)
            for other in regions.near[new]:
                heapq.heappush(queue, (-regions.similarity(new, other), new, other))
    return renumber_regions(regions.parent()[ids])


def renumber_regions(ids: NDArray[np.integer]) -> Ids:
    """Renumber regions to ids 0 to R - 1, in the order of their old ids."""
    numbers: Ids = np.unique(ids, return_inverse=True)[1].reshape(ids.shape).astype(np.int64)
    return numbers


def split_components(ids: NDArray[np.integer]) -> Ids:
    """Split each region into its connected components (8 neighbours)."""
    from skimage.measure import label

    return np.asarray(label(ids, connectivity=2, background=-1), np.int64)


def shrink_ids(ids: Ids, height: int, width: int) -> Ids:
    """Resize ids `[H,W]` to a smaller `[height,width]` by the id at the middle of each new pixel.

    Regions that are narrower than a new pixel may fall apart or vanish.
    """
    rows, columns = (
        ((np.arange(n) + 0.5) * side / n).astype(int)
        for n, side in zip((height, width), ids.shape, strict=True)
    )
    out: Ids = ids[rows[:, None], columns]
    return out


class _Regions:
    """Regions that are joined in pairs, with their sizes, boxes, histograms and neighbours.

    `near[r]` holds the regions that touch region r, and `near` only regions that were not joined
    yet. A new region takes a new number, R and up.
    """

    def __init__(self, image: Pixels, ids: Ids) -> None:
        self.count = int(ids.max()) + 1
        self.area = ids.size
        self.size = list(np.bincount(ids.ravel()).astype(float))
        self.box = list(_boxes(ids, self.count))
        self.look = list(_histograms(image, ids, self.count))
        self.near: dict[int, set[int]] = {r: set() for r in range(self.count)}
        for a, b in _touching(ids):
            self.near[int(a)].add(int(b))
            self.near[int(b)].add(int(a))
        self.into = list(range(self.count))

    def pairs(self) -> list[tuple[int, int]]:
        return [(a, b) for a, others in self.near.items() for b in others if a < b]

    def similarity(self, a: int, b: int) -> float:
        """Sum the similarity in colour, texture, size and fill, each 0 to 1.

        Source: Uijlings et al., Eqs. 2 to 5.
        """
        overlap = float(np.minimum(self.look[a], self.look[b]).sum())
        both = self.size[a] + self.size[b]
        top, left = np.minimum(self.box[a][:2], self.box[b][:2])
        bottom, right = np.maximum(self.box[a][2:], self.box[b][2:])
        hole = (bottom - top) * (right - left) - both
        return float(overlap + (1 - both / self.area) + (1 - hole / self.area))

    def join(self, a: int, b: int) -> int:
        """Make one region of two and return its number."""
        new, both = len(self.size), self.size[a] + self.size[b]
        look = (self.size[a] * self.look[a] + self.size[b] * self.look[b]) / both
        box = np.concatenate(
            [
                np.minimum(self.box[a][:2], self.box[b][:2]),
                np.maximum(self.box[a][2:], self.box[b][2:]),
            ]
        )
        self.size.append(both)
        self.look.append(look)
        self.box.append(box)
        self.into.append(new)
        self.into[a] = self.into[b] = new
        self.near[new] = (self.near.pop(a) | self.near.pop(b)) - {a, b}
        for other in self.near[new]:
            self.near[other] -= {a, b}
            self.near[other].add(new)
        self.count -= 1
        return new

    def parent(self) -> Ids:
        """Return the region that each number ended in."""
        out = np.array(self.into)
        for r in range(len(out) - 1, -1, -1):
            out[r] = out[out[r]]
        return out


def _touching(ids: Ids) -> NDArray[np.int64]:
    """Return each pair of different ids among the 8 neighbours once, `[M,2]`."""
    views = [
        (ids[:, :-1], ids[:, 1:]),
        (ids[:-1], ids[1:]),
        (ids[:-1, :-1], ids[1:, 1:]),
        (ids[:-1, 1:], ids[1:, :-1]),
    ]
    pairs = np.concatenate([np.stack([a.ravel(), b.ravel()], 1) for a, b in views])
    pairs = np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1)
    return np.unique(pairs, axis=0)


def _boxes(ids: Ids, count: int) -> NDArray[np.int64]:
    """Return top, left, bottom and right (exclusive) of each region, `[R,4]`."""
    rows, columns = np.indices(ids.shape)
    out = np.empty((count, 4), np.int64)
    for k, (values, best) in enumerate(
        (
            (rows, np.minimum),
            (columns, np.minimum),
            (rows + 1, np.maximum),
            (columns + 1, np.maximum),
        )
    ):
        out[:, k] = ids.size if best is np.minimum else 0
        best.at(out[:, k], ids.ravel(), values.ravel())
    return out


def _histograms(image: Pixels, ids: Ids, count: int) -> NDArray[np.float64]:
    """Return the colour and texture histograms of each region, `[R,C]`.

    The colour histogram sums to 1, and so does the texture histogram. The sum of minima of two
    regions is then the histogram intersection of Uijlings et al.
    """
    from scipy.ndimage import gaussian_filter1d

    flat = ids.ravel()
    histograms = []
    kinds: list[tuple[Ids, int]] = [
        (image[..., c].astype(np.int64) * COLOUR_BINS // 256, COLOUR_BINS) for c in range(3)
    ]
    colour = [_counts(flat, v.ravel(), count, bins) for v, bins in kinds]
    histograms.append(np.concatenate(colour, 1) / 3)
    texture = []
    for c in range(3):
        plane = image[..., c].astype(np.float64)
        down, right = (gaussian_filter1d(plane, 1.0, axis=a, order=1) for a in (0, 1))
        for k in range(DIRECTIONS):
            angle = 2 * np.pi * k / DIRECTIONS
            slope = np.maximum(np.cos(angle) * right + np.sin(angle) * down, 0)
            bins = np.minimum(slope / 64 * TEXTURE_BINS, TEXTURE_BINS - 1).astype(np.int64)
            texture.append(_counts(flat, bins.ravel(), count, TEXTURE_BINS))
    histograms.append(np.concatenate(texture, 1) / (3 * DIRECTIONS))
    return np.concatenate(histograms, 1)


def _counts(ids: Ids, bins: Ids, count: int, width: int) -> NDArray[np.float64]:
    """Return the share `[R,width]` of the pixels of each region in each bin."""
    counts = np.bincount(ids * width + bins, minlength=count * width).reshape(count, width)
    out: NDArray[np.float64] = counts / counts.sum(1, keepdims=True)
    return out
