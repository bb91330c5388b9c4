"""Tests of exports of a chain and of their import."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_jobs import BEGAN, FEW
from wsss.platform.cli import main
from wsss.platform.config.fields import replaced
from wsss.platform.pipeline.execution import Execution
from wsss.platform.pipeline.run_record import ended_run
from wsss.platform.records.result_id import ResultId
from wsss.platform.storage.json_files import write_json

pytestmark = pytest.mark.usefixtures("in_process")


named = ResultId.parse


def test_a_run_of_the_whole_chain_prints_all_its_scores(
    chain: Any, job: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fields = {**FEW, "training.epochs": 2, "training.batch_size": 8, "views.scales": "(1.0,0.5)"}
    sets = [x for k, v in fields.items() for x in ("--set", f"{k}={v}")]
    words = ["--refine", "irn", "--segment", "deeplabv2", "--store", str(job.store), "--quiet"]
    assert main(["run", "lpcam", *words, *sets]) == 0
    out = capsys.readouterr().out
    for row in ("lpcam on train", "lpcam/irn on val", "lpcam/irn/deeplabv2 on val"):
        assert row in out
    assert "deeplabv2 on train" not in out
    store = ["--store", str(job.store)]
    assert main(["export", str(tmp_path / "a.tgz"), *store]) == 2
    assert "20 classes" in capsys.readouterr().err


@pytest.mark.parametrize(("kind", "what"), [("irn", "lpcam"), ("drs", "cam"), ("png", "deeplabv2")])
def test_an_export_is_imported_with_the_same_scores(
    chain: Any, job: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path, kind: str, what: str
) -> None:
    store = ["--store", str(job.store)]
    name = f"again-{kind}"
    write_json(job.store.location("runs", name, "run.json"), ended_run(chain, name, "", BEGAN, 0.0))
    out = str(tmp_path / kind)
    assert main(["export", out, "--run", name, "--to", kind, "--what", what, *store]) == 0
    assert main(["export", out, "--run", name, "--to", kind, "--what", what, *store]) == 2
    assert "exists" in capsys.readouterr().err
    words = ["import", kind, out, "--data", "scenes", "--name", name, "--splits", "val", *store]
    assert main([*words, "--quiet"]) == 0
    assert not capsys.readouterr().err
    assert main(words) == 0
    assert "already in the store" in capsys.readouterr().out
    imported = replaced(job.experiment, {"imported": name, "scoring.splits": ("val",)})
    pipeline = Execution.of(job.store, imported)
    pipeline.execute()
    assert pipeline.plan.network is None
    scores = {str(id).rpartition("/")[2]: s["val"] for id, s in chain.read_scores().items()}
    score, before = pipeline.read_scores()[named(name)]["val"], scores[what]
    best = before.value if kind == "png" else max(before.miou)
    assert score.value == pytest.approx(best, abs=0.03 if kind == "drs" else 0.01)
    assert ended_run(pipeline, "none", "", BEGAN, 0.0).method == name


def test_imports_must_fit_the_data_set(
    chain: Any, job: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    store = ["--store", str(job.store)]
    (tmp_path / "empty").mkdir()
    words = ["import", "irn", str(tmp_path / "empty"), "--data", "scenes", "--name", "x", *store]
    for change, message in (
        (["import", "unknown", *words[2:]], "it must be irn"),
        ([*words[:2], str(tmp_path / "gone"), *words[3:]], "no folder"),
        (words, "there is no"),
        (["run", "cam", "--imported", "nothing", *store], "nothing is imported"),
    ):
        assert main(change) == 2
        assert message in capsys.readouterr().err
    assert not job.store.location("imports", "x.json").exists()
