"""Tests of whole runs of CLIP-ES on drawn scenes, with a small CLIP network."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from in_process import stages_in_process
from torch.nn import functional as F
from wsss.dashboards.site import Site
from wsss.methods.clip_es import CLIPES, CLIPESConfig, min_max
from wsss.platform.cli import main
from wsss.platform.config.experiment import Experiment
from wsss.platform.config.fields import replaced
from wsss.platform.data import registry
from wsss.platform.data.formats import class_maps, shards
from wsss.platform.data.images import decode_image
from wsss.platform.data.sources.scenes import Scenes
from wsss.platform.data.transforms import resized
from wsss.platform.errors import InputError
from wsss.platform.method import build_experiment
from wsss.platform.models.clip import checkpoint, image_tower, text_tower
from wsss.platform.pipeline.context import Catalog
from wsss.platform.pipeline.execution import Execution
from wsss.platform.pipeline.planner import plan
from wsss.platform.records.progress import ProgressDisplay
from wsss.platform.records.result_id import ResultId
from wsss.platform.stages.clip import image_arrays
from wsss.platform.storage.store import Store
from wsss.platform.tuning import trial
from wsss.platform.tuning.sweep import Sweep

pytestmark = pytest.mark.usefixtures("in_process")

named = ResultId.parse
SPLITS = {"train": 10, "val": 4}


@dataclasses.dataclass
class Run:
    """A finished run of CLIP-ES in a store that the tests share."""

    store: Store
    experiment: Experiment
    execution: Execution

    def missing(self, **changes: Any) -> dict[str, int]:
        """Return the numbers of missing stages by name after changes of the method's options."""
        fields = {f"clip-es.{name}": value for name, value in changes.items()}
        names = [s.name for s in self.changed(fields).missing()]
        return {name: names.count(name) for name in names}

    def changed(self, fields: dict[str, Any]) -> Execution:
        return Execution.of(self.store, replaced(self.experiment, fields))


@pytest.fixture(scope="module")
def run(clip_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    with stages_in_process():
        store = Store(tmp_path_factory.mktemp("store"))
        registry.add(store, Scenes(**SPLITS, size=50), "scenes", ProgressDisplay())
        weights = {"clip-es.weights": str(clip_file)}
        e = build_experiment("clip-es", preset="scenes", changes=weights)
        execution = Execution.of(store, e)
        execution.execute()
    return Run(store, e, execution)


def test_initial_and_refined_maps_are_scored_and_nothing_is_trained(run: Run) -> None:
    scores = run.execution.read_scores()
    assert {str(k): {s: v.n for s, v in by.items()} for k, by in scores.items()} == {
        "clip-es-gradcam": SPLITS,
        "clip-es": SPLITS,
    }
    assert run.execution.plan.network is None
    assert not any(step.trains for step in run.execution.plan.steps)
    assert not run.missing()


def test_each_stage_counts_its_images(run: Run) -> None:
    for stage in run.execution.plan.stages:
        if stage.name in ("tokens", "attentions", "maps"):
            about = run.store.open(stage.name, stage.key).about
            assert about["images"] == SPLITS[stage.config["split"]]


@dataclasses.dataclass
class SlowCLIP:
    """A network in float64, and the embeddings of its texts."""

    network: Any
    classes: tuple[str, ...]
    embeddings: torch.Tensor


def slow_clip(run: Run, clip_file: Path) -> SlowCLIP:
    network: Any = checkpoint.build(checkpoint.read_checkpoint(clip_file), clip_file).double()
    classes = run.execution.plan.context.classes
    texts = CLIPES(CLIPESConfig()).texts(classes)
    return SlowCLIP(network, classes, text_tower.text_embeddings(network, texts))


def slow_maps(clip: SlowCLIP, row: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return initial and refined maps of an image in float64, from the stock blocks."""
    visual, classes, embeddings = clip.network.visual, clip.classes, clip.embeddings
    grid = [-(-length // 8) for length in (row["height"], row["width"])]
    image = resized(decode_image(row["image"], row["id"]), 8 * grid[0], 8 * grid[1])
    pixels = image_tower.normalized(torch.from_numpy(image.copy())[None]).double()
    tokens, attentions = image_tower.first_tokens(visual, pixels, "clip_es"), []
    for number, block in enumerate(visual.transformer.resblocks):
        normed = block.ln_1(tokens)
        attentions.append(block.attn(normed, normed, normed, need_weights=True)[1][0, 1:, 1:])
        if number == 3:
            break
        tokens = block(tokens)
    chosen = [*row["labels"], *range(len(classes), len(embeddings))]
    normed = normed.detach().requires_grad_()
    embedding = image_tower.image_embeddings(visual, tokens, normed)[0]
    shares = (text_tower.scale(clip.network) * embeddings[chosen] @ embedding).softmax(0)
    maps = []
    for k in range(len(row["labels"])):
        gradient = torch.autograd.grad(shares[k], normed, retain_graph=True)[0][0]
        maps.append(F.relu(normed.detach()[0, 1:] @ gradient[1:].mean(0)))
    scaled = torch.stack(maps).reshape(-1, *grid) / torch.stack(maps).max()
    attention = torch.stack(attentions).mean(0).detach()
    return min_max(scaled), CLIPES(CLIPESConfig()).refine(attention, scaled)


def test_maps_equal_the_formulas_in_float64(run: Run, clip_file: Path) -> None:
    planned = run.execution.plan
    (piece,) = planned.context.pieces("val")
    rows, clip = shards.read(piece, shards.INFERENCE_COLUMNS), slow_clip(run, clip_file)
    by_image = {row["id"]: slow_maps(clip, row) for row in rows}
    for id, index in (("clip-es-gradcam", 0), ("clip-es", 1)):
        stage = planned.maps[named(id)]["val"]
        files = run.store.open(stage.name, stage.key).files(".parquet")
        stored = {maps.id: maps for maps in class_maps.read(file.local() for file in files)}
        for row in rows:
            maps, on_patches = stored[row["id"]], by_image[row["id"]][index]
            assert maps.classes == tuple(n + 1 for n in row["labels"])
            expected = F.interpolate(on_patches[None], (13, 13), mode="bilinear")[0]
            planes = torch.from_numpy(maps.planes).double()
            assert planes.shape == expected.shape
            assert planes.max() > 0.5
            # Tokens and attentions are stored in float16; steps of a box mask may flip.
            assert (planes - expected).abs().mean() < 0.01


def test_tokens_and_attentions_are_stored_in_half_precision(run: Run) -> None:
    for step in run.execution.plan.steps:
        if step.stage.name not in ("tokens", "attentions"):
            continue
        artifact = run.store.open(step.stage.name, step.stage.key)
        for file in artifact.files(image_arrays.SUFFIX):
            for row in image_arrays.read(file):
                shape = (50, 128) if step.stage.name == "tokens" else (49, 49)
                assert row.grid == (7, 7)
                assert (row.values.dtype, row.values.shape) == ("float16", shape)
        images = SPLITS[step.stage.config["split"]]
        assert artifact.about["bytes"] == images * 2 * shape[0] * shape[1]


def test_a_change_computes_no_more_than_it_must(run: Run) -> None:
    """Texts look at no image again; the affinity's options compute no gradient again."""
    both = len(SPLITS)
    assert not run.missing(synonyms=False), "no class of scenes has a synonym"
    name = run.execution.plan.context.classes[0]
    texts = {"templates": ("a {}.",)}, {"background": ("sky", "sea")}, {"names": (f"{name}=x",)}
    for change in texts:
        missing = run.missing(**change)
        assert missing == {"embeddings": 1, "maps": 2 * both, "scores": 2 * both}
    for change in ({"rounds": 2}, {"box_threshold": 0.7}, {"box_edge": "inclusive"}):
        assert run.missing(**change) == {"maps": both, "scores": both}
        stages = run.changed({f"clip-es.{k}": v for k, v in change.items()}).plan.maps
        initial = named("clip-es-gradcam")
        assert stages[initial] == run.execution.plan.maps[initial]
    assert run.missing(blocks=2) == {"attentions": both, "maps": both, "scores": both}
    missing = run.missing(position="timm")
    assert missing == {"tokens": both, "attentions": both, "maps": 2 * both, "scores": 2 * both}


def test_the_checkpoint_enters_the_keys_by_its_content(
    run: Run, clip_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "renamed.pt").write_bytes(clip_file.read_bytes())
    assert not run.missing(weights=str(tmp_path / "renamed.pt"))
    tensors = torch.load(clip_file, weights_only=True)
    tensors["visual.proj"] *= 2
    torch.save(tensors, tmp_path / "other.pt")
    assert run.missing(weights=str(tmp_path / "other.pt"))["clip"] == 1


def test_a_trial_of_a_sweep_trains_nothing(run: Run) -> None:
    space = {"clip-es.rounds": [1, 4]}
    sweep = Sweep(base=run.experiment, space=space, split="val", scheduler="asha")
    reports: list[Any] = []
    catalog = Catalog.of(run.store)
    result = trial.run(catalog, sweep, {"clip-es.rounds": 4}, run.experiment.seed, reports.append)
    assert result["error"] is None
    assert not reports
    assert result["value"] is not None
    assert 0 <= result["value"] <= 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clip-es.weights": None}, r"clip-es needs a checkpoint of CLIP; give it with --weights"),
        ({"network.backbone": "resnet50", "refine.kind": "irn"}, "boundary network after clip-es"),
        ({"network.backbone": "resnet50", "segment.network": "upernet"}, "segmenter after clip-es"),
        (
            {
                "network.backbone": "resnet50",
                "segment.backbone": "resnet50",
                "segment.network": "upernet",
            },
            "segmenter after clip-es",
        ),
        ({"clip-es.names": ("rook=castle",)}, "clip-es.names holds the class 'rook'"),
        ({"localizer": "cam"}, "clip-es reads the network of its own checkpoint"),
        ({"method": "cam", "localizer": "clip-es"}, "run clip-es without another method"),
        ({"method": "sipe+clip-es"}, "clip-es trains nothing, so it joins no method"),
    ],
)
def test_what_cannot_be_run_is_refused_in_a_sentence(
    run: Run, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        plan(replaced(run.experiment, changes), Catalog.of(run.store))


def test_the_baseline_of_psdpm_may_be_clip_es(run: Run, clip_file: Path) -> None:
    """The weights of the backbone are for PSDPM and for the baseline's segmenter."""
    changes = {"clip-es.weights": str(clip_file), "network.backbone": "small"}
    e = build_experiment("psdpm", preset="scenes", baseline="clip-es", changes=changes)
    planned = plan(e, Catalog.of(run.store))
    assert planned.baseline is not None
    assert planned.baseline.network is None
    keys = {stage.key for stage in planned.stages}
    assert {stage.key for stage in run.execution.plan.stages if stage.name != "scores"} <= keys
    titles = [stage.title for stage in planned.stages]
    assert titles.index("train deeplabv2 on clip-es of train") < titles.index(
        next(title for title in titles if title.startswith("train psdpm"))
    )


def test_a_run_of_the_command_line_takes_the_checkpoint_as_weights(
    run: Run, clip_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", "scenes", "--store", str(run.store), "--quiet"]
    weights = ["--weights", str(clip_file)]
    assert main(["run", "clip-es", *weights, "--refine", "crf", "--name", "refined", *words]) == 0
    out = capsys.readouterr().out
    for row in ("clip-es-gradcam on train", "clip-es on val", "clip-es/crf on train"):
        assert row in out
    page = (Site(run.store).file("run.refined.html") or b"").decode()
    for title in ("clip-es-gradcam", "clip-es, DenseCRF", "CLIP attentions of train"):
        assert title in page
    walk = ["--refine", "irn", "--set", "refine.training.epochs=1"]
    assert main(["run", "clip-es", *weights, *walk, *words]) == 0
    assert "clip-es/irn on val" in capsys.readouterr().out
    assert main(["run", "clip-es", *words]) == 2
    assert "give it with --weights" in capsys.readouterr().err
    given = [*weights, "--set", f"clip-es.weights={clip_file}", "--segment", "deeplabv2"]
    assert main(["run", "clip-es", *given, *words, "--set", "network.backbone=resnet18"]) == 2
    assert f"{clip_file} does not fit resnet18" in capsys.readouterr().err
