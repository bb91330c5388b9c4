"""Tests of the command line: what users type, and what it prints."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from command_line import outputs
from PIL import Image
from small_jobs import SMALL_WORDS, TRAIN, VAL, VAL_ALONE
from wsss.platform.models.backbones import Small
from wsss.platform.ops.crf import parameters
from wsss.platform.pipeline.execution import Execution
from wsss.platform.ray_runtime import cluster
from wsss.platform.records.progress_file import LOCK, PROGRESS
from wsss.platform.records.schema import read_run
from wsss.platform.storage.json_files import read_json, write_json

pytestmark = pytest.mark.usefixtures("in_process")
NOTHING_DONE = {"titles": [], "step": 0, "text": "", "done": 0, "total": 0}


def test_run_prints_a_table_and_a_page_and_repeats_nothing(wsss: Any) -> None:
    code, out, _ = wsss("run", "lpcam", *SMALL_WORDS)
    assert code == 0
    assert f"lpcam on val (n={VAL})" in out
    page = re.search(r"page: file://(\S+)", out)
    assert page
    assert Path(page[1]).is_file()
    code, out, _ = wsss("run", "lpcam", *SMALL_WORDS)
    assert code == 0
    assert "nothing to do" in out


def test_an_image_too_large_for_dense_crf_is_named(
    wsss: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parameters, "PIXEL_BYTES", 1 << 30)
    words = ("--refine=crf", "--set=views.image_gib=4", VAL_ALONE)
    code, out, _ = wsss("run", "cam", *SMALL_WORDS, *words)
    assert code == 0
    line = (
        r"cam DenseCRF of val: (\S+) is too large for DenseCRF within views.image_gib=4; it "
        "keeps its unrefined labels"
    )
    named = re.findall(line, out)
    assert len(named) == VAL
    page = re.search(r"page: file://(\S+)", out)
    assert page
    assert f"cam DenseCRF of val: {named[0]} was not refined" in Path(page[1]).read_text()


def test_images_with_smaller_views_are_named(wsss: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Small, "pixel_bytes", 1 << 19)  # 10,240 pixels a view; scenes have 9,216
    code, out, _ = wsss("run", "cam", *SMALL_WORDS, VAL_ALONE, "--set=views.image_gib=5")
    assert code == 0
    assert "views of" not in out
    monkeypatch.setattr(Small, "pixel_bytes", 1 << 20)
    code, out, _ = wsss("run", "cam", *SMALL_WORDS, VAL_ALONE, "--set=views.image_gib=6")
    assert code == 0
    text = f"cam maps of val: smaller views were computed of {VAL} images, to keep to "
    assert f"{text}views.image_gib: scene_val_00000, " in out
    page = re.search(r"page: file://(\S+)", out)
    assert page
    assert f"{text}views.image_gib: scene_val_00000, " in Path(page[1]).read_text()


def test_a_page_may_lie_anywhere(
    wsss: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for page, folder in (("my page", "my page"), ("~/page", "home/page")):
        code, out, _ = wsss("run", "lpcam", *SMALL_WORDS, "--page", page)
        assert code == 0
        address = (tmp_path / folder).as_uri()
        assert re.search(rf"page: {re.escape(address)}/run\.\S+\.html\n", out)
    assert list((tmp_path / "my page").glob("run.*.html"))


def test_data_in_the_store_are_named_and_a_quiet_command_prints_no_progress(wsss: Any) -> None:
    words = ("data", "scenes", "--train", "4", "--val", "2", "--name", "few")
    assert "shards of scenes" in wsss(*words)[2]
    code, out, err = wsss(*words, "--quiet")
    assert (code, err) == (0, "")
    assert "already in the store" in out


def test_a_run_name_is_not_reused(wsss: Any) -> None:
    assert wsss("run", "lpcam", *SMALL_WORDS, "--name", "mine")[0] == 0
    code, _, err = wsss("run", "cam", *SMALL_WORDS, "--name", "mine")
    assert code == 2
    assert "'mine' is taken" in err


def test_a_run_name_is_not_taken_from_a_run_that_runs(wsss: Any, job: Any) -> None:
    """It may end before the new one, or after it."""
    assert wsss("run", "lpcam", *SMALL_WORDS, "--name", "mine")[0] == 0
    folder = job.store.location("runs", "shared")
    other = {**read_json(job.store.location("runs", "mine", "run.json")), "name": "shared"}
    write_json(folder / PROGRESS, {**NOTHING_DONE, "record": other})
    with (folder / LOCK).lock():
        code, _, err = wsss("run", "cam", *SMALL_WORDS, "--name", "shared")
    assert (code, "'shared' is taken" in err) == (2, True)
    execute = Execution.execute

    def slow(execution: Execution) -> None:
        execute(execution)
        write_json(folder / "run.json", other)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Execution, "execute", slow)
        code, _, err = wsss("run", "cam", *SMALL_WORDS, "--name", "shared")
    assert (code, "'shared' is taken" in err) == (2, True)
    assert read_json(folder / "run.json") == other


def test_the_experiment_file_in_a_record_is_the_same_experiment(wsss: Any, job: Any) -> None:
    words = ("run", "lpcam", *SMALL_WORDS, "--set=lpcam.tau=0.2", "--refine=par")
    assert wsss(*words, "--name", "filed")[0] == 0
    file = job.store.location("runs/filed/experiment.yaml")
    code, out, _ = wsss("run", str(file), "--name", "filed", "--quiet")
    assert code == 0
    assert "run filed: nothing to do" in out
    code, out, _ = wsss("run", str(file), "--name", "again", "--quiet")
    assert code == 0
    assert re.search(r"run again: 0 of \d+ stages computed", out)
    first, again = (
        read_run(job.store.location("runs", name, "run.json")) for name in ("filed", "again")
    )
    assert again.digest == first.digest
    assert [stage.key for stage in again.stages] == [stage.key for stage in first.stages]
    assert job.store.location("runs/again/experiment.yaml").read() == file.read()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("run", "nope"), "unknown method 'nope'; there are cam, clip-es, cpal"),
        (
            ("run", "cam", "--set", "training.epoch=1"),
            "unknown field 'training.epoch'; the near",
        ),
        (("run", "cam", "--set", "training.epochs=0"), "training.epochs is 0; it must be a whole"),
        (("run", "cam", "--set", "epochs"), "--set takes FIELD=VALUE"),
        (("run", "lpcam", "--set", "lpcam.tau=2"), "lpcam.tau is 2; it must be a number between"),
        (("run", "cam", "--data", "nowhere"), "no data set 'nowhere' in the store "),
        (("run", "cam", "--data", "../x"), "the name '../x' is not allowed"),
        (("run", "cam", "--preset", "odd"), "unknown preset 'odd' of cam; there are paper"),
        (("run", "cam", "--backbone", "odd"), "unknown backbone 'odd'; there are resnet18"),
        (("run", "cam", "--backbone", "timm:resnett"), "timm has no network 'resnett'; the nea"),
        (("run", "cam", "--weights", "gone.pth"), "there is no weight file /"),
        (("run", "cam", "--set", "scoring.splits=('test',)"), "scoring.splits names 'test'"),
        (("run", "cam", "--set", "scoring.classes=('cow',)"), "scoring.classes names 'cow'"),
        (
            ("sweep", "lpcam", "--search", "odd"),
            "--search is 'odd'; it must be grid, random, sobol, tpe, gp, cmaes, nsga2 or eipu",
        ),
        (("sweep", "lpcam", "--search", "tpe"), "--search tpe needs a number of --trials"),
        (("sweep", "lpcam", "--scheduler", "odd"), "--scheduler is 'odd'; it must be asha, hyp"),
        (
            ("sweep", "lpcam", "--scheduler", "pbt"),
            "--scheduler pbt changes fields within the ",
        ),
        (("sweep", "lpcam", "--scheduler", "median"), "--scheduler median compares trainings, b"),
        (("sweep", "lpcam", "--budget", "2 days"), "--budget is '2 days'; write hours, minutes"),
        (("sweep", "lpcam", "--resume", "--name", "new"), "there is no sweep 'new' to resume"),
        (("figure", "lpcam-9"), "unknown figure 'lpcam-9'; there are cpal-4"),
        (
            ("sweep", "lpcam", "--space", "odd"),
            "unknown space 'odd' of method 'lpcam'; there are default",
        ),
        (
            ("run", "cam", "--set", "method=lpcam"),
            "--set does not take method; set it by the command's METHOD",
        ),
        (("run", "cam", "--set", "scoring.splits=()"), "scoring.splits is empty"),
        (("run", "cam", "--set", "views.scales=(0.5,1.0)"), "1 must come first"),
        (("run", "cam", "--set", "training.resize=(640,320)"), "the smaller value must come first"),
        (("run", "cam", "--weights", ""), "--weights is empty; it must be a path"),
        (
            ("run", "cam", "--set", "network.weights="),
            "network.weights is empty; it must",
        ),
        (("run", "cam", "--page", "/dev/null"), "/dev/null is a file; name a folder for a report"),
        (("sweep", "cam", "--space", "crf", "--page", "/dev"), "something other than a report"),
        (("run", "cam", "--picture", "a.jpg"), "a.jpg'; it must end in .png"),
        (("compare", "cam", "--picture", "/dev/null/a.png"), "/dev/null cannot be written"),
        (("compare", "cam", "gone"), "unknown method 'gone'; there are cam"),
        (("run", "cam", "--name", ".mine"), "the name '.mine' is not allowed"),
        (("run", "cam", "--segment=deeplabv2", "--set=segment.backbone=odd"), "unknown backbone"),
        (("sweep", "lpcam", "--segment=deeplabv2", "--set=segment.backbone=odd"), "unknown backb"),
        (("sweep", "lpcam", "--name", "x", "--set=refine.kind=masks"), "is for a segmenter"),
        (("compare", "cam", "sipe", "--imported", "theirs"), "leave out --imported"),
        (
            ("compare", "cam", "sipe", "--baseline", "lpcam"),
            "--baseline has no effect, as no method here learns from a segmenter",
        ),
        (
            ("compare", "psdpm@cam", "sipe", "--baseline", "lpcam"),
            "--baseline has no effect, as no method here learns from a segmenter",
        ),
        (("compare", "cam", "sipe", "--set", "ssc.weight=1"), "no method here is ssc"),
        (
            ("compare", "cam", "lpcam", "--set", "baseline.lpcam.tau=0.2"),
            "no method here has a baseline",
        ),
        (("ablate", "sipe", "--set", "sipe.weight=0.5"), "sipe.weight is varied by this command"),
        (
            ("figure", "lpcam-5", "--refine", "crf"),
            "a figure scores class maps; leave out --refine",
        ),
        (
            ("figure", "lpcam-5", "--baseline", "cam"),
            "--baseline has no effect, as no method here learns from a segmenter",
        ),
        (("report", "out", "--run", "gone"), "there is no"),
        (("report", "out", "--run", "gone", "--sweep", "gone"), "runs/gone/run.json"),
        (("methods", "odd"), "unknown method 'odd'"),
        (("data", "voc", "gone"), "there is no VOC folder /"),
        (("data", "folder", "gone"), "there is no folder /"),
        (("data", "scenes", "--size", "64"), "the name 'scenes' stands for other data"),
    ],
)
def test_bad_input_is_one_sentence_and_code_two(
    wsss: Any, words: tuple[str, ...], sentence: str
) -> None:
    code, _, err = wsss(*words)
    assert code == 2
    assert sentence in err
    assert err.startswith("wsss: ")
    assert len(err.strip().splitlines()) == 1


def test_run_writes_a_picture_of_its_table(wsss: Any, tmp_path: Path) -> None:
    file = tmp_path / "strip.PNG"
    assert wsss("run", "lpcam", *SMALL_WORDS, "--picture", str(file))[0] == 0
    with Image.open(file) as image:
        assert image.width == 4 * 128 + 3 * 2  # image, CAM, LPCAM, target


def test_methods_and_doctor_print_fields_and_artifacts(wsss: Any) -> None:
    assert "mctformer  Xu et al.," in wsss("methods")[1]
    fields = wsss("methods", "lpcam")[1]
    assert "lpcam.tau = 0.3" in fields
    code, out, _ = wsss("doctor", "--verify")
    assert code == 0
    assert re.search(r"machine .* [1-9]\d* GiB", out)
    assert re.search(r"shards/[0-9a-f]{12} [0-9a-f]{8}\n", out)
    assert "damaged" not in out


REFUSED = (
    "nothing can be written into {}",
    "run 'new' (0 of ",
    "are missing) cannot be kept: ",
    "sweep 'new' cannot be kept: ",
)
"""What is said of the commands that cannot write into the store, whose folder comes first."""


def test_a_run_with_nothing_to_compute_needs_no_right_to_write(
    wsss: Any, job: Any, tmp_path: Path, read_only: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not start Ray, either."""
    assert wsss("run", "lpcam", *SMALL_WORDS)[0] == 0
    root, page = tmp_path / "store", tmp_path / "page"
    left_out = shutil.ignore_patterns("verified", "page")
    shutil.copytree(job.store.storage.local_folder, root, ignore=left_out)
    commands = [
        ["run", "lpcam", *SMALL_WORDS],
        ["run", "lpcam", *SMALL_WORDS, "--page", str(page)],
        ["compare", "lpcam", *SMALL_WORDS],
        ["data", "scenes", "--train", str(TRAIN), "--val", str(VAL)],
        ["doctor", "--verify"],
        ["run", "lpcam", *SMALL_WORDS, "--page", str(root / "page" / "mine")],
        ["run", "lpcam", *SMALL_WORDS, "--name", "new"],
        ["run", "cam", *SMALL_WORDS, "--set", "training.epochs=1"],
        ["sweep", "lpcam", *SMALL_WORDS, "--trials", "2", "--name", "new"],
    ]
    words = [[*command, "--store", str(root)] for command in commands]
    before = sorted(root.rglob("*"))
    with monkeypatch.context() as patch:
        patch.delattr(cluster, "connect")
        results = read_only(root, lambda: outputs(words))
    assert [code for code, _, _ in results] == [0] * 5 + [2] * 4, results
    repeated, paged, compared, data, doctor, *refused = results
    assert "nothing to do" in repeated[1]
    assert f"lpcam on val (n={VAL})" in repeated[1]
    assert "page: not written, as " in repeated[1]
    assert page.is_dir()
    assert page.as_uri() in paged[1]
    assert f"lpcam on val (n={VAL})" in compared[1]
    assert "nothing to do: the shards are already in the store" in data[1]
    assert "damaged" not in doctor[1]
    for (_, out, err), sentence in zip(refused, REFUSED, strict=True):
        assert sentence.format(root) in err
        assert len(err.splitlines()) == 1
        assert "page:" not in out
    assert sorted(root.rglob("*")) == before
