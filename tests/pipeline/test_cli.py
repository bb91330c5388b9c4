"""Tests of the command line: what users type, and what it prints."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from limits import HANG
from wsss.platform.cli import main, run_commands
from wsss.platform.pipeline.run_record import ended_run
from wsss.platform.records.result_id import ResultId
from wsss.platform.tuning.journal import Journal

pytestmark = pytest.mark.cluster
BEGAN = "2026-01-01T00:00:00+0000"


@pytest.fixture
def wsss(job: Any, capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([*words, "--store", str(job.store)])
        out, err = capsys.readouterr()
        return code, out, err

    return call


SMALL = (
    "--set=training.epochs=2",
    "--set=training.batch_size=8",
    "--set=views.scales=(1.0,0.5)",
    "--quiet",
)


def test_run_prints_a_table_and_a_page_and_repeats_nothing(wsss: Any) -> None:
    code, out, _ = wsss("run", "lpcam", *SMALL)
    assert code == 0
    assert "lpcam on val (n=16)" in out
    page = re.search(r"page: file://(\S+)", out)
    assert page
    assert Path(page[1]).is_file()
    code, out, _ = wsss("run", "lpcam", *SMALL)
    assert code == 0
    assert "nothing to do" in out


def test_a_page_may_lie_anywhere(
    wsss: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for page, folder in (("my page", "my page"), ("~/page", "home/page")):
        code, out, _ = wsss("run", "lpcam", *SMALL, "--page", page)
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


def test_sweep_reports_the_best_and_repeats_nothing(wsss: Any, job: Any) -> None:
    words = ("sweep", "lpcam", *SMALL, "--trials", "3", "--name", "three")
    code, out, _ = wsss(*words)
    assert code == 0
    assert "3 of 3 trials" in out
    assert "best on train: tau" in out
    assert re.search(r"3 trials: to compute .*3 scores.*; in the store 1 network", out)
    assert "untuned on val (n=16)" in out
    assert "best on val (n=16)" in out
    page = job.store.location("sweeps/three/page/sweep.three.html").read().decode()
    for title in ("LPCAM, untuned", "LPCAM, best", "Untuned run"):
        assert title in page
    code, out, _ = wsss(*words)
    assert code == 0
    assert "nothing to do, its 3 trials are already in the store" in out
    code, _, err = wsss("sweep", "lpcam", *SMALL, "--trials", "2", "--name", "three")
    assert code == 2
    assert "'three' is taken" in err


def test_a_sweep_over_combinations_names_the_best_combination(wsss: Any, tmp_path: Path) -> None:
    space = tmp_path / "mine.py"
    space.write_text("SPACES = {'all': {'combination': ['lpcam']}}")
    command = ("sweep", "cam", *SMALL, "--space", str(space), "--name", "combined")
    code, out, _ = wsss(*command, "--page", str(tmp_path / "page"))
    assert code == 0
    rows = dict(
        line.split(" on val (n=16)") for line in out.splitlines() if "on val (n=16)" in line
    )
    assert {"untuned", "best"} <= set(rows)
    assert rows["best"] != rows["untuned"]
    assert "lpcam, best" in (tmp_path / "page" / "sweep.combined.html").read_text()
    code, _, err = wsss(*command, "--imported", "theirs")
    assert code == 2
    assert "leave out --imported" in err


@pytest.mark.faults
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_sweep_whose_driver_is_killed_resumes(
    wsss: Any, job: Any, tmp_path: Path, end: signal.Signals
) -> None:
    """The resumed sweep has the trials of an uninterrupted one: the first ten points of TPE are
    drawn, and TPE suggests the same points after them."""
    space = tmp_path / "mine.py"
    values = {"lpcam.mu_f": [0.5, 0.7, 0.9], "lpcam.mu_b": [0.3, 0.5, 0.7, 0.9]}
    space.write_text(f"SPACES = {{'all': {values}}}")
    command = ("sweep", "lpcam", *SMALL, "--space", str(space), "--search", "tpe", "--trials")
    killed, whole_one = f"killed-{end.name}", f"whole-{end.name}"
    record = Journal(job.store, killed)
    words = [*command, "14", "--name", killed, "--store", str(job.store)]
    with subprocess.Popen([sys.executable, "-m", "wsss.platform.cli", *words]) as driver:
        while driver.poll() is None and not record.trials():
            time.sleep(0.05)
        driver.send_signal(end)
    assert driver.returncode == (130 if end == signal.SIGINT else -end)
    assert not record.path.exists()
    lines = record.lines.read().decode()
    lines = lines[: lines.rindex("\n") + 1]
    assert 0 < lines.count("\n") < 14
    code, _, err = wsss(*command, "14", "--name", killed)
    assert code == 2
    assert f"was broken off after {lines.count(chr(10))} of 14 trials; --resume goes on" in err
    code, _, err = wsss(*command, "9", "--name", killed, "--resume")
    assert code == 2
    assert f"{killed!r} is taken" in err
    code, out, _ = wsss(*command, "14", "--name", killed, "--resume")
    assert code == 0
    assert "14 of 14 trials" in out
    assert set(lines.splitlines()) <= set(record.lines.read().decode().splitlines())
    assert wsss(*command, "14", "--name", whole_one)[0] == 0
    resumed, whole = record.trials(), Journal(job.store, whole_one).trials()
    assert [t.id for t in resumed] == [f"{k:04d}" for k in range(14)]
    assert [(t.params, t.value) for t in resumed] == [(t.params, t.value) for t in whole]


def test_report_writes_the_page_of_a_sweep(wsss: Any, tmp_path: Path) -> None:
    wsss("sweep", "lpcam", *SMALL, "--trials", "3", "--name", "three")
    code, _, _ = wsss("report", str(tmp_path / "out"), "--sweep", "three", "--images", "4")
    assert code == 0
    assert (tmp_path / "out" / "index.html").is_file()


def test_a_run_name_is_not_reused(wsss: Any) -> None:
    assert wsss("run", "lpcam", *SMALL, "--name", "mine")[0] == 0
    code, _, err = wsss("run", "cam", *SMALL, "--name", "mine")
    assert code == 2
    assert "'mine' is taken" in err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("run", "nope"), "unknown method 'nope'; there are cam, cpal, lpcam"),
        (
            ("run", "cam", "--set", "training.epoch=1"),
            "unknown field 'training.epoch'; the near",
        ),
        (("run", "cam", "--set", "training.epochs=0"), "training.epochs is 0; it must be a whole"),
        (("run", "cam", "--set", "epochs"), "--set takes FIELD=VALUE"),
        (("run", "lpcam", "--set", "lpcam.tau=2"), "lpcam.tau is 2; it must be a number between"),
        (("run", "cam", "--data", "nowhere"), "no data set 'nowhere'; there are: "),
        (("run", "cam", "--data", "../x"), "the name '../x' is not allowed"),
        (("run", "cam", "--preset", "odd"), "unknown preset 'odd' of cam; there are paper"),
        (("run", "cam", "--backbone", "odd"), "unknown backbone 'odd'; there are resnet18"),
        (("run", "cam", "--weights", "gone.pth"), "there is no weight file /"),
        (("run", "cam", "--set", "scoring.splits=('test',)"), "scoring.splits names 'test'"),
        (("run", "cam", "--set", "scoring.classes=('cow',)"), "scoring.classes names 'cow'"),
        (
            ("sweep", "lpcam", "--search", "odd"),
            "--search is 'odd'; it must be grid, random or tpe",
        ),
        (("sweep", "lpcam", "--search", "tpe"), "--search tpe needs a number of --trials"),
        (("sweep", "lpcam", "--scheduler", "odd"), "--scheduler is 'odd'; it must be asha"),
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


def test_compare_lists_methods_and_localizers_in_one_table(wsss: Any) -> None:
    titles = ("cam", "lpcam", "cam:sipe")
    code, out, _ = wsss("compare", *titles, *SMALL, "--set=lpcam.tau=0.2")
    assert code == 0
    table = out[out.index("mIoU") :]
    for split, n in (("train", 48), ("val", 16)):
        for title in titles:
            assert f"{title} on {split} (n={n})" in table
    row = next(line for line in table.splitlines() if line.startswith("cam:sipe on val"))
    assert row.endswith("-"), "no threshold is chosen for maps with their own background"
    assert "threshold from its own background or train" in table
    run_lines = [line for line in out.splitlines() if line.startswith("run ")]
    assert len(run_lines) == 2, "the run of lpcam has cam's scores"


def test_compare_lists_the_scores_of_refined_labels(wsss: Any) -> None:
    code, out, _ = wsss("compare", "cam", "lpcam", *SMALL, "--set=lpcam.tau=0.2", "--refine=crf")
    assert code == 0
    rows = [line.split("  ")[0] for line in out[out.index("mIoU") :].splitlines()]
    for title in ("cam", "cam > crf", "lpcam", "lpcam > crf"):
        assert f"{title} on val (n=16)" in rows


def test_compare_checks_all_methods_before_it_runs_any(wsss: Any) -> None:
    code, out, err = wsss("compare", "cam", "nothing", *SMALL)
    assert code == 2
    assert out == ""
    assert "unknown method 'nothing'" in err


def test_ablate_removes_components(wsss: Any, job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each planned experiment gets the scores of the job instead of running."""
    planned = []
    score = job.pipeline.read_scores()[ResultId(localizer="lpcam")]

    def carried_out(store: Any, plan: Any, *rest: Any) -> Any:
        planned.append(plan.experiment)
        record = ended_run(job.pipeline, "none", "", BEGAN, 0.0)
        return dataclasses.replace(
            record,
            method=plan.experiment.localizer_name,
            scores={plan.subject: score},
            seed=plan.experiment.seed,
        )

    monkeypatch.setattr(run_commands, "carry_out", carried_out)
    code, out, _ = wsss("ablate", "sipe", *SMALL, "--seeds", "0", "1")
    assert code == 0
    assert [(e.method, e.seed) for e in planned] == [
        (method, seed) for method in ("cam", "sipe", "sipe") for seed in (0, 1)
    ]
    assert [e.settings["sipe"].weight for e in planned[2:]] == [0.0, 0.0, 1.0, 1.0]
    for title in ("cam", "prototypes, no consistency", "prototypes and consistency"):
        assert f"{title} on val (n=16)" in out
    assert "± 0.0" in out
    code, _, err = wsss("ablate", "cam", *SMALL)
    assert code == 2
    assert "has no ablation" in err


def test_methods_and_doctor_print_fields_and_artifacts(wsss: Any) -> None:
    assert "lpcam" in wsss("methods")[1]
    fields = wsss("methods", "lpcam")[1]
    assert "lpcam.tau = 0.3" in fields
    code, out, _ = wsss("doctor", "--verify")
    assert code == 0
    assert re.search(r"machine .* [1-9]\d* GiB", out)
    assert re.search(r"shards/[0-9a-f]{12} [0-9a-f]{8}\n", out)
    assert "damaged" not in out


RUN_COMMANDS = """
import contextlib, io, json, sys
from wsss.platform.cli import main

for words in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
assert "ray" not in sys.modules or not sys.modules["ray"].is_initialized()
"""


def test_a_run_with_nothing_to_compute_needs_no_right_to_write(
    wsss: Any, job: Any, tmp_path: Path, read_only: Any
) -> None:
    assert wsss("run", "lpcam", *SMALL)[0] == 0
    root, page = tmp_path / "store", tmp_path / "page"
    left_out = shutil.ignore_patterns("verified", "page")
    shutil.copytree(job.store.storage.local_folder, root, ignore=left_out)
    commands = [
        ["run", "lpcam", *SMALL],
        ["run", "lpcam", *SMALL, "--page", str(page)],
        ["compare", "lpcam", *SMALL],
        ["data", "scenes", "--train", "48", "--val", "16"],
        ["doctor", "--verify"],
        ["run", "lpcam", *SMALL, "--page", str(root / "page" / "mine")],
        ["run", "lpcam", *SMALL, "--name", "new"],
        ["run", "cam", *SMALL, "--set", "training.epochs=1"],
        ["sweep", "lpcam", *SMALL, "--trials", "2", "--name", "new"],
    ]
    words = json.dumps([[*command, "--store", str(root)] for command in commands])
    before = sorted(root.rglob("*"))
    done = subprocess.run(
        read_only(root, "-c", RUN_COMMANDS, words), capture_output=True, text=True, timeout=HANG
    )
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [code for code, _, _ in results] == [0] * 5 + [2] * 4, results
    repeated, paged, compared, data, doctor, *refused = results
    assert "nothing to do" in repeated[1]
    assert "lpcam on val (n=16)" in repeated[1]
    assert "page: not written, as " in repeated[1]
    assert page.is_dir()
    assert page.as_uri() in paged[1]
    assert "lpcam on val (n=16)" in compared[1]
    assert "nothing to do: the shards are already in the store" in data[1]
    assert "damaged" not in doctor[1]
    for (_, out, err), sentence in zip(
        refused,
        (
            f"nothing can be written into {root}",
            "run 'new' (0 of ",
            "are missing) cannot be kept: ",
            "sweep 'new' cannot be kept: ",
        ),
        strict=True,
    ):
        assert sentence in err
        assert len(err.splitlines()) == 1
        assert "page:" not in out
    assert sorted(root.rglob("*")) == before


def test_help_imports_neither_torch_nor_ray() -> None:
    code = (
        "import sys; from wsss.platform.cli import main; main(['--help']); "
        "sys.exit('torch' in sys.modules or 'ray' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
