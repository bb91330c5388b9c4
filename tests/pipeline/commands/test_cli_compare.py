"""Tests of the commands `wsss compare` and `wsss ablate`: what users type, and what they print."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from small_jobs import BEGAN, SMALL_WORDS, TRAIN, VAL, VAL_ALONE
from wsss.platform.cli import run_commands
from wsss.platform.pipeline.run_record import ended_run
from wsss.platform.records.result_id import ResultId

pytestmark = pytest.mark.usefixtures("in_process")


def test_compare_lists_methods_and_localizers_in_one_table(wsss: Any) -> None:
    titles = ("cam", "lpcam", "cam:sipe")
    code, out, _ = wsss("compare", *titles, *SMALL_WORDS, "--set=lpcam.tau=0.2")
    assert code == 0
    table = out[out.index("mIoU") :]
    for split, n in (("train", TRAIN), ("val", VAL)):
        for title in titles:
            assert f"{title} on {split} (n={n})" in table
    row = next(line for line in table.splitlines() if line.startswith("cam:sipe on val"))
    assert row.endswith("-"), "no threshold is chosen for maps with their own background"
    assert "threshold from its own background or train" in table
    run_lines = [line for line in out.splitlines() if line.startswith("run ")]
    assert len(run_lines) == 2, "the run of lpcam has cam's scores"


def test_compare_lists_the_scores_of_refined_labels(wsss: Any) -> None:
    words = (*SMALL_WORDS, VAL_ALONE, "--set=lpcam.tau=0.2", "--refine=crf")
    code, out, _ = wsss("compare", "cam", "lpcam", *words)
    assert code == 0
    rows = [line.split("  ")[0] for line in out[out.index("mIoU") :].splitlines()]
    for title in ("cam", "cam > crf", "lpcam", "lpcam > crf"):
        assert f"{title} on val (n={VAL})" in rows


def test_compare_puts_refinements_side_by_side(wsss: Any) -> None:
    """The class maps have one row, and a refinement that is given twice, too."""
    refinements = ("--refine", "crf", "par", "--refine", "segments", "par")
    code, out, _ = wsss("compare", "cam", "lpcam", *SMALL_WORDS, VAL_ALONE, *refinements)
    assert code == 0
    table = out[out.index("mIoU") :].splitlines()
    titles = [line.split(" on val")[0] for line in table if f" on val (n={VAL})" in line]
    later = ["crf", "par", "segments"]
    assert titles == [
        title for name in ("cam", "lpcam") for title in (name, *(f"{name} > {k}" for k in later))
    ]


def test_compare_takes_finished_runs_and_writes_one_picture(
    wsss: Any, job: Any, tmp_path: Path
) -> None:
    """The table ends with the finished run, whose labels have a column in the picture, too."""
    chosen = (*SMALL_WORDS, VAL_ALONE)
    assert wsss("run", "lpcam", *chosen, "--refine=crf", "--name", "refined")[0] == 0
    file = tmp_path / "new" / "strip.png"
    words = ("compare", "cam", "lpcam", "refined", *chosen)
    code, out, _ = wsss(*words, "--picture", str(file))
    assert code == 0
    table = out[out.index("mIoU") :].splitlines()
    titles = [line.split(" on val")[0] for line in table if f" on val (n={VAL})" in line]
    assert titles == ["cam", "lpcam", "refined", "refined > crf"]
    assert f"picture: {file.as_uri()}" in out
    with Image.open(file) as image:
        assert image.format == "PNG"
        assert image.width == 6 * 128 + 5 * 2  # image, four results, target
    code, _, err = wsss(*words, "--seeds", "1")
    assert code == 2
    assert "run 'refined' has random seed 0; compare it with --seeds 0" in err
    few = ("data", "scenes", "--train", "4", "--val", "2", "--name", "others", "--quiet")
    assert wsss(*few)[0] == 0
    code, _, err = wsss("compare", "refined", "--data", "others")
    assert code == 2
    assert "run 'refined' is on data set 'scenes', which is not what --data others has" in err


def test_compare_checks_all_methods_before_it_runs_any(wsss: Any) -> None:
    code, out, err = wsss("compare", "cam", "nothing", *SMALL_WORDS)
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
    code, out, _ = wsss("ablate", "sipe", *SMALL_WORDS, "--seeds", "0", "1")
    assert code == 0
    assert [(e.method, e.seed) for e in planned] == [
        (method, seed) for method in ("cam", "sipe", "sipe") for seed in (0, 1)
    ]
    assert [e.settings["sipe"].weight for e in planned[2:]] == [0.0, 0.0, 1.0, 1.0]
    for title in ("cam", "prototypes, no consistency", "prototypes and consistency"):
        assert f"{title} on val (n={VAL})" in out
    assert "± 0.0" in out
    planned.clear()
    drawn = ("--backbone=small", "--set=training.split=train", VAL_ALONE)
    code, _, err = wsss("ablate", "sipe", *SMALL_WORDS, "--preset=paper", *drawn)
    assert code == 0, err
    cam, sipe, _ = planned
    assert cam.training.clip_norm == 1.0  # CAM's own preset does not clip
    assert (cam.training, cam.network, cam.views) == (sipe.training, sipe.network, sipe.views)
    code, _, err = wsss("ablate", "cam", *SMALL_WORDS)
    assert code == 2
    assert "has no ablation" in err
