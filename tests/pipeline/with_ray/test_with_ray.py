"""Tests of jobs with Ray: results, errors and deaths of other processes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from in_process import stages_in_process
from PIL import Image
from small_jobs import TRAIN
from wsss.platform.data import registry
from wsss.platform.data.formats import class_maps, label_maps, shards
from wsss.platform.data.formats.class_maps import ClassMaps
from wsss.platform.data.formats.shards import slices
from wsss.platform.data.sources.folder import Folder
from wsss.platform.data.sources.scenes import Scenes
from wsss.platform.errors import InputError
from wsss.platform.ops.crf import CRFS
from wsss.platform.pipeline.execution import Execution
from wsss.platform.records import progress_file
from wsss.platform.records.progress import ProgressDisplay
from wsss.platform.records.result_id import ResultId
from wsss.platform.stages.labels import pseudo_labels
from wsss.platform.stages.labels.pseudo_labels import Cut
from wsss.platform.stages.prototypes import clustering
from wsss.platform.storage.artifact_files import LocalFolder
from wsss.platform.storage.store import Store

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("ray_started")]
exact = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU does not repeat a sum exactly")


def content(path: Path) -> Any:
    """Return the bytes of a file, or the arrays of an archive, which holds the time of writing."""
    if path.suffix != ".npz":
        return path.read_bytes()
    with np.load(path) as archive:
        return {name: archive[name].tobytes() for name in archive.files}


@exact
@pytest.mark.faults
def test_a_rung_does_not_change_a_training(ray_trial: Any, job: Any) -> None:
    """The training goes on from the checkpoint of the rung, in another process."""
    assert ray_trial.result["error"] is None
    assert [rung["epoch"] for rung in ray_trial.rungs] == [1]
    score = job.pipeline.read_scores()[ResultId(localizer="cam")]["train"]
    assert ray_trial.result["value"] == score.value
    assert not list((ray_trial.store.storage.local_folder / "training").iterdir())


@exact
def test_ray_computes_what_one_process_computes(ray_chain: Execution, chain: Execution) -> None:
    """The files of artifacts of all stages are equal, from the shards to the predictions."""
    shards_key = ray_chain.plan.context.shards.key
    stages = [("shards", shards_key), *((s.name, s.key) for s in ray_chain.plan.stages)]
    assert {name for name, _ in stages} == {"shards", *(s.name for s in chain.plan.stages)}
    for name, key in stages:
        one, other = ray_chain.store.open(name, key), chain.store.open(name, key)
        assert one.manifest["files"].keys() == other.manifest["files"].keys()
        for file in one.manifest["files"]:
            first, second = one.file(file).local(), other.file(file).local()
            assert content(first) == content(second), f"{name} {file}"


def test_an_image_that_kills_its_process_is_named_and_kept_unrefined(tmp_path: Path) -> None:
    """pydensecrf dies of a colour deviation this small, except on a black image."""
    (tmp_path / "in" / "images").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    pixels = {"a": np.zeros_like(noise), "b": noise, "c": np.zeros_like(noise)}
    for id, array in pixels.items():
        Image.fromarray(array).save(tmp_path / "in" / "images" / f"{id}.png")
    (tmp_path / "in" / "labels.csv").write_text("id,labels\na,ant\nb,ant\nc,ant\n")
    store = Store(tmp_path / "store")
    with stages_in_process():
        dataset, _ = registry.add(store, Folder(tmp_path / "in"), "three", ProgressDisplay())
    (piece,) = slices(dataset, "train")
    rng = np.random.default_rng(1)
    rows = [
        ClassMaps(
            id=row["id"],
            classes=(1,),
            planes=rng.random((1, 10, 12)).astype(np.float16),
            height=40,
            width=48,
        )
        for row in shards.read(piece, ("id",))
    ]
    maps = LocalFolder(tmp_path) / f"{piece.name}.parquet"
    class_maps.write(maps, rows)
    cut = Cut(levels=(0.5,), crf=replace(CRFS["irn"], colour_rgb=1e-6))
    out = LocalFolder(tmp_path).subfolder("out")
    about = pseudo_labels.make(out, [piece], [maps], cut, lambda done, total: None)
    assert about["unrefined"] == ["b"]
    assert about["images"] == 3
    labels = label_maps.read(label_maps.file_of_slice(out, piece).local())
    (noisy,) = [m for m in rows if m.id == "b"]
    unrefined = pseudo_labels.labels_of(noise, noisy, Cut(levels=(0.5,)))
    np.testing.assert_array_equal(labels["b"], unrefined)


def artifact(job: Any, stage: Any) -> Any:
    return job.store.open(stage.name, stage.key)


def test_clustering_does_not_depend_on_the_number_of_workers(job: Any) -> None:
    maps = artifact(job, job.pipeline.plan.maps[ResultId(localizer="cam")]["train"])
    files = maps.files(".npy")
    settings = replace(job.pipeline.plan.localizer.clustering, clusters=5)
    one = clustering.run(files, settings, seed=3, workers=1, limit=1 << 30)
    two = clustering.run(files, settings, seed=3, workers=2, limit=0)
    assert one.keys() == two.keys()
    for s in one:
        assert np.array_equal(one[s].centers, two[s].centers)
        assert np.array_equal(one[s].counts, two[s].counts)


@pytest.mark.faults
def test_two_training_workers_finish(job: Any) -> None:
    training = replace(job.experiment.training, workers=2, epochs=1)
    pipeline = Execution.of(job.store, replace(job.experiment, training=training, method="cam"))
    step = pipeline.plan.steps[0]
    network, cached = pipeline.compute(step)
    assert not cached
    assert network.about["workers"] == 2
    lines = progress_file.read_metrics(network.file("metrics.jsonl"))
    assert [r["step"] for r in lines] == list(range(TRAIN // 8))
    assert lines[0]["loss"] == pytest.approx(lines[0]["classification"])


def test_ray_checks_a_source_as_its_shards_keep_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "ROWS_PER_SHARD", 32)
    source, store = Scenes(train=60, val=3, size=32), Store(tmp_path / "store")
    conversion = registry.read_all(source, ProgressDisplay())
    assert list(tmp_path.iterdir()) == []
    with stages_in_process():
        registry.add(store, source, "scenes", ProgressDisplay())
    assert registry.check(store, "scenes") == conversion.check
    assert conversion.check.whole.agreeing == conversion.check.whole.comparable > 55


def test_a_truncated_image_fails_the_job_and_leaves_nothing(tmp_path: Path) -> None:
    from wsss.platform.data.sources.folder import Folder

    scenes = Scenes(train=4, val=1)
    (tmp_path / "in" / "images").mkdir(parents=True)
    for item in scenes.items()[:4]:
        (tmp_path / "in" / "images" / f"{item.id}.png").write_bytes(scenes.load(item).image)
    lines = [f"{item.id},ant" for item in scenes.items()[:4]]
    (tmp_path / "in" / "labels.csv").write_text("\n".join(["id,labels", *lines]))
    broken = next((tmp_path / "in" / "images").iterdir())
    broken.write_bytes(broken.read_bytes()[:200])
    store = Store(tmp_path / "store")
    with pytest.raises(InputError, match=broken.name):
        registry.add(store, Folder(tmp_path / "in"), "broken", ProgressDisplay())
    assert not list(store.storage.local_folder.glob("artifacts/*/*"))
    assert not list(store.storage.local_folder.glob("attempts/*"))
    assert registry.names(store) == []
    source = Folder(tmp_path / "in")
    dataset, _ = registry.add(store, source, "broken", ProgressDisplay(), tolerate=0.5)
    assert dataset.about["counts"] == {"train": 3}
    assert broken.name in dataset.about["quarantined"][0]
