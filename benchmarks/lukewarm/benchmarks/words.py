"""Numbers as people read them, and tables as plain data. An empty cell was not measured; its note says why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lukewarm.benchmarks.record import Record
from lukewarm.benchmarks.stats import Figure, Ratio


@dataclass(frozen=True)
class Cell:
    """One cell; `note` is shown small beside it (a spread, a reason), `mark` is a style: best, label, why."""

    text: str = ""
    note: str = ""
    mark: str = ""


@dataclass(frozen=True)
class Row:
    """Cells from the left. `reason`: the rest of the row is empty and this says why."""

    cells: tuple[Cell, ...]
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table of a report; `kind` says whether its numbers are measured, modelled or quoted."""

    title: str
    kind: str
    head: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    anchor: str = field(default="")


def seconds(value: float) -> str:
    """Three significant digits: 0.388, 4.60, 12.3; below a millisecond in µs."""
    if 0 < value < 0.001:
        return f"{value * 1e6:.3g} µs"
    digits = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f}"


def megabytes(value: int | float | None) -> str:
    """In MB of 10^6 bytes."""
    if value is None:
        return ""
    return f"{value / 1e6:.0f}" if value >= 1e7 else f"{value / 1e6:.1f}" if value >= 1e5 else f"{value / 1e6:.3f}"


def percent(ratio: float) -> str:
    """A change against 1 with its sign: 1.003 is +0.3 %."""
    change = (ratio - 1) * 100
    digits = 0 if abs(change) >= 20 else 1 if abs(change) >= 1 else 2
    return f"{change:+.{digits}f} %".replace("-", "−")


def times(value: float) -> str:
    """A factor: 11.9×."""
    return f"{value:.2f}×" if value < 2 else f"{value:.1f}×" if value < 100 else f"{value:.0f}×"


def usd(value: float) -> str:
    """Dollars with two significant digits where they are small."""
    if value == 0:
        return "0"
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 1:
        return f"{value:.2f}"
    return f"{value:.2g}" if value >= 1e-4 else f"{value * 1e6:.2g} µ"


def band(low: float, high: float) -> str:
    """Dollars where not everything is known: both bounds, once if they read the same."""
    a, b = usd(low), usd(high)
    return a if a == b else f"{a} – {b}"


def spread(figure: Figure) -> str:
    """The interval of the median; with too few samples for 95 % it is the range, and says so."""
    if figure.n == 1:
        return "n 1"
    name = "" if figure.coverage >= 0.95 else "range "
    return f"{name}{seconds(figure.low)} – {seconds(figure.high)}"


def duration(figure: Figure, mark: str = "") -> Cell:
    return Cell(seconds(figure.median), spread(figure), mark)


def factor(ratio: Ratio, mark: str = "") -> Cell:
    """A ratio with its 95 % interval."""
    return Cell(times(ratio.value), f"{times(ratio.low)} – {times(ratio.high)}" if min(ratio.n) > 1 else "n 1", mark)


def label(row: Record) -> Cell:
    return Cell(row.case.label, mark="label")


def perplexity_ratio(row: Record) -> float | None:
    """Perplexity over that of the source in fp32, where it was measured."""
    return row.accuracy.get("perplexity_ratio")


def lossless(row: Record, limit: float = 1.01) -> bool:
    """Whether a row's perplexity is within the limit; an unknown one is not."""
    ratio = perplexity_ratio(row)
    return ratio is not None and ratio <= limit


def markdown(table: Table) -> str:
    """A table as GitHub-flavoured Markdown, notes below."""
    lines = [f"| {' | '.join(table.head)} |", f"|{'---|' * len(table.head)}"]
    for row in table.rows:
        cells = [_markdown_cell(cell) for cell in row.cells]
        if row.reason:
            cells.append(f"*{_escape(row.reason)}*")
        cells += [""] * (len(table.head) - len(cells))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, *(f"\n{note}" for note in table.notes)])


def _markdown_cell(cell: Cell) -> str:
    text = f"**{_escape(cell.text)}**" if cell.mark == "best" and cell.text else _escape(cell.text)
    return f"{text} ({_escape(cell.note)})" if cell.note and text else f"*{_escape(cell.note)}*" if cell.note else text


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;").replace("*", "\\*")


def plain(rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns for a terminal, the first to the left and the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        first, *rest = row
        lines.append("  ".join([first.ljust(widths[0]), *(c.rjust(w) for c, w in zip(rest, widths[1:], strict=True))]))
    return "\n".join(line.rstrip() for line in lines)
