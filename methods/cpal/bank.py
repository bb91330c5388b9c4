"""The support bank of CPAL: anchors of the latest images, and their clusters.

Shapes: B batch, N foreground classes, D channels, R rows, P or K clusters.
"""

from __future__ import annotations

import faiss
import torch
from torch import Tensor, nn

from ...platform.ops.collectives import broadcast_from_first, gather_rows


class Bank(nn.Module):
    """Support bank: the latest anchors of each class and their clusters, background first.

    All state is in buffers, and equal on all workers. `found` is the number of clusters of each
    class, `pushed` the number of anchors that were added to it.

    Args:
        classes: N + 1.
        width: D.
        slots: largest number of anchors of each class.
        prototypes: largest number of clusters of each class.
    """

    rows: Tensor
    pushed: Tensor
    context: Tensor
    found: Tensor

    def __init__(self, classes: int, width: int, slots: int, prototypes: int) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(classes, slots, width))
        self.register_buffer("pushed", torch.zeros(classes, dtype=torch.long))
        self.register_buffer("context", torch.zeros(classes, prototypes, width))
        self.register_buffer("found", torch.zeros(classes, dtype=torch.long))

    def prototypes(self, index: int) -> Tensor:
        """Return the context prototypes of a class, `[P,D]`; none before the first clustering."""
        return self.context[index, : int(self.found[index])]

    @torch.no_grad()
    def push(self, anchors: Tensor, present: Tensor) -> None:
        """Add the anchors of all workers' batches, in the order of workers and images.

        Args:
            anchors: `[B,N+1,D]`, before any shift.
            present: whether the image has an anchor of the class, bool `[B,N+1]`.
        """
        slots = self.rows.shape[1]
        anchors, present = gather_rows(anchors.float()), gather_rows(present)
        for index in range(len(self.rows)):
            rows = anchors[present[:, index], index][-slots:]
            slot = (self.pushed[index] + torch.arange(len(rows), device=rows.device)) % slots
            self.rows[index, slot] = rows
            self.pushed[index] += len(rows)

    @torch.no_grad()
    def cluster(self, seed: int) -> None:
        """Compute the context prototypes by k-means of the anchors.

        Every worker computes them; those of the first worker are then taken over by all.
        """
        for index, pushed in enumerate(self.pushed.tolist()):
            rows = self.rows[index, : min(pushed, self.rows.shape[1])].cpu()
            count = min(self.context.shape[1], len(rows))
            self.context[index] = 0
            if count:
                self.context[index, :count] = kmeans(rows, count, seed).to(self.context)
            self.found[index] = count
        broadcast_from_first(self.context)


def kmeans(rows: Tensor, clusters: int, seed: int) -> Tensor:
    """Return the cluster means `[K,D]` of rows `[R,D]`, computed by faiss."""
    algorithm = faiss.Kmeans(
        rows.shape[1],
        clusters,
        niter=20,
        seed=seed + 1,
        min_points_per_centroid=1,
        max_points_per_centroid=len(rows),
    )
    algorithm.train(rows.numpy())
    return torch.from_numpy(algorithm.centroids)
