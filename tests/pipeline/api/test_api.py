"""Tests of platform.api: runs, comparisons, sweeps and their results in Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from notebook_cells import Cells
from small_jobs import SMALL, TRAIN, VAL
from wsss.platform import api
from wsss.platform.data.sources.scenes import Scenes
from wsss.platform.errors import InputError
from wsss.platform.method import Method, registry
from wsss.platform.pipeline.execution import Execution
from wsss.platform.records.schema import read_run
from wsss.platform.serialization import as_json

pytestmark = pytest.mark.usefixtures("in_process")


@pytest.fixture(autouse=True)
def _own_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the methods that a test registers."""
    monkeypatch.setattr(registry, "_registered", {})


@pytest.fixture
def chosen(job: Any) -> api.Choices:
    """Return the arguments of the main job in its store."""
    return {"changes": SMALL, "store": str(job.store), "quiet": True}


@pytest.fixture
def result(chosen: api.Choices) -> api.RunResult:
    return api.run("lpcam", **chosen)


def test_a_run_has_the_scores_of_the_command(result: api.RunResult, job: Any) -> None:
    expected = job.pipeline.read_scores()
    frame = result.frame.set_index(["result", "split"])
    assert len(frame) == 4
    for id, by_split in expected.items():
        for split, score in by_split.items():
            assert frame.loc[(str(id), split), "mIoU"] == pytest.approx(100 * score.value, abs=1e-4)
            assert frame.loc[(str(id), split), "n"] == score.n
    assert repr(result).startswith(" ")
    assert f"lpcam on val (n={VAL})" in repr(result)
    assert result._repr_html_().count("<tr") == 5


def test_a_record_says_which_call_made_it(chosen: api.Choices, job: Any) -> None:
    made = api.run("cam", name="called", **chosen)
    record = read_run(job.store.location("runs", "called", "run.json"))
    assert record.digest == made.records[0].digest
    assert record.command.startswith("wsss.platform.api.run('cam', seeds=(0,), name='called', ")
    assert api.open_run("called", store=chosen["store"]).frame.equals(made.frame)
    with pytest.raises(InputError, match=r"there is no .*unknown"):
        api.open_run("unknown", store=chosen["store"])


def test_lines_on_the_work_are_shown_unless_it_is_quiet(
    chosen: api.Choices, capsys: pytest.CaptureFixture[str]
) -> None:
    api.run("lpcam", **chosen)
    assert capsys.readouterr() == ("", "")
    api.run("lpcam", **{**chosen, "quiet": False})
    out, err = capsys.readouterr()
    assert not out
    assert err.splitlines()[-1].endswith("stages are already in the store")


def test_figures_of_a_run_are_plotly_figures(result: api.RunResult) -> None:
    import plotly.graph_objects as go

    for kind in ("thresholds", "classes", "parts", "confusion", "training"):
        figure = result.figure(kind)
        assert isinstance(figure, go.Figure)
        assert figure.data
    assert "val" in result.figure().layout.title.subtitle.text
    assert "train" in result.figure(split="train").layout.title.subtitle.text
    with pytest.raises(InputError, match="unknown figure 'curve'; there are thresholds, "):
        result.figure("curve")
    with pytest.raises(InputError, match="unknown split 'test'; there are train, val"):
        result.figure(split="test")


def test_a_picture_shows_an_image_with_its_class_maps(result: api.RunResult) -> None:
    first, second = result.images()[:2]
    assert len(result.images()) == VAL
    assert len(result.images("train")) == TRAIN
    pictures = [result.picture(first), result.picture(second), result.picture()]
    assert len({picture.tobytes() for picture in pictures}) >= 2
    assert pictures[0].width > 4 * pictures[0].height / 2
    with pytest.raises(InputError, match=r"no class maps of image 'nothing'; images\(\) lists"):
        result.picture("nothing")


def test_methods_are_compared_in_one_table(chosen: api.Choices) -> None:
    compared = api.compare(["cam", "lpcam"], **chosen)
    assert [*compared.frame["result"]] == ["cam", "lpcam", "cam", "lpcam"]
    assert compared.runs["cam"].records == compared.runs["lpcam"].records
    assert compared.picture().width == 4 * 128 + 3 * 2  # image, CAM, LPCAM, target
    with pytest.raises(InputError, match="no method here is sipe"):
        api.compare(["cam", "lpcam"], **{**chosen, "changes": {**SMALL, "sipe.weight": 0.1}})


def test_refinements_are_compared_in_one_table(chosen: api.Choices) -> None:
    changes = {**chosen["changes"], "scoring.splits": ("val",)}
    chosen = {**chosen, "changes": changes}
    compared = api.compare(["lpcam"], refine=["crf", "par"], **chosen)
    titles = ["lpcam", "lpcam > crf", "lpcam > par"]
    assert [*compared.frame["result"]] == titles
    assert [*compared.runs] == titles
    one = api.compare(["lpcam"], refine="par", **chosen)
    assert [*one.runs] == [titles[0], titles[2]]
    first, second = one.runs["lpcam"].records, compared.runs["lpcam > par"].records
    assert as_json([r.experiment for r in first]) == as_json([r.experiment for r in second])


def test_values_of_changes_arrive_as_they_are(chosen: api.Choices) -> None:
    changes = {**SMALL, "training.weight_decay": 1e-5, "network.weights": None, "views.scales": [1]}
    with pytest.raises(InputError, match=r"lpcam\.tau is 'much'"):
        api.run("lpcam", **{**chosen, "changes": {**changes, "lpcam.tau": "much"}})
    with pytest.raises(InputError, match=r"lpcam\.tauu"):
        api.run("lpcam", **{**chosen, "changes": {**changes, "lpcam.tauu": 0.2}})
    with pytest.raises(InputError, match="set it by --seed or --seeds"):
        api.run("lpcam", **{**chosen, "changes": {"seed": 3}})
    with pytest.raises(InputError, match="--seeds names no random seed"):
        api.run("lpcam", seeds=(), **chosen)
    with pytest.raises(TypeError, match="colour"):
        api.run("lpcam", colour="red", **chosen)  # type: ignore[call-arg]


def test_a_space_must_list_values(chosen: api.Choices) -> None:
    with pytest.raises(InputError, match=r"has 0.2 for 'lpcam.tau'; give a list of values"):
        api.sweep("lpcam", {"lpcam.tau": 0.2}, **chosen)  # type: ignore[dict-item]
    with pytest.raises(InputError, match=r"lpcam\.tau is 2\.0"):
        api.sweep("lpcam", {"lpcam.tau": np.array([0.2, 2.0])}, **chosen)
    with pytest.raises(InputError, match="speed"):
        api.sweep("lpcam", {"lpcam.tau": [0.1]}, **chosen, objectives="speed")  # type: ignore[typeddict-item]
    with pytest.raises(InputError, match="unknown space 'nothing'"):
        api.sweep("lpcam", "nothing", **chosen)


def test_values_of_numpy_are_numbers(chosen: api.Choices) -> None:
    changes = {**SMALL, "views.scales": np.array([1.0, 0.5]), "lpcam.tau": np.float64(0.1)}
    made = api.run("lpcam", **{**chosen, "changes": changes})
    assert made.name == api.run("lpcam", **chosen).name


def test_a_data_set_is_added_once(chosen: api.Choices, job: Any) -> None:
    again = api.add(Scenes(train=TRAIN, val=VAL), "scenes", store=chosen["store"], quiet=True)
    assert dict(again.itertuples(index=False)) == {"train": TRAIN, "val": VAL}
    with pytest.raises(InputError, match="stands for other data"):
        api.add(Scenes(train=8, val=8), "scenes", store=chosen["store"], quiet=True)


Cell = Callable[[str], object]


@pytest.fixture
def cell() -> Cell:
    """Return a function that runs a cell of a notebook."""
    return Cells().run


OWN = """
from wsss.platform.api import find_method, register

POWER = 2

def sharpen(maps):
    return maps ** POWER

@register
class Sharp(find_method("cam")):
    name = "sharp"
    trains_as = "cam"

    def localize(self, network, images, labels):
        return sharpen(super().localize(network, images, labels))
"""


def keys(job: Any, method: str, localizer: str = "") -> dict[str, list[str]]:
    """Return the keys of the stages of a small experiment by the name of the stage."""
    experiment = api_experiment(method, localizer)
    out: dict[str, list[str]] = {}
    for stage in Execution.of(job.store, experiment).plan.stages:
        out.setdefault(stage.name, []).append(stage.key)
    return out


def api_experiment(method: str, localizer: str) -> Any:
    from wsss.platform.method import build_experiment

    return build_experiment(method, localizer=localizer, preset="scenes", changes=SMALL)


def test_a_localizer_of_a_cell_is_a_method(cell: Cell, chosen: api.Choices, job: Any) -> None:
    cell(OWN)
    sharp, cam = keys(job, "sharp"), keys(job, "cam")
    assert sharp["network"] == cam["network"]
    assert len({*sharp["maps"]} - {*cam["maps"]}) == 2
    made = api.run("sharp", **chosen)
    assert {*made.frame["result"]} >= {"sharp"}
    assert made.frame["mIoU"].gt(0).all()
    assert api.run("cam", localizer="sharp", **chosen).frame.equals(made.frame)


@pytest.mark.parametrize(
    ("old", "new"),
    [("** POWER", "* 3"), ("POWER = 2", "POWER = 3"), ("sharpen(super", "1 * sharpen(super")],
)
def test_a_changed_cell_is_computed_again(cell: Cell, job: Any, old: str, new: str) -> None:
    cell(OWN)
    before = keys(job, "sharp")
    cell(OWN)
    assert keys(job, "sharp") == before
    assert old in OWN
    cell(OWN.replace(old, new))
    after = keys(job, "sharp")
    assert after["network"] == before["network"]
    assert len({*after["maps"]} - {*before["maps"]}) == 2


LOSS = """
from wsss.platform.api import Options, dataclass, find_method, option, register

@dataclass(frozen=True, kw_only=True)
class SparseConfig(Options):
    weight: float = option(0.1, "Weight of the loss.", low=0, high=10)

@register
class Sparse(find_method("cam")):
    name = "sparse"
    Config = SparseConfig

    def losses(self, network, batch, progress):
        terms = super().losses(network, batch, progress)
        maps = network.activations(batch.images)
        return {**terms, "sparsity": self.settings.weight * maps.abs().mean()}
"""


def test_a_loss_of_a_cell_trains(cell: Cell, chosen: api.Choices, job: Any) -> None:
    cell(LOSS)
    before = keys(job, "sparse")
    cell(LOSS.replace("abs()", "relu()"))
    assert keys(job, "sparse")["network"] != before["network"]
    changes = {**SMALL, "training.epochs": 1, "sparse.weight": 0.2}
    made = api.run("sparse", **{**chosen, "changes": changes})
    stage = next(s for s in made.records[0].stages if s.stage == "network")
    manifest = job.store.open("network", stage.key)
    text = manifest.file("metrics.jsonl").local().read_text()
    assert '"sparsity"' in text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "sharp"', "pass", "the name 'cam' of Sharp belongs to an installed method; set "),
        ('"sharp"', '"no name"', "the name 'no name' of Sharp is no identifier"),
    ],
)
def test_a_bad_name_of_a_method_is_refused(cell: Cell, old: str, new: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        cell(OWN.replace(old, new))


def test_what_is_no_method_is_refused() -> None:
    with pytest.raises(InputError, match="is no method; derive a class from Method"):
        registry.register(int)  # type: ignore[type-var]

    class Bare(Method):
        name = "bare"

    with pytest.raises(InputError, match="Bare lacks 'source'; define it in the class"):
        registry.register(Bare)


def test_a_method_without_source_code_is_refused() -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    with pytest.raises(InputError, match=r"source code of Sharp\.localize in Sharp cannot be read"):
        exec(compile(OWN, "<nothing>", "exec"), names)


def own_network() -> tuple[Any, Any]:
    """Return features and class weights of a small network."""
    torch.manual_seed(0)
    body = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, 4, 1), torch.nn.ReLU(), torch.nn.Conv2d(8, 6, 3, 4, 1)
    )
    return body, torch.randn(3, 6)


def test_class_maps_of_an_own_network_are_cam() -> None:
    body, weights = own_network()
    images, labels = torch.randn(2, 3, 64, 96), torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    maps = api.class_maps("cam", api.as_classifier(body, weights), images, labels)
    assert maps.shape == (2, 3, 16, 24)
    both = torch.cat([images, images.flip(-1)])
    with torch.no_grad():
        raw = torch.einsum("bdhw,nd->bnhw", body(both), weights).relu()
        summed = raw[:2] + raw[2:].flip(-1)
        planes = torch.nn.functional.interpolate(
            summed, (16, 24), mode="bilinear", align_corners=False
        )
        expected = planes / (planes.amax((-2, -1), keepdim=True) + 1e-5)
    assert torch.allclose(maps, expected * labels[:, :, None, None], atol=1e-5)
    sipe = api.class_maps(
        "sipe",
        api.as_classifier(body, weights),
        images,
        labels,
        features="c4",
        seed_features="c4",
    )
    assert sipe.shape == (2, 4, 16, 24)


def test_errors_of_own_networks_are_sentences() -> None:
    body, weights = own_network()
    images, labels = torch.randn(1, 3, 64, 64), torch.ones(1, 3)
    network = api.as_classifier(body, weights)
    with pytest.raises(InputError, match="lpcam clusters the features of a whole data set"):
        api.class_maps("lpcam", network, images, labels)
    with pytest.raises(InputError, match="mctformer reads only a network that mctformer has"):
        api.class_maps("mctformer", network, images, labels)
    with pytest.raises(InputError, match="sipe reads 'c1', which this network does not have"):
        api.class_maps("sipe", network, images, labels)
    with pytest.raises(InputError, match=r"the features of your network are \(2, 6, 4, 4\)"):
        api.class_maps("cam", api.as_classifier(body, torch.randn(3, 5)), images, labels)
    with pytest.raises(InputError, match=r"class_weights are \(3,\); give"):
        api.as_classifier(body, torch.randn(3))
