"""Tests of served pages in Chromium, which follow runs and sweeps without being reloaded."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from browser_tabs import DRAWN, tab, until, visit
from drawn_records import make_run, make_sweep, make_trials
from drawn_store import add_run, metrics, run_of
from wsss.dashboards.content.records import TRIALS
from wsss.dashboards.server import Server
from wsss.platform.records.progress import ProgressDisplay
from wsss.platform.records.progress_file import ProgressRecorder
from wsss.platform.records.schema import StageRecord
from wsss.platform.serialization import as_json
from wsss.platform.storage.store import Store


@contextlib.contextmanager
def served(store: Store) -> Iterator[str]:
    with Server(store, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.address
        server.shutdown()


def test_a_sweep_is_followed_without_reloading(store: Store, browser: Any) -> None:
    folder = store.location("sweeps", "going")
    trials = make_trials(13)
    recorded = ProgressRecorder(ProgressDisplay())
    record = dataclasses.replace(make_sweep(0), name="going")
    with recorded.track(folder, record), served(store) as address:
        with visit(browser, f"{address}sweep.going.html") as (page, _):
            page.evaluate("window.same = true")
            assert "before the first trial" in page.locator(".going").inner_text()
            for count in (1, 12):
                lines = "".join(json.dumps(as_json(t)) + "\n" for t in trials[:count])
                (folder / TRIALS).write((lines + '{"half a li').encode())
                recorded.written = -9.0
                recorded.update("trial", count, 12)
                until(page, f"document.querySelectorAll('#trials tbody th').length === {count}")
                until(page, f"/{count} of 12/.test(document.querySelector('.going').textContent)")
            until(page, DRAWN)
            assert page.evaluate("window.same")
            page.get_by_role("button", name="mIoU %", exact=True).click()
            assert page.locator("#trials th[aria-sort=descending]").count() == 1
            page.get_by_label("Filter: ").fill("done")
            page.get_by_label("Filter: ").evaluate("field => field.setSelectionRange(1, 3)")
            (folder / TRIALS).write("".join(json.dumps(as_json(t)) + "\n" for t in trials).encode())
            until(page, "document.querySelectorAll('#trials tbody th').length === 13")
            focused = "(({ value: v, selectionStart: a, selectionEnd: b }) => [v, a, b])"
            assert page.evaluate(f"{focused}(document.activeElement)") == ["done", 1, 3]
            assert page.locator("#trials th[aria-sort=descending]").count() == 1
        with visit(browser, address) as (page, _):
            assert "running" in page.locator("#sweeps tbody").inner_text()


def test_a_training_is_followed_and_its_end_is_seen(store: Store, browser: Any) -> None:
    key = "ab" * 32
    stage = StageRecord(stage="network", title="train cam", key=key, seconds=0.0, cached=False)
    done = run_of(store)
    record = dataclasses.replace(
        done, name="going", stages=(stage,), scores={}, maps={}, labels={}, status="running"
    )
    recorded = ProgressRecorder(ProgressDisplay())
    with served(store) as address, visit(browser, address) as (page, _):
        page.evaluate("window.same = true")
        sources = page.locator("#leaderboard").get_by_role("button", name="source", exact=True)
        sources.first.click()
        with recorded.track(store.location("runs", "going"), record):
            recorded.plan(["train cam"])
            recorded.start("train cam")
            until(page, "/running/.test(document.querySelector('#runs tbody').textContent)")
            assert page.locator("#leaderboard th[aria-sort=descending]").inner_text() == "source"
            assert page.evaluate("document.activeElement.textContent") == "source"
            with visit(browser, f"{address}run.going.html") as (run, _):
                log = store.storage.local_folder / "training" / f"{key[:32]}.jsonl"
                log.parent.mkdir()
                for count in (3, 9):
                    log.write_text("".join(json.dumps(row) + "\n" for row in metrics(count)))
                    until(run, f"/step {count} of 40/.test(document.body.textContent)")
        until(page, "!/running/.test(document.querySelector('#runs tbody').textContent)")
        assert page.evaluate("window.same")


def test_an_answer_that_is_no_page_is_shown(tmp_path: Path, browser: Any) -> None:
    store = Store(tmp_path / "store")
    add_run(store, dataclasses.replace(make_run(), scores={}))
    file = store.location("runs", "demo", "run.json")
    whole = file.read()
    with served(store) as address, visit(browser, f"{address}run.demo.html") as (page, faults):
        status = "document.querySelector('.status').textContent"
        assert page.evaluate(status) == "live"
        file.write(b"{")
        until(page, f"/run.json cannot be read/.test({status})")
        assert page.locator(".status.fault").count() == 1
        file.write(whole)
        until(page, f"{status} === 'live'")
        assert page.locator(".status.fault").count() == 0
        assert all("status of 500" in fault for fault in faults)
        faults.clear()


def test_the_figure_of_sizes_is_made_when_it_comes_into_view(store: Store, browser: Any) -> None:
    with served(store) as address, tab(browser, address) as (page, _):
        sizes: list[str] = []
        page.on("request", lambda r: sizes.append(r.url) if r.url.endswith("sizes.js") else None)
        page.goto(f"{address}run.run-0.html")
        until(page, "document.querySelectorAll('.js-plotly-plot').length > 5")
        assert sizes == []
        figure = page.locator("figure[data-file='data/run-0/val/sizes.js']")
        figure.scroll_into_view_if_needed()
        figure.locator(".js-plotly-plot").wait_for()
        assert "small" in figure.inner_text()
        assert page.locator("figure .note").count() < 2
        with page.expect_download() as download:
            figure.get_by_role("button", name="CSV of mIoU % by size of object").click()
        assert "LPCAM, DenseCRF" in Path(download.value.path()).read_text()
        page.goto(address)
        page.locator("#pictures").scroll_into_view_if_needed()
        until(page, "document.querySelectorAll('.example img').length === 2")
