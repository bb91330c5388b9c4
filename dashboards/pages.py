"""A report: a folder with one page that opens from disk, without a network.

Nothing in the page runs that is not in a file of the folder: figures are data, and the
content-security policy forbids inline scripts and every other host.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from plotly.offline import get_plotlyjs

from ..platform.errors import InputError
from ..platform.runs import RunRecord, Score, SweepRecord, as_json
from . import figures
from .grid import Card, image_grid, strip
from .layers import ImageLayers, write_layers
from .plotting import Figure
from .tables import definitions, esc, label, stage_table, summary_table, table, trial_table, word

MARK = '<meta name="generator" content="wsss report">'
# Plotly sets style attributes and elements of its own; scripts have no such exception.
POLICY = (
    "default-src 'none'; script-src 'self'; "
    "style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'"
)
ASSETS = Path(__file__).parent / "assets"
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
{mark}
<title>{title}</title>
<link rel="stylesheet" href="style.css">
<script src="plotly.min.js" defer></script>
<script src="app.js" defer></script>
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
{header}
<nav aria-label="Sections"><ul>{nav}</ul></nav>
<main id="main">
{main}</main>
</body>
</html>
"""


def write_report(
    out: Path,
    *,
    run: RunRecord | None,
    sweep: SweepRecord | None,
    images: Iterable[ImageLayers],
) -> Path:
    """Writes the report folder and swaps it in whole; an earlier report there is replaced.

    Args:
        out: the folder; made if there is none.
        run: what was scored, if anything was.
        sweep: the trials, if there were any.
        images: read one by one and not kept.

    Returns:
        The page to open.

    Raises:
        InputError: `out` is a file or holds something else than a report, or an image is wrong
            (see `write_layers`). What was there stays as it was.
    """
    _check_free(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        part.chmod(0o755)
        (part / "images").mkdir()
        cards: list[Card] = []
        for row in images:
            cards.append(strip(row, write_layers(part / "images", row)))
        for asset in ("style.css", "app.js"):
            shutil.copyfile(ASSETS / asset, part / asset)
        (part / "plotly.min.js").write_text(get_plotlyjs(), encoding="utf-8")
        (part / "index.html").write_text(_page(run, sweep, cards), encoding="utf-8")
        _swap(part, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return out / "index.html"


def _check_free(out: Path) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise InputError(f"{out} is a file; a report is a folder")
    if any(out.iterdir()):
        page = out / "index.html"
        if not page.is_file() or MARK not in page.read_text(encoding="utf-8", errors="replace"):
            raise InputError(f"{out} holds something else than a report; name another folder")


def _swap(part: Path, out: Path) -> None:
    if not out.exists():
        part.rename(out)
        return
    old = part.with_name(f"{part.name}.old{os.getpid()}")
    out.rename(old)
    try:
        part.rename(out)
    except OSError:
        old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _page(run: RunRecord | None, sweep: SweepRecord | None, cards: list[Card]) -> str:
    scores = _scores(run, sweep)
    sections: list[tuple[str, str, str]] = []
    if scores or run:
        sections.append(("summary", "Scores", summary_table(scores)))
    if sweep:
        sections.append(("sweep", "Sweep", _sweep(sweep)))
    if scores:
        sections.append(("curves", "Thresholds and classes", _curves(scores)))
    if cards:
        names = next((s.classes for _, s in scores), ())
        sections.append(("images", "Images", image_grid(cards, names)))
    if run:
        sections.append(("run", "Run", _run(run)))
    title = run.name if run else (sweep.name if sweep else "report")
    body = "".join(
        f'<section id="{key}" aria-labelledby="{key}-h"><h2 id="{key}-h">{name}</h2>\n'
        f"{content}</section>\n"
        for key, name, content in sections
    )
    return PAGE.format(
        policy=POLICY,
        mark=MARK,
        title=esc(f"{title} · wsss"),
        header=_header(title, run, sweep, scores),
        nav="".join(f'<li><a href="#{key}">{name}</a></li>' for key, name, _ in sections),
        main=body or "<p>There is nothing to show yet.</p>\n",
    )


def _scores(run: RunRecord | None, sweep: SweepRecord | None) -> list[tuple[str, Score]]:
    """(label, score): a run's by localizer, CAM first; else those of a sweep's best point."""
    if run:
        order = sorted(run.scores, key=lambda name: name != "cam")
        return [(label(name), s) for name in order for s in run.scores[name].values()]
    trials = sweep.trials if sweep else ()
    default = [t for t in trials if sweep and t.score and t.params == sweep.default]
    best = [t for t in trials if sweep and t.score and t.id == sweep.best]
    rows = [(f"{label(sweep.method)}, default", t.score) for t in default[:1] if sweep]
    rows += [(f"{label(sweep.method)}, best trial", t.score) for t in best if sweep]
    return [(name, s) for name, s in rows if s]


def _header(
    title: str,
    run: RunRecord | None,
    sweep: SweepRecord | None,
    scores: list[tuple[str, Score]],
) -> str:
    lead = _lead(scores)
    rules = " / ".join(dict.fromkeys(s.rule for _, s in scores))
    splits = ", ".join(dict.fromkeys(f"{s.split} ({s.n:,})" for _, s in scores))
    source = run or sweep
    facts: list[tuple[str, object]] = [
        ("method", label(source.method) if source else ""),
        ("data set", source.dataset if source else ""),
        ("splits (images)", splits),
        ("trials", len(sweep.trials) if sweep else ""),
        ("started", source.started if source else ""),
        ("machine", run.machine if run else ""),
        ("rule", rules),
    ]
    commands = [r.command for r in (sweep, run) if r]
    lines = "\n".join(dict.fromkeys(commands))
    command = f'<pre class="command" tabindex="0"><code>{esc(lines)}</code></pre>\n'
    return (
        f"<header><h1>{esc(title)}</h1>\n{lead}{definitions(facts)}"
        f"{command if lines else ''}</header>"
    )


def _lead(scores: list[tuple[str, Score]]) -> str:
    """One sentence a split: the last label's mIoU beside the first's."""
    by_split = _by_split(scores)
    items = []
    for split, rows in by_split.items():
        (first, base), (last, top) = next(iter(rows.items())), list(rows.items())[-1]
        text = f"<strong>{100 * top.value:.1f} %</strong> {esc(last)}"
        if last != first:
            gain = 100 * (top.value - base.value)
            text += f" against {100 * base.value:.1f} % {esc(first)} ({gain:+.1f} points)"
        items.append(f"<li><span>mIoU on {esc(split)}</span> {text}</li>")
    return f'<ul class="lead">{"".join(items)}</ul>\n' if items else ""


def _by_split(scores: list[tuple[str, Score]]) -> Mapping[str, dict[str, Score]]:
    out: dict[str, dict[str, Score]] = {}
    for name, score in scores:
        out.setdefault(score.split, {})[name] = score
    return out


def _plot(figure: Figure) -> str:
    """A figure as data: JSON in which no character can end the element."""
    text = json.dumps(figure, separators=(",", ":"), allow_nan=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    name = esc(figure["layout"]["title"]["text"])
    return (
        f'<figure class="plot" aria-label="{name}"><script type="application/json">{text}'
        "</script><noscript>Figures need scripts; the tables hold the numbers.</noscript>"
        "</figure>\n"
    )


def _sweep(sweep: SweepRecord) -> str:
    failed = sum(t.status == "failed" for t in sweep.trials)
    reused = sum(t.cached for t in sweep.trials)
    facts: list[tuple[str, object]] = [
        ("trials", f"{len(sweep.trials)}, {failed} failed, {reused} cached"),
        ("time", f"{sweep.seconds:,.1f} s"),
        ("default", ", ".join(f"{k} {v}" for k, v in sweep.default.items())),
    ]
    best = next((t for t in sweep.trials if t.id == sweep.best), None)
    if best:
        facts.append(("best", ", ".join(f"{k} {v}" for k, v in best.params.items())))
    note = (
        f'<p class="note">Parameters and seed threshold were chosen with the masks of '
        f"<em>{esc(sweep.split)}</em>: read scores on that split as an upper bound.</p>\n"
    )
    plots = _plot(figures.parallel_coordinates(sweep)) + _plot(figures.sensitivity(sweep))
    return definitions(facts) + note + plots + trial_table(sweep)


def _curves(scores: list[tuple[str, Score]]) -> str:
    splits = list(_by_split(scores).values())
    plots = [figures.threshold_curve(rows) for rows in splits]
    plots += [figures.per_class_iou(rows) for rows in splits]
    last, score = scores[-1]
    if score.confusion:
        plots.append(figures.confusion(last, score))
    plots += [figures.parts(rows) for rows in splits if any(s.parts for s in rows.values())]
    return f'<div class="plots">{"".join(_plot(p) for p in plots)}</div>\n'


def _run(run: RunRecord) -> str:
    versions = [(word(k), word(v)) for k, v in sorted(run.versions.items())]
    settings = esc(json.dumps(as_json(run.experiment), indent=1, ensure_ascii=False))
    facts = [("status", run.status), ("seed", run.seed), ("digest", run.digest[:16])]
    return (
        definitions(facts)
        + stage_table(run)
        + "<details><summary>Versions</summary>"
        + table("Versions", ["package", "version"], versions)
        + "</details>\n<details><summary>Whole configuration</summary>"
        + f'<pre tabindex="0"><code>{settings}</code></pre></details>\n'
    )
