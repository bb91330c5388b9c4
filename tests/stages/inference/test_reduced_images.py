"""Tests that images which inference reduced, to keep to the memory of one image, are named."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from wsss.platform.config.experiment import Views
from wsss.platform.config.groups.network import Network
from wsss.platform.data.formats import class_maps, shards
from wsss.platform.data.formats.class_maps import ClassMaps
from wsss.platform.models.backbones import Small
from wsss.platform.ops.maps import grid_size
from wsss.platform.records.reduced_images import reduced_sentences
from wsss.platform.stages.inference import propagation, segmentation
from wsss.platform.stages.inference.actors import LateActor, merged_ids
from wsss.platform.stages.training import trainer
from wsss.platform.stages.training.label_learners import Boundaries, Segmenter
from wsss.platform.storage.artifact_files import LocalFolder

FIRST = {"number": np.array([0])}
SIZE = (41, 56)


@pytest.fixture
def walk(write_shards, tmp_path):
    """Return the actor of a random walk over three images, and the images' ids."""
    (piece,) = write_shards([3], size=SIZE)
    network = trainer.build(Network(backbone="small"), Boundaries(), 0, seed=0).eval()
    torch.save(network.state_dict(), tmp_path / "network.pt")
    rows = shards.read(piece, ("id", "labels"))
    given, planes = LocalFolder(tmp_path).subfolder("maps"), np.ones((1, *grid_size(*SIZE)))
    maps = [
        ClassMaps(id=r["id"], classes=(1,), planes=planes.astype(np.float16), height=41, width=56)
        for r in rows
    ]
    class_maps.write(given / f"{piece.name}.parquet", maps)
    job = propagation.Job(
        network=Network(backbone="small"),
        weights=LocalFolder(tmp_path) / "network.pt",
        maps=given,
        folder=LocalFolder(tmp_path).subfolder("walked"),
        radius=2,
        beta=10.0,
        steps=4,
        power=1.0,
        background=False,
        views=Views(actors=1),
    )
    return LateActor(propagation.Walk, job, [piece]), [r["id"] for r in rows]


def test_ordinary_images_are_not_named(walk):
    actor, _ = walk
    assert json.loads(actor(FIRST)["reduced"][0]) == {}


def test_a_coarser_walk_is_named(walk, monkeypatch):
    actor, ids = walk
    monkeypatch.setattr(propagation, "walk_bytes", lambda *_: 2 * Views().image_bytes)
    assert json.loads(actor(FIRST)["reduced"][0]) == {"coarser_walk": ids}
    assert json.loads(actor(FIRST)["reduced"][0]) == {"coarser_walk": ids}  # of this slice alone


@pytest.mark.parametrize(("pixels", "named"), [(41 * 56, False), (41 * 56 - 1, True)])
def test_smaller_views_are_named(walk, monkeypatch, pixels, named):
    actor, ids = walk
    monkeypatch.setattr(Small, "pixel_bytes", Views().image_bytes // pixels)
    reduced = json.loads(actor(FIRST)["reduced"][0])
    assert reduced == ({"smaller_views": ids} if named else {})


@pytest.mark.parametrize(("fit", "named"), [((28, 28), False), (None, True)])
def test_a_view_that_is_small_because_it_fits_a_box_is_not_named(
    write_shards, tmp_path, monkeypatch, fit, named
):
    (piece,) = write_shards([2], size=SIZE)
    learner = Segmenter(scales=())
    network = trainer.build(Network(backbone="small"), learner, 3, seed=0).eval()
    torch.save(network.state_dict(), tmp_path / "network.pt")
    monkeypatch.setattr(Small, "pixel_bytes", Views().image_bytes // 1000)
    job = segmentation.Job(
        learner=learner,
        network=Network(backbone="small"),
        classes=3,
        weights=LocalFolder(tmp_path) / "network.pt",
        folder=LocalFolder(tmp_path),
        probabilities=False,
        coarse=False,
        known=False,
        views=Views(actors=1),
        fit=fit,
    )
    reduced = json.loads(LateActor(segmentation.Predict, job, [piece])(FIRST)["reduced"][0])
    assert reduced == ({"smaller_views": ["i000", "i001"]} if named else {})


def test_the_ids_of_slices_are_joined_in_order():
    by_slice = [{"smaller_views": ["c", "a"]}, {}, {"coarser_walk": ["d"], "smaller_views": ["b"]}]
    assert merged_ids(by_slice) == {"smaller_views": ["a", "b", "c"], "coarser_walk": ["d"]}


def test_a_sentence_counts_the_images_and_names_the_first():
    about = {"images": 9, "smaller_views": list("abcdefg"), "coarser_walk": ["h"]}
    assert list(reduced_sentences(about)) == [
        "smaller views were computed of 7 images, to keep to views.image_gib: a, b, c, d, e, ...",
        "the random walk had a coarser grid on 1 image, to keep to views.image_gib: h",
    ]
    assert list(reduced_sentences({"images": 9})) == []
