"""Tests that operations and methods compute on the device of their tensors.

The tensors are fake: they have a shape and the device `cuda`, but no values, and need no GPU. An
operation that mixes them with tensors of the CPU, or reads their values there, raises an error.
Operations whose steps depend on values (random walk, DenseCRF, k-means) have tests of their own.
"""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from wsss.methods.cam import CAM
from wsss.platform.config.experiment import Views
from wsss.platform.config.groups.network import Network
from wsss.platform.data.formats.class_maps import ClassMaps
from wsss.platform.method import Batch, build_experiment, find_method
from wsss.platform.models import backbones
from wsss.platform.ops import maps, pairwise, prototypes, random_walk
from wsss.platform.ops.crf import CRFS, hard_probabilities
from wsss.platform.ops.refinement import pixel_adaptive
from wsss.platform.stages.inference import class_maps, propagation
from wsss.platform.stages.inference import pixel_adaptive as adaptation
from wsss.platform.stages.labels import batched_labels
from wsss.platform.stages.labels.pseudo_labels import Cut
from wsss.platform.stages.training.label_learners import Boundaries, Segmenter

CUDA = torch.device("cuda", 0)
SMALL, LARGE = (4, 5), (16, 20)
PAIR = pixel_adaptive.BackgroundPair(0.3, 0.1)


def fake(*shape, dtype=torch.float32):
    return torch.empty(shape, device=CUDA, dtype=dtype)


def image_maps(*classes):
    planes = np.zeros((len(classes), *SMALL), np.float16)
    return ClassMaps(id="a", classes=classes, planes=planes, height=16, width=20)


OPERATIONS = {
    "normalize": lambda: maps.normalize(fake(2, 3, *SMALL)),
    "normalize_range": lambda: maps.normalize_range(fake(2, 3, *SMALL)),
    "merge_scales": lambda: maps.merge_scales([fake(1, 2, *SMALL), fake(1, 2, 8, 9)], LARGE),
    "enlarge_and_cut": lambda: maps.enlarge_and_cut(fake(1, 2, *SMALL), 4, (15, 18)),
    "best_plane": lambda: maps.best_plane(fake(2, 3, *SMALL), LARGE)[1],
    "best_plane, some allowed": lambda: maps.best_plane(
        fake(2, 3, *SMALL), LARGE, fake(2, 3, dtype=torch.bool)
    )[1],
    "best_class": lambda: maps.best_class(fake(2, *SMALL), (2, 7), LARGE)[1],
    "best_class, background": lambda: maps.best_class(fake(3, *SMALL), (0, 2, 7), LARGE)[1],
    "best_class, one": lambda: maps.best_class(fake(1, *SMALL), (2,), LARGE)[1],
    "best_class, none": lambda: maps.best_class(fake(0, *SMALL), (), LARGE)[1],
    "masked_average": lambda: prototypes.masked_average(fake(1, 8, *SMALL), fake(1, 2, *SMALL)),
    "cosine_maps": lambda: prototypes.cosine_maps(fake(1, 8, *SMALL), fake(1, 2, 8)),
    "similar_values": lambda: pairwise.similar_values(
        fake(1, 2, *SMALL), fake(1, 8, *SMALL), "softmax"
    ),
    "affinities": lambda: random_walk.affinities(fake(1, *SMALL), 5),
    "refined_planes": lambda: pixel_adaptive.refined_planes(fake(1, 3, *LARGE), fake(1, 2, *LARGE)),
    "background_planes": lambda: pixel_adaptive.background_planes(fake(1, 2, *SMALL), PAIR),
    "hard_probabilities": lambda: hard_probabilities(
        fake(1, 2, *SMALL, dtype=torch.long), fake(1, 3, dtype=torch.bool), 0.7
    ),
    "scores of labels": lambda: batched_labels._scores(
        image_maps(0, 3, 4), Cut(levels=(0.6, 0.3), crf=CRFS["irn"], power=1.5), CUDA
    ),
    "labels of a pair": lambda: adaptation.pair_labels(fake(6, *SMALL), (3, 4), LARGE),
    "labels of a pair, no class": lambda: adaptation.pair_labels(fake(0, *SMALL), (), LARGE),
    "grid of a walk": lambda: propagation.on_grid(fake(1, 2, *SMALL), LARGE),
}


@contextlib.contextmanager
def fake_tensors():
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_stays_on_the_device(name):
    with fake_tensors():
        assert OPERATIONS[name]().device == CUDA


def test_a_mixture_of_devices_is_noticed():
    with fake_tensors(), pytest.raises(RuntimeError, match="two devices"):
        fake(3) + torch.zeros(3)
    with fake_tensors(), pytest.raises(DataDependentOutputException):
        fake(3).sum().item()


def test_class_maps_leave_the_device_only_when_they_are_merged():
    with fake_tensors():
        planes = [fake(2, 3, *SMALL), fake(2, 3, 8, 10)]
        assert class_maps.merged(planes, (4, 5)).device == torch.device("cpu")


def method_of(name):
    kind = find_method(name)
    return kind(kind.Config())


def network_of(learner, name):
    with CUDA:
        backbone = backbones.build(build_experiment(name, preset="scenes").network.backbone)
        return learner.network(3, backbone)


def batch():
    size = 32
    return Batch(
        images=fake(2, 3, size, size),
        labels=fake(2, 3),
        valid=fake(2, size, size, dtype=torch.bool),
        plane=fake(2, size, size, dtype=torch.long),
        probabilities=fake(2, 4, 4, 4),
    )


@pytest.mark.parametrize(
    ("name", "learner"),
    [
        ("cam", "cam"),
        ("psdpm", "psdpm"),
        ("sipe", "sipe"),
        ("ssc", "ssc"),
        ("cpal", "cam"),  # what CPAL does with its own bank depends on the bank's values
    ],
)
def test_a_localizer_stays_on_the_device(name, learner):
    method = method_of(name)
    with fake_tensors():
        network = network_of(method_of(learner), learner).eval()
        images = batch()
        assert method.localize(network, images.images, images.labels).device == CUDA


class DeviceError(Exception):
    """The devices of the arguments that a localizer got."""


class Noting(CAM):
    """A localizer that tells the devices of its images and labels."""

    def localize(self, network, images, labels):
        raise DeviceError(images.device, labels.device)


class Cropping(CAM):
    """A localizer whose maps are a corner of its images."""

    def localize(self, network, images, labels):
        return images[..., :4, :5]


def inference_actor(method, network, keep):
    """Return an actor as it infers class maps on a GPU, with a network that is not loaded."""
    actor = object.__new__(class_maps.Infer)
    actor.job = class_maps.Job(
        trained=method,
        method=method,
        network=Network(backbone="small"),
        classes=3,
        weights=None,
        folder=None,
        views=Views(),
        keep_features=keep,
    )
    actor.network, actor.device, actor.group_size = network, CUDA, 2
    actor.most_pixels, actor.pool = 1 << 20, ThreadPoolExecutor(1)
    return actor


def test_inference_gives_a_localizer_images_and_labels_on_the_device():
    rows = [{"id": "a", "labels": [0, 2], "height": 16, "width": 20}]
    with fake_tensors():
        actor = inference_actor(Noting(CAM.Config()), None, keep=False)
        with pytest.raises(DeviceError) as noted:
            next(actor._maps(rows, [np.zeros((16, 20, 3), np.uint8)]))
    assert noted.value.args == (CUDA, CUDA)


def test_kept_features_leave_the_device_and_class_maps_stay():
    method = Cropping(CAM.Config())
    with fake_tensors():
        actor = inference_actor(method, network_of(method, "cam").eval(), keep=True)
        maps, features = actor._scale(fake(2, 3, 32, 32), fake(2, 3))
        assert maps.device == CUDA
        assert [values.device for values in features] == [torch.device("cpu")] * 2


@pytest.mark.parametrize("name", ["cam", "psdpm", "sipe", "irn", "deeplabv2"])
def test_losses_stay_on_the_device(name):
    others = {"irn": Boundaries(radius=3), "deeplabv2": Segmenter(scales=())}
    learner = others.get(name) or method_of(name)
    with fake_tensors():
        network = network_of(learner, "cam" if name in others else name).train()
        losses = learner.losses(network, batch(), 0.5)
        assert {value.device for value in losses.values()} == {CUDA}
