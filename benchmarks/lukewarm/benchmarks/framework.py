"""The table of the `targets` suite: each platform's framework beside its own hello-world. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from lukewarm.benchmarks import notes
from lukewarm.benchmarks.record import Record
from lukewarm.benchmarks.stats import Figure, difference
from lukewarm.benchmarks.words import Cell, Row, Table, duration, megabytes, seconds

SUITE = "targets"
FIRST = "spawn to first 200"
CPU = "processor time to first 200"
OWN, HELLO = "lukewarm", "hello-world"
PLAIN = "uvicorn"  # beside every target that has no server of its own
HEAD = (
    "target", "lukewarm, s", "hello-world, s", "added, s", "CPU s", "hello-world CPU s", "installed MB",
    "hello-world installed MB", "memory MB", "hello-world memory MB", "n",
)  # fmt: skip


def table(records: Sequence[Record]) -> Table | None:
    """One row a target; None without rows of the suite."""
    rows = [row for row in records if row.suite == SUITE]
    if not rows:
        return None
    own = [row for row in rows if row.case.variant == OWN]
    hellos = {row.case.backend: row for row in rows if row.case.variant == HELLO}
    return Table(
        title="What each framework costs, without a model",
        kind="measured",
        head=HEAD,
        rows=tuple(_row(row, hellos.get(row.case.backend) or hellos.get(PLAIN)) for row in own),
        notes=(notes.FRAMEWORK,),
        anchor="targets",
    )


def _row(own: Record, plain: Record | None) -> Row:
    other = plain.case.backend if plain and plain.case.backend != own.case.backend else ""
    label = Cell(own.case.backend, f"beside plain {other}" if other else "", "label")
    mine = own.figures.get(FIRST)
    if mine is None:
        return Row((label,), f"{own.status}: {own.reason}")
    theirs = plain.figures.get(FIRST) if plain else None
    why = plain.reason if plain else "not measured"
    return Row(
        (
            label,
            duration(mine, "best"),
            duration(theirs) if theirs else Cell("", why, "why"),
            _added(mine, theirs),
            _cpu(own),
            _cpu(plain),
            _installed(own),
            _installed(plain),
            Cell(megabytes(own.peak_memory_bytes)),
            Cell(megabytes(plain.peak_memory_bytes if plain else None)),
            Cell(" / ".join(str(figure.n) for figure in (mine, theirs) if figure)),
        )
    )


def _added(mine: Figure, theirs: Figure | None) -> Cell:
    if theirs is None:
        return Cell()
    found = difference(mine.samples, theirs.samples)
    few = min(found.n) == 1
    return Cell(_signed(found.value), "n 1" if few else f"{_signed(found.low)} – {_signed(found.high)}")


def _signed(value: float) -> str:
    """Seconds with their sign, to the millisecond below one."""
    size = abs(value)
    text = seconds(size) if size >= 1 else f"{size:.3f}"
    return f"{'+' if value >= 0 else '−'}{text}"


def _cpu(row: Record | None) -> Cell:
    found = row.figures.get(CPU) if row else None
    return Cell(seconds(found.median)) if found else Cell()


def _installed(row: Record | None) -> Cell:
    """Megabytes, and what there is to say about them; the reason where there are none."""
    if row is None:
        return Cell()
    said = row.not_measured.get("installed", "")
    return Cell(megabytes(row.installed.bytes), said) if row.installed else Cell("", said, "why")
