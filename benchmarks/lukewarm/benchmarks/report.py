"""Writes report.html (one file, works offline) and report.md from records alone."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from lukewarm.benchmarks import bars, framework, performance_doc, plots, profile, provenance, tables, words
from lukewarm.benchmarks.record import Record
from lukewarm.benchmarks.stats import ratio
from lukewarm.benchmarks.words import Table
from lukewarm.predictors.errors import MissingExtra, SpecError

HTML, MARKDOWN = "report.html", "report.md"


@dataclass(frozen=True)
class Card:
    """One number at the top of the page."""

    value: str
    text: str


@dataclass(frozen=True)
class Section:
    """A table, and its plot as SVG where there is one."""

    table: Table
    plot: str = ""


@dataclass(frozen=True)
class Block:
    """Preformatted text, or a plot that another command left beside the records."""

    title: str
    kind: str
    text: str
    plot: str = ""


def write(records: Sequence[Record], out: Path) -> tuple[Path, Path]:
    """Write both pages into `out` and return their paths. Raises MissingExtra without jinja2 and matplotlib."""
    try:
        import jinja2
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtra(f"{error.name}, needed to write a report,", "bench") from error
    folder = jinja2.FileSystemLoader(Path(__file__).with_name("templates"))
    page = contents(records, [*_profile(out), *_cost_plots(out)])
    made = []
    out.mkdir(parents=True, exist_ok=True)
    for name, escape in ((HTML, True), (MARKDOWN, False)):
        environment = jinja2.Environment(loader=folder, autoescape=escape, undefined=jinja2.StrictUndefined)
        environment.filters["markdown"] = words.markdown
        text = environment.get_template(f"{name}.j2").render(page)
        made.append(_replace(out / name, text))
    return made[0], made[1]


def _profile(out: Path) -> list[Block]:
    """Where a cold start went, if `bench --profile-start` wrote that beside the records."""
    file = out / profile.FILE
    if not file.is_file():
        return []
    try:
        found = msgspec.json.decode(file.read_bytes(), type=profile.Profile)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"not a profile: {error}; delete the file", str(file)) from error
    return [Block(f"Where a cold start of {found.case.label} goes", "measured", profile.text(found))]


def _cost_plots(out: Path) -> list[Block]:
    """The plots of `lukewarm cost --plots OUT`, where they are."""
    titles = {
        "cost-traffic": "Cost of a month against traffic",
        "cost-p95": "Cost of a month against the 95th percentile of latency",
        "cold-window": "Cold fraction against the idle window",
    }
    return [
        Block(title, "modelled", f"{name}.svg beside this page, from `lukewarm cost --plots`", _plot(file, name))
        for name, title in titles.items()
        if (file := out / f"{name}.svg").is_file()
    ]


def _plot(file: Path, name: str) -> str:
    return plots.embeddable(file.read_text("utf-8", "replace"), name)


def _replace(path: Path, text: str) -> Path:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            os.fchmod(handle, 0o644)
            stream.write(text)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return path


def contents(records: Sequence[Record], blocks: Sequence[Block] = ()) -> dict[str, Any]:
    """What the templates show."""
    rows = [row for row in records if row.suite == "bench"]
    measured = [row for row in rows if row.kind == "measured"]
    models = list(dict.fromkeys(row.case.model for row in rows or records))
    sections = []
    for model in dict.fromkeys(row.case.model for row in measured):
        sections += _sections([r for r in rows if r.case.model == model])
    for table in (performance_doc.table(records), framework.table(records)):
        sections += [Section(table)] if table else []
    return {
        "title": f"{', '.join(models)}: cold start, latency, size and price",
        "subtitle": provenance.subtitle(records),
        "cards": cards(measured),
        "sections": sections,
        "blocks": blocks,
        "facts": provenance.facts(records),
    }


def _sections(rows: Sequence[Record]) -> list[Section]:
    measured = [row for row in rows if row.kind == "measured"]
    modelled = [row for row in rows if row.kind == "modelled"]
    made = [
        (tables.headline(measured), ""),
        (tables.cold(measured), plots.cold(measured)),
        (tables.latency(measured), plots.latency(measured)),
        (tables.size(measured), plots.tradeoff(measured)),
        (tables.prices(modelled), ""),
    ]
    return [Section(table, plot) for table, plot in made if table is not None]


def cards(rows: Sequence[Record]) -> list[Card]:
    """The few numbers that a reader takes away: best lossless rows against the baseline."""
    base = tables.baseline(rows)
    made: list[Card] = []
    if base is None or base.phases is None:
        return made
    lossless = [row for row in rows if words.lossless(row) and row.phases]
    if lossless:
        best = min(lossless, key=lambda r: r.phases.total.median if r.phases else 0.0)
        assert best.phases
        factor = ratio(base.phases.total.samples, best.phases.total.samples)
        text = f"sooner to the first token than transformers.pipeline ({best.case.label}, within +1 % perplexity)"
        made.append(Card(words.times(factor.value), text))
    for batch in tables.batches(rows)[:1]:
        below = tables.warm(base, batch)
        quick = [(row, w) for row in lossless if (w := tables.warm(row, batch))]
        if below and quick:
            row, found = min(quick, key=lambda item: item[1].latency.median)
            factor = ratio(below.latency.samples, found.latency.samples)
            text = f"faster when warm, batch {batch} ({row.case.label}, within +1 %)"
            made.append(Card(words.times(factor.value), text))
    small = [
        (size.bytes, row) for row in rows if row is not base and row.phases and (size := row.image or row.installed)
    ]
    if small and base.installed:
        size_bytes, row = min(small, key=lambda item: item[0])
        where = "in an image" if row.image else "to install"
        text = f"less {where} ({row.case.backend}: {words.megabytes(size_bytes)} MB of packages)"
        made.append(Card(words.times(base.installed.bytes / size_bytes), text))
    lean = [row for row in rows if row.start_memory_bytes and row is not base]
    if lean and base.start_memory_bytes:
        row = min(lean, key=lambda r: r.start_memory_bytes or 0)
        text = f"less memory at the first token ({row.case.label}: {words.megabytes(row.start_memory_bytes)} MB)"
        made.append(Card(words.times(base.start_memory_bytes / (row.start_memory_bytes or 1)), text))
    return made


def summary(records: Sequence[Record]) -> str:
    """Tables for the terminal: one line per measured case, one per bar."""
    parts = []
    if any(row.suite == "bench" for row in records):
        parts.append(_cases(records))
    if lines := bars.judge(records):
        rows = [["", "model", "row", "measured", "bar", "aim", ""]]
        for line in lines:
            value = performance_doc.value(line.value, line.unit) if line.value is not None else "not measured"
            limits = [performance_doc.value(limit, line.unit) for limit in (line.bar, line.aim)]
            rows.append([line.figure, line.model, line.row, value, *limits, line.verdict])
        parts.append(words.plain(rows))
    if found := framework.table(records):
        lines_ = [[cell.text for cell in row.cells] for row in found.rows if not row.reason]
        reasons = [f"{row.cells[0].text}: {row.reason}" for row in found.rows if row.reason]
        parts.append("\n".join([words.plain([list(found.head), *lines_]), *reasons]))
    return "\n\n".join(parts)


def _cases(records: Sequence[Record]) -> str:
    measured = [row for row in records if row.kind == "measured" and row.suite == "bench"]
    base = tables.baseline(measured)
    lines = [["", "cold start s", "faster", "warm s", "faster", "memory MB", "weights MB", "perplexity"]]
    failed = []
    for row in measured:
        if row.phases is None:
            failed.append(f"{row.case.label}: {row.status}: {row.reason}")
            continue
        first = row.warm[0] if row.warm else None
        below = tables.warm(base, first.batch) if base and first else None
        lines.append(
            [
                row.case.label,
                words.seconds(row.phases.total.median),
                words.times(base.phases.total.median / row.phases.total.median) if base and base.phases else "",
                words.seconds(first.latency.median) if first else "",
                words.times(below.latency.median / first.latency.median) if below and first else "",
                words.megabytes(row.start_memory_bytes),
                words.megabytes(row.bundle_bytes),
                words.percent(change) if (change := words.perplexity_ratio(row)) else "",
            ]
        )
    return "\n".join([words.plain(lines), *failed])
