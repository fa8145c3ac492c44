"""Writes docs/framework-cost.md from measured records: `python -m lukewarm.benchmarks.framework_doc RECORDS [OUT]`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from lukewarm.benchmarks import framework, pages, words
from lukewarm.benchmarks.provenance import subtitle
from lukewarm.benchmarks.record import Record
from lukewarm.benchmarks.words import Cell, Row, Table
from lukewarm.predictors.errors import SpecError

COMMAND = "lukewarm bench --suite targets"
MOST = 5  # packages named a row
HEAD = f"""# Framework cost

Written by `python -m lukewarm.benchmarks.framework_doc` from the records of `{COMMAND}`; do not edit. `make targets`
measures again on your machine and writes this page; the same table is in `report/report.html`.

{{subtitle}}

What a platform costs before any model: the echo bundle in each platform's real local server, beside the smallest
program that one would write for that platform by hand. Those programs: `benchmarks/lukewarm/benchmarks/hello.py`.
"""


def page(records: Sequence[Record]) -> str:
    """The whole document. Raises SpecError without rows of the suite."""
    mine = [row for row in records if row.suite == framework.SUITE]
    found = framework.table(mine)
    if found is None:
        raise SpecError(f"no records of the targets suite; run: {COMMAND}")
    parts = [HEAD.format(subtitle=subtitle(mine)), f"## {found.title}\n", words.markdown(found)]
    parts += ["\n## What is installed\n", words.markdown(installed(mine))]
    return "\n".join([*parts, *pages.provenance(mine)])


def installed(records: Sequence[Record]) -> Table:
    """The largest packages of every image."""
    rows = []
    for row in records:
        label = Cell(f"{row.case.backend}, {row.case.variant}", mark="label")
        if row.installed is None:
            rows.append(Row((label,), row.not_measured.get("installed", "not counted")))
            continue
        largest = sorted(row.installed.packages.items(), key=lambda item: -item[1])[:MOST]
        named = ", ".join(f"{name} {words.megabytes(size)}" for name, size in largest)
        rows.append(Row((label, Cell(words.megabytes(row.installed.bytes)), Cell(named))))
    head = ("", "MB", "the largest of it")
    return Table(title="What is installed", kind="measured", head=head, rows=tuple(rows), anchor="installed")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `python -m lukewarm.benchmarks.framework_doc`."""
    return pages.main("lukewarm.benchmarks.framework_doc", page, "docs/framework-cost.md", arguments)


if __name__ == "__main__":
    sys.exit(main())
