"""Training and multi-scale inference of a classifier as IRN's `train_cam` and `make_cam` do."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers.peer_images import Crops, Pyramids
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from wsss.platform.models import backbones

LOADERS = max(1, (os.cpu_count() or 2) // 2)


class Net(nn.Module):
    """Network with our backbone and a head."""

    def __init__(self, backbone: str, classes: int) -> None:
        super().__init__()
        self.backbone = backbones.build(backbone)
        self.head = nn.Conv2d(self.backbone.channels[3], classes, 1, bias=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(self.backbone(images)["c4"])
        return scores

    def train(self, mode: bool = True) -> Net:
        super().train(mode)
        for module in self.backbone.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


def train_step(
    net: Net, optimizer: torch.optim.Optimizer, images: torch.Tensor, labels: torch.Tensor
) -> float:
    """Train one step and return its loss."""
    loss = F.multilabel_soft_margin_loss(net(images).mean((2, 3)), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()  # for the running mean that is printed


def train(
    files: Sequence[Path],
    backbone: str,
    classes: int,
    long: tuple[int, int],
    side: int,
    batch: int,
    device: str,
) -> float:
    """Return the images a second of three epochs after the first."""
    loader = DataLoader(
        Crops(files, classes, long, side),
        batch_size=batch,
        shuffle=True,
        num_workers=LOADERS,
        pin_memory=device == "cuda",
        drop_last=True,
    )
    net = Net(backbone, classes).to(device).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    steps, ends = 3 * len(loader), []
    for epoch in range(3):
        for number, pack in enumerate(loader, epoch * len(loader)):
            for group in optimizer.param_groups:
                group["lr"] = 0.01 * (1 - number / steps) ** 0.9
            train_step(net, optimizer, pack["image"].to(device), pack["label"].to(device))
        ends.append(time.perf_counter())
    return 2 * len(loader) * batch / (ends[2] - ends[0])


@torch.no_grad()
def class_map_arrays(
    net: Net, views: Sequence[torch.Tensor], size: Sequence[int], label: int
) -> dict[str, Any]:
    """Return the class maps of one image, at stride 4 and at its size, as numpy arrays.

    Args:
        net: the network.
        views: for each scale the image and its mirror image, `[2,3,h,w]`.
        size: height and width of the image.
        label: the class of the image.
    """
    height, width = size
    small = ((height - 1) // 4 + 1, (width - 1) // 4 + 1)
    maps = []
    for pair in views:
        scores = F.relu(net(pair))
        maps.append(scores[0] + scores[1].flip(-1))
    keys = torch.tensor([label])
    arrays = {"keys": keys.numpy()}
    for name, target in (("cam", small), ("high_res", (height, width))):
        planes = [F.interpolate(f[None], target, mode="bilinear")[0] for f in maps]
        total = torch.stack(planes).sum(0)[keys]
        arrays[name] = (total / (total.amax((1, 2), keepdim=True) + 1e-5)).cpu().numpy()
    return arrays


def infer(
    files: Sequence[Path],
    backbone: str,
    classes: int,
    scales: Sequence[float],
    folder: Path,
    device: str,
) -> float:
    """Return the images a second after the first two images; write a file for each image."""
    loader = DataLoader(Pyramids(files, scales), batch_size=None, num_workers=LOADERS)
    net = Net(backbone, classes).to(device).eval()
    began = 0.0
    for number, pack in enumerate(loader):
        if number == 2:
            began = time.perf_counter()
        views = [pair.to(device) for pair in pack["views"]]
        arrays = class_map_arrays(net, views, pack["size"], number % classes)
        np.save(folder / f"{pack['name']}.npy", arrays)  # type: ignore[arg-type]
    return (len(files) - 2) / (time.perf_counter() - began)
