"""The table of the `targets` suite: each platform's framework beside its own hello-world. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from lukewarm.benchmarks import notes
from lukewarm.benchmarks.record import Record
from lukewarm.benchmarks.words import Cell, Row, Table, duration, megabytes, seconds

SUITE = "targets"
FIRST = "spawn to first 200"
OWN, HELLO = "lukewarm", "hello-world"
PLAIN = "uvicorn"  # beside every target that has no server of its own


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
        head=(
            "target", "first 200, s", "hello-world, s", "added, s", "installed MB", "hello-world MB", "memory MB",
            "hello-world memory MB", "n",
        ),
        rows=tuple(_row(row, hellos.get(row.case.backend) or hellos.get(PLAIN)) for row in own),
        notes=(notes.FRAMEWORK,),
        anchor="targets",
    )  # fmt: skip


def _row(own: Record, plain: Record | None) -> Row:
    label = Cell(own.case.backend, mark="label")
    mine = own.figures.get(FIRST)
    if mine is None:
        return Row((label,), f"{own.status}: {own.reason}")
    theirs = plain.figures.get(FIRST) if plain else None
    name = plain.case.backend if plain and plain.case.backend != own.case.backend else ""
    return Row(
        (
            label,
            duration(mine, "best"),
            duration(theirs) if theirs else Cell("", plain.reason if plain else "not measured", "why"),
            Cell(seconds(mine.median - theirs.median) if theirs and mine.median > theirs.median else "", name),
            Cell(megabytes(own.installed.bytes if own.installed else None), own.not_measured.get("installed", "")),
            Cell(megabytes(plain.installed.bytes if plain and plain.installed else None)),
            Cell(megabytes(own.peak_memory_bytes)),
            Cell(megabytes(plain.peak_memory_bytes if plain else None)),
            Cell(str(mine.n)),
        )
    )
