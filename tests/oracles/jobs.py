"""Jobs with the preset `release` on few images, whose stages the oracles are compared with."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision.models import mobilenet_v2
from torchvision.models.vgg import cfgs, make_layers
from wsss.platform.data import registry
from wsss.platform.data.formats import class_maps, label_maps, shards
from wsss.platform.data.images import decode_image
from wsss.platform.data.sources.scenes import Scenes
from wsss.platform.data.sources.voc import VOC
from wsss.platform.data.transforms import normalized
from wsss.platform.method import build_experiment
from wsss.platform.models.backbones import build
from wsss.platform.pipeline.execution import Execution
from wsss.platform.records.progress import ProgressDisplay
from wsss.platform.records.result_id import ResultId
from wsss.platform.stages.training.trainer import build as build_network
from wsss.platform.storage.store import Store

IMAGES, SIDE, DRAWN = 5, 128, 100
"""Number of photographs, side of the crops that training sees, and side of drawn images.

The sides of drawn images are no multiples of 16, as those of most photographs.
"""


@dataclass
class Data:
    """Images in a store, and weights for the networks."""

    store: Store
    images: int
    weights: Path
    vgg: Path


def five_photographs(data: Path, folder: Path) -> Data:
    """Add the first five images of VOC's subset `voc12_mixed` below `data`."""
    tree, chosen = data / "voc12_mixed", folder / "five"
    lists = Path("ImageSets") / "Segmentation" / "train.txt"
    ids = (tree / lists).read_text().split()[:IMAGES]
    (chosen / lists).parent.mkdir(parents=True)
    (chosen / lists).write_text("\n".join(ids) + "\n")
    for name in ("JPEGImages", "SegmentationClass", "classes.txt"):
        (chosen / name).symlink_to(tree / name)
    with (tree / "image_labels.csv").open() as stream:
        rows = [row for row in csv.reader(stream) if row[0] in ("id", *ids)]
    with (chosen / "image_labels.csv").open("w") as stream:
        csv.writer(stream).writerows(rows)
    store = Store(folder / "store")
    registry.add(store, VOC(chosen), "five", ProgressDisplay())
    weights = data / "weights" / "mobilenet_v2_onnxzoo_features.pth"
    return Data(store, IMAGES, weights, random_vgg(folder))


def drawn_scenes(folder: Path, images: int) -> Data:
    """Add drawn images, and make a random network whose statistics fit them."""
    store = Store(folder / "store")
    source = Scenes(train=images, val=1, size=DRAWN)
    registry.add(store, source, "five", ProgressDisplay())
    torch.manual_seed(0)
    features = mobilenet_v2(weights=None).features
    for module in features.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the statistics are the means over all batches
    items = source.items()[:images]
    pixels = np.stack([source.load(item).pixels for item in items])
    with torch.no_grad():
        features.train()(normalized(torch.from_numpy(pixels)))
    torch.save({f"features.{k}": v for k, v in features.state_dict().items()}, folder / "net.pth")
    return Data(store, images, folder / "net.pth", random_vgg(folder))


def random_vgg(folder: Path) -> Path:
    """Write a random VGG-19, because none is at hand."""
    torch.manual_seed(0)
    layers = torch.nn.ModuleDict({"features": make_layers(cfgs["E"])})
    torch.save(layers.state_dict(), folder / "vgg19.pth")
    return folder / "vgg19.pth"


def executed(data: Data, method: str) -> Execution:
    """Run the preset `release` of a method with IRN, with short trainings on small crops."""
    short = {"epochs": 2 if method == "ssc" else 4, "batch_size": data.images, "crop": SIDE}
    changes: dict[str, Any] = {
        "data": "five",
        "network.backbone": "mobilenet_v2",
        "network.weights": str(data.weights),
        "scoring.splits": ("train",),
        "refine.kind": "irn",
        "training.split": "train",
        "training.resize": (128, 160),
        "training.lr": 0.005,  # five images diverge at 0.1
        **{f"training.{name}": value for name, value in short.items()},
        **{f"refine.training.{name}": value for name, value in short.items()},
    }
    if method == "ssc":
        changes["ssc.vgg"] = str(data.vgg)
    experiment = build_experiment(method, preset="release", changes=changes)
    execution = Execution.of(data.store, experiment)
    execution.execute()
    return execution


class Finished:
    """A finished job, whose artifacts are read by image."""

    def __init__(self, execution: Execution) -> None:
        self.plan, self.store = execution.plan, execution.store
        pieces = self.plan.context.pieces("train")
        columns = ("id", "image", "labels")
        self.rows = [row for piece in pieces for row in shards.read(piece, columns)]
        self.labels = {row["id"]: [int(n) for n in row["labels"]] for row in self.rows}
        self.images = {row["id"]: decode_image(row["image"], row["id"]) for row in self.rows}
        self.name = self.plan.experiment.method

    def maps(self, name: str, suffix: str = class_maps.MAPS) -> dict[str, class_maps.ClassMaps]:
        """Return the class maps of a result by image: at its size, or with a suffix at stride 4."""
        artifact = self.artifact(self.plan.maps[ResultId.parse(name)]["train"])
        paths = [file.local() for file in artifact.files(suffix)]
        return {maps.id: maps for maps in class_maps.read(paths)}

    def artifact(self, stage: Any) -> Any:
        return self.store.open(stage.name, stage.key)

    def planes(self, stage: Any, suffix: str = ".parquet") -> dict[str, label_maps.Plane]:
        """Return labels, superpixels or boundaries by image."""
        files = [label_maps.read(file.local()) for file in self.artifact(stage).files(suffix)]
        return {id: plane for planes in files for id, plane in planes.items()}

    def stage(self, name: str, key: str = "") -> Any:
        """Return the only stage of a name, with a key in its configuration."""
        (stage,) = [s for s in self.plan.stages if s.name == name and (not key or key in s.config)]
        return stage

    def network(self, stage: Any, learner: Any) -> Any:
        """Return the trained network of a stage, as the product uses it."""
        experiment, classes = self.plan.experiment, len(self.plan.context.classes)
        out = build_network(experiment.network, learner, classes, 0)
        state = self.artifact(stage).file("network.pt").local()
        out.load_state_dict(torch.load(state, weights_only=True))
        return out.eval()


class Depthwise(torch.nn.Module):
    """A depthwise convolution as a sum over the positions of its filter.

    In float64 PyTorch computes it one channel after another, which takes several times as long."""

    def __init__(self, conv: torch.nn.Conv2d) -> None:
        super().__init__()
        assert conv.bias is None
        self.conv = conv

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        conv, weight = self.conv, self.conv.weight[:, 0, :, :, None, None]
        pads, steps, gaps = conv.padding, conv.stride, conv.dilation
        x = torch.nn.functional.pad(x, (pads[1], pads[1], pads[0], pads[0]))
        size = weight.shape[1:3]
        rows, columns = (
            (x.shape[2 + k] - gaps[k] * (size[k] - 1) - 1) // steps[k] + 1 for k in (0, 1)
        )
        total = x.new_zeros(1, 1, 1, 1)
        for i in range(size[0]):
            for j in range(size[1]):
                top, left = i * gaps[0], j * gaps[1]
                part = x[:, :, top :: steps[0], left :: steps[1]][:, :, :rows, :columns]
                total = total + weight[:, i, j] * part
        return total


def backbone(network: Any) -> Any:
    """Return the backbone of a network in float64, without the hooks of a method."""
    out = build("mobilenet_v2")
    out.load_state_dict(network.backbone.state_dict())
    for module in [*out.modules()]:
        for name, child in [*module.named_children()]:
            if isinstance(child, torch.nn.Conv2d) and child.groups == child.in_channels > 1:
                setattr(module, name, Depthwise(child))
    return out.double().eval()


def array(tensor: torch.Tensor) -> Any:
    return tensor.detach().double().numpy()
