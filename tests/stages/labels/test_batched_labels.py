"""Tests of labels from class maps by DenseCRF in torch, beside those of pydensecrf."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from limits import HANG
from wsss.platform.config.experiment import Views
from wsss.platform.config.groups.network import Network
from wsss.platform.data.formats import class_maps, label_maps, shards
from wsss.platform.data.formats.class_maps import ClassMaps
from wsss.platform.ops.crf import CRFS, crf_bytes
from wsss.platform.stages.inference import actors
from wsss.platform.stages.labels import batched_labels
from wsss.platform.stages.labels.batched_labels import batches, labels_of_batch
from wsss.platform.stages.labels.pseudo_labels import Cut, labels_of, scores_at_level
from wsss.platform.stages.training.label_learners import Boundaries
from wsss.platform.stages.training.trainer import build
from wsss.platform.storage.artifact_files import LocalFolder

HEIGHT, WIDTH = 24, 36
CLASSES = ((), (3,), (1, 2), (0, 2), (0, 1, 4, 9), (7, 8, 20))


def maps_of(classes, id="a", seed=0):
    planes = np.random.default_rng(seed).random((len(classes), 6, 9)).astype(np.float16)
    return ClassMaps(id=id, classes=classes, planes=planes, height=HEIGHT, width=WIDTH)


def image_of(seed):
    """Return an image of slowly changing colours, with some noise."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(0, 255, (1, 3, 3, 4)))
    smooth = torch.nn.functional.interpolate(coarse, (HEIGHT, WIDTH), mode="bilinear")[0]
    noisy = smooth.permute(1, 2, 0).numpy() + rng.normal(0, 4, (HEIGHT, WIDTH, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("levels", [(0.6,), (0.7, 0.3), (0.0,), (1.0,)])
@pytest.mark.parametrize("name", CRFS)
def test_a_batch_gets_the_labels_that_pydensecrf_gives_each_image(name, levels):
    """Images of a batch have different numbers of classes, and some a background plane.

    A background of 1 stands for a segmenter's probabilities.
    """
    probabilities = levels == (1.0,)
    power = 1.0 if probabilities else 1.5
    cut = Cut(levels=levels, crf=CRFS[name], power=power, probabilities=probabilities)
    images = [image_of(seed) for seed in range(len(CLASSES))]
    maps = [maps_of(classes, seed=seed) for seed, classes in enumerate(CLASSES)]
    labels = labels_of_batch(torch.from_numpy(np.stack(images)), maps, cut)
    assert labels.dtype == torch.uint8
    for got, image, image_maps in zip(labels, images, maps, strict=True):
        expected = labels_of(image, image_maps, cut)
        assert (got.numpy() == expected).mean() > 0.99
        assert {0, *image_maps.classes, 255} >= set(np.unique(got))


STARTS = {
    "constant": Cut(levels=(0.6, 0.3), crf=CRFS["irn"]),
    "soft": Cut(levels=(0.6, 0.3), crf=CRFS["psa"]),
    "soft, to a power": Cut(levels=(0.9, 0.05), crf=CRFS["deeplab"], power=1.5),
    "probabilities": Cut(levels=(1.0,), crf=CRFS["deeplab"], probabilities=True),
}


@pytest.mark.parametrize("cut", STARTS.values(), ids=list(STARTS))
@pytest.mark.parametrize("classes", CLASSES)
def test_both_backends_start_from_the_same_scores(classes, cut):
    """Only a soft DenseCRF of maps without a background plane starts from a falling background."""
    maps = maps_of(classes, seed=3)
    start = batched_labels._scores(maps, cut, torch.device("cpu"))
    for level, scores in zip(cut.levels, start.numpy(), strict=True):
        np.testing.assert_allclose(scores, scores_at_level(maps, level, cut), 1e-6, 1e-6)
        if cut.probabilities:
            np.testing.assert_allclose(scores.sum(0), 1, rtol=1e-6)
        elif 0 in classes:
            unrefined = scores_at_level(maps, level, replace(cut, crf=None))
            np.testing.assert_allclose(scores, unrefined, rtol=1e-6)
        elif cut.soft and classes:
            alpha = np.log(level) / np.log(1 - level)
            highest = scores[1:].max(0).astype(np.float64)
            np.testing.assert_allclose(scores[0], (1 - highest) ** alpha, rtol=1e-3, atol=1e-6)
        else:
            np.testing.assert_array_equal(scores[0], np.float32(level))


def write_maps(piece, folder):
    """Write class maps of the images of a slice with one, two or three classes; return them."""
    rows = shards.read(piece, ("id",))
    classes = [(1,), (1, 3), (2,), (1, 2, 3)]
    maps = [maps_of(classes[k % 4], row["id"], k) for k, row in enumerate(rows)]
    class_maps.write(folder / f"{piece.name}.parquet", maps)
    return maps


def labels_in_process(piece, folder, cut):
    """Return the labels of a slice by id, and the ids that the actor names."""
    maps = {piece.name: folder / f"{piece.name}.parquet"}
    out = folder.subfolder("out")
    job = batched_labels.Job(cut=cut, maps=maps, folder=out, views=Views(actors=1))
    threads = torch.get_num_threads()
    actor = batched_labels.Label(job)
    assert actor.work(piece) == piece.rows
    torch.set_num_threads(threads)
    return label_maps.read(label_maps.file_of_slice(out, piece).local()), actor.reduced.get(
        "too_large", []
    )


def test_an_actor_writes_the_labels_of_a_slice(write_shards, tmp_path, image_batching):
    (piece,) = write_shards([7], size=(HEIGHT, WIDTH))
    folder = LocalFolder(tmp_path)
    maps = write_maps(piece, folder)
    cut = Cut(levels=(0.7, 0.3), crf=CRFS["irn"], least=0.1)
    labels, named = labels_in_process(piece, folder, cut)
    assert not named
    for image_maps, row in zip(maps, shards.read(piece, ("id", "image")), strict=True):
        image = actors.decode_image(row["image"], row["id"])
        same = labels[row["id"]] == labels_of(image, image_maps, cut)
        assert same.mean() > 0.99


def test_an_image_too_large_for_dense_crf_is_cut_and_named(write_shards, tmp_path, image_batching):
    """The limit lies between the memory of two labels and of three, below that of two images."""
    (piece,) = write_shards([4], size=(HEIGHT, WIDTH))
    folder = LocalFolder(tmp_path)
    maps = write_maps(piece, folder)
    limit = crf_bytes(HEIGHT * WIDTH, 2)
    cut = Cut(levels=(0.7, 0.3), crf=replace(CRFS["psa"], smooth=30.0), most_bytes=limit)
    labels, named = labels_in_process(piece, folder, cut)
    assert named == [maps[1].id, maps[3].id]
    refined, _ = labels_in_process(piece, folder, replace(cut, most_bytes=limit * 99))
    for number, image_maps in enumerate(maps):
        unrefined = labels_of(image_of(0), image_maps, replace(cut, crf=None))
        expected = unrefined if number in (1, 3) else refined[image_maps.id]
        np.testing.assert_array_equal(labels[image_maps.id], expected)


def test_a_batch_fits_the_memory_of_an_image():
    maps = [maps_of(CLASSES[k]) for k in (1, 1, 1, 4, 1)]
    one, four = (crf_bytes(HEIGHT * WIDTH, labels) for labels in (2, 4))
    cut = Cut(levels=(0.5,), crf=CRFS["irn"])
    assert list(batches(range(5), maps, cut)) == [[0, 1, 2, 3, 4]]
    assert list(batches(range(5), maps, replace(cut, most_bytes=2 * one))) == [
        [0, 1],
        [2],
        [3],
        [4],
    ]
    assert list(batches(range(5), maps, replace(cut, most_bytes=2 * four))) == [[0, 1], [2, 3], [4]]
    assert list(batches([], maps, cut)) == []


SCRIPT = """
import os, sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np
import ray
from ray.cluster_utils import Cluster
from wsss.platform.config.experiment import Experiment
from wsss.platform.config.fields import resolved
from wsss.platform.config.groups.network import Network
from wsss.platform.data.formats import shards
from wsss.platform.method import Clustering
from wsss.platform.ops.crf import CRFS
from wsss.platform.pipeline.context import Catalog, Context
from wsss.platform.ray_runtime import cluster, gpus
from wsss.platform.stages.inference import actors, propagation
from wsss.platform.stages.labels import batched_labels
from wsss.platform.stages.labels.pseudo_labels import Cut
from wsss.platform.stages.prototypes import clustering
from wsss.platform.storage.artifact_files import LocalFolder
from wsss.platform.storage.store import Store


def place():
    share = ray.get_runtime_context().get_assigned_resources()["GPU"]
    return f"{share} of GPU {ray.get_gpu_ids()}"


def named(actor):
    class Named(actor):
        def work(self, piece):
            rows = super().work(piece)
            self.note("places", [place()])
            return rows

    return Named


class NamedHolder(clustering.GPUHolder):
    def sizes(self):
        (FOLDER / "holder").write_text(f"{place()}, {self.device}")
        return super().sizes()


FOLDER = Path(sys.argv[1])
nodes = Cluster()
nodes.add_node(num_cpus=4, num_gpus=1)
os.environ["RAY_ADDRESS"] = nodes.address
folder = LocalFolder(FOLDER)
pieces = [shards.Slice(folder.subfolder("part") / "part-00000.parquet", k, 8) for k in range(2)]
catalog = Catalog.of(Store(FOLDER / "store"))
context = Context(resolved(Experiment(), catalog.gpu), catalog)
views = context.views()
print("backend", context.experiment.refine.crf_backend, "actors", views.actors, gpus._memory())
gpus._memory = lambda: 24 << 30
views = context.views()
print("with 24 GiB: actors", views.actors)
count = lambda done, total: print("done", done, "of", total)
job = batched_labels.Job(
    cut=Cut(levels=(0.7, 0.3), crf=CRFS["irn"]),
    maps={piece.name: folder / f"{piece.name}.parquet" for piece in pieces},
    folder=folder.subfolder("out"),
    views=views,
)
print("labels", actors.compute(named(batched_labels.Label), job, pieces, count)["places"])
walk = propagation.Job(
    network=Network(backbone="small"),
    weights=folder / "boundaries.pt",
    maps=folder,
    folder=folder.subfolder("walked"),
    radius=3,
    beta=10.0,
    steps=8,
    power=1.0,
    background=False,
    views=views,
)
print("walks", actors.compute(named(propagation.Walk), walk, pieces, count)["places"])
clustering.GPUHolder = NamedHolder
features = [folder / "features.npy"]
options = Clustering(split="train", threshold=0.5, clusters=3)
clustering.run(features, options, seed=0, limit=1 << 20)
print("small features are sent:", (FOLDER / "holder").exists())
clustering.BYTES_PER_HOLDER = 1
with ThreadPoolExecutor() as pool:
    waiting = pool.submit(clustering.Holders, features * 2, 0.5, 2, 1 << 20, on_gpus=True)
    while not ray.util.placement_group_table():  # the first of two holders would fit
        time.sleep(0.1)
    ours = clustering.run(features, options, seed=0, limit=1 << 20)
    print("k-means", (FOLDER / "holder").read_text())
    nodes.add_node(num_cpus=1, num_gpus=1)
    waiting.result().close()
while any(group["state"] != "REMOVED" for group in ray.util.placement_group_table().values()):
    time.sleep(0.1)
alone = clustering.run(features, options, seed=0, workers=1, limit=1 << 20)
assert ours.keys() == alone.keys() == {(0, 0), (0, 1)}
for group, clusters in alone.items():
    assert ours[group].counts.tolist() == clusters.counts.tolist()
    np.testing.assert_allclose(ours[group].centers, clusters.centers, atol=1e-3)

limits = {"GPU_limit": 3, "cpu_stage_limit": 4}
cpu_node = nodes.add_node(num_cpus=2, resources={"cpu_stage": 2, **limits})

def node_of(piece):
    return ray.get_runtime_context().get_node_id()

print("apart", set(cluster.map_tasks(node_of, range(8))) == {cpu_node.node_id})
print("alive", cluster.survives(node_of, 0), cluster.workers(), cluster.gpus())
ray.shutdown()
nodes.shutdown()
"""


def write_features(folder, rows=40):
    """Write the features, the class maps and the index of one image of class 1."""
    values = np.random.default_rng(0).random((rows, 8)).astype(np.float16)
    np.save(folder.path / "features.npy", values)
    index = {"id": "a", "labels": [0], "height": 4, "width": rows, "offset": 0}
    (folder.path / "features.json").write_text(json.dumps([{**index, "grids": [[1, rows]]}]))
    plane = np.linspace(0, 1, rows, dtype=np.float16)[None, None]
    maps = ClassMaps(id="a", classes=(1,), planes=plane, height=4, width=rows)
    class_maps.write(folder / "features.parquet", [maps])


@pytest.mark.faults
def test_on_a_node_with_a_gpu_actors_share_it_and_cpu_stages_stay_off_it(write_shards, tmp_path):
    """Ray pretends that this machine has a GPU; torch computes on the CPU where it sees none.

    The first GPU node has most cores and is left alone once there is a node for CPU stages."""
    pieces, folder = write_shards([16], size=(HEIGHT, WIDTH)), LocalFolder(tmp_path)
    maps = [image_maps for piece in pieces for image_maps in write_maps(piece, folder)]
    write_features(folder)
    boundary_net = build(Network(backbone="small"), Boundaries(), 0, 0)
    torch.save(boundary_net.state_dict(), tmp_path / "boundaries.pt")
    words = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    result = subprocess.run(words, capture_output=True, text=True, timeout=HANG)
    assert "done 16 of 16\n" in result.stdout, result.stderr
    lines = result.stdout.splitlines()
    if not torch.cuda.is_available():
        assert "backend torch actors 1 0" in lines
    assert "with 24 GiB: actors 2" in lines
    for stage in ("labels", "walks"):
        assert f"{stage} ['0.5 of GPU [0]', '0.5 of GPU [0]']" in lines, result.stderr
    device = "cuda" if torch.cuda.is_available() else "cpu"
    assert "small features are sent: False" in lines
    assert f"k-means 1.0 of GPU [0], {device}" in lines, result.stderr
    assert result.returncode == 0, result.stderr
    assert lines[-2:] == ["apart True", "alive True 4 3"]
    files = [label_maps.file_of_slice(LocalFolder(tmp_path / "out"), piece) for piece in pieces]
    labels = {id: plane for file in files for id, plane in label_maps.read(file.local()).items()}
    assert labels.keys() == {image_maps.id for image_maps in maps}
    walked = [label_maps.file_of_slice(folder.subfolder("walked"), piece) for piece in pieces]
    assert {m.id for m in class_maps.read(file.local() for file in walked)} == labels.keys()
