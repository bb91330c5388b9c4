"""Benchmarks of the pages: time to write them, size, time until usable, delay after the store."""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import Any

from measure import say

sys.path.insert(0, str(Path(__file__).parents[2] / "dashboards"))

from drawn_records import make_sweep, make_trials
from drawn_store import add_sweep, drawn_store
from wsss.dashboards.content.gallery import script
from wsss.dashboards.content.records import TRIALS
from wsss.dashboards.server import Server
from wsss.dashboards.site import Site
from wsss.platform.records.progress import ProgressDisplay
from wsss.platform.records.progress_file import ProgressRecorder
from wsss.platform.serialization import as_json
from wsss.platform.storage.store import Store

CHROMIUM = "/usr/bin/chromium"
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
DRAWN = (
    "document.querySelectorAll('.js-plotly-plot .main-svg:first-child').length === "
    "document.querySelectorAll('figure.plot').length"
)


def until(page: Any, condition: str) -> None:
    while not page.evaluate(condition):
        page.wait_for_timeout(10)


def load_times(browser: Any, path: Path, *conditions: str) -> list[float]:
    """Return the seconds from the request of a page until each condition holds."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    began = time.perf_counter()
    page.goto(path.as_uri(), wait_until="commit")
    times = []
    for condition in conditions:
        until(page, condition)
        times.append(time.perf_counter() - began)
    page.close()
    return times


def bench_pages(folder: Path, images: int = 100, trials: int = 500) -> None:
    """Measure the time to write pages of images and trials, their size, and a browser's delay."""
    from playwright.sync_api import sync_playwright

    store, (run,) = drawn_store(folder / "store", train=1, val=images, size=375)
    add_sweep(store, trials)
    site = Site(store)
    began = time.perf_counter()
    sum(
        len(site.file(path) or b"")
        for path in site.paths()
        if path.startswith(("data/", "layers/"))
    )
    took = time.perf_counter() - began
    out = site.write(folder / "report").parent
    files = [p for p in out.rglob("*") if p.is_file()]
    layers = sum(p.stat().st_size for p in (out / "layers").rglob("*") if p.is_file())
    total = images + 1
    say(
        f"report: {1000 * took / total:.0f} s and {layers / total / 1e3:.0f} MB per 1,000 images "
        f"of 375 pixels with 2 class maps and 1 label ({total} measured, {len(files)} files)"
    )
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        path = out / "sweep.sweep-0.html"
        rows = "document.querySelectorAll('#trials .save').length > 0"
        usable, whole = load_times(browser, path, rows, DRAWN)
        say(
            f"{trials} trials: page {path.stat().st_size / 1e3:.0f} KB beside plotly.min.js "
            f"{(out / 'plotly.min.js').stat().st_size / 1e6:.1f} MB; tables usable after "
            f"{usable:.2f} s, every figure drawn after {whole:.2f} s"
        )
        _many_images(out, run.name, browser)
        _delay(store, browser)
        browser.close()


def _many_images(out: Path, run: str, browser: Any, count: int = 10_000) -> None:
    """Measure the images page with many images: the list and figures grow, pictures repeat."""
    folder = out / "data" / run / "val"
    text = (folder / "index.js").read_text()
    index = json.loads(f"[{text.removeprefix('wsss.add(').removesuffix(');' + chr(10))}]")[2]
    rows = json.loads(
        f"[{(folder / '0.js').read_text().removeprefix('wsss.add(').removesuffix(');' + chr(10))}]"
    )[2]
    size = 128
    index["ids"] = (index["ids"] * (count // len(index["ids"]) + 1))[:count]
    index["chunks"] = [size] * (count // size) + ([count % size] if count % size else [])
    (folder / "index.js").write_text(script("index", f"{run}/val", index))
    for k, n in enumerate(index["chunks"]):
        repeated = (rows * (n // len(rows) + 1))[:n]
        (folder / f"{k}.js").write_text(script("chunk", f"{run}/val/{k}", repeated))
    weight = sum(p.stat().st_size for p in folder.iterdir())
    path = out / f"images.{run}.html"
    (cards,) = load_times(browser, path, "document.querySelectorAll('.card .scores').length === 48")
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(path.as_uri())
    until(page, "document.querySelectorAll('.card .scores').length === 48")
    began = time.perf_counter()
    until(page, f"/of {count}$/.test(document.querySelector('[name=place]').value)")
    ordered = time.perf_counter() - began
    began = time.perf_counter()
    page.locator("[data-do=on]").click()
    until(page, "/^49/.test(document.querySelector('[name=place]').value)")
    turned = time.perf_counter() - began
    page.close()
    say(
        f"{count:,} images: list and figures {weight / 1e6:.1f} MB; first cards after {cards:.2f} "
        f"s, all ordered by score after {ordered:.2f} s more, next page in {turned:.2f} s"
    )


def _delay(store: Store, browser: Any, rounds: int = 8) -> None:
    """Measure the seconds from a trial in the store to the trial in the open page of a sweep."""
    folder, trials = store.location("sweeps", "going"), make_trials(500)
    recorded, delays = ProgressRecorder(ProgressDisplay()), []
    record = dataclasses.replace(make_sweep(0), name="going")
    with recorded.track(folder, record), Server(store, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        lines = [json.dumps(as_json(t)) + "\n" for t in trials]
        (folder / TRIALS).write("".join(lines[: -rounds - 1]).encode())
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(f"{server.address}sweep.going.html")
        until(page, DRAWN)
        for k in range(len(lines) - rounds, len(lines)):
            (folder / TRIALS).write("".join(lines[:k]).encode())
            began = time.perf_counter()
            until(page, f"document.querySelectorAll('#trials tbody th').length === {k}")
            delays.append(time.perf_counter() - began)
            until(page, DRAWN)
        page.close()
        server.shutdown()
    say(
        f"live: a trial of {len(lines)} is in the page {statistics.median(delays):.2f} s after it "
        f"is in the store (median of {rounds}; at most {max(delays):.2f} s)"
    )
