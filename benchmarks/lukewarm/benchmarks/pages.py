"""Writes a page of docs/ from measured records: what those pages and their commands have in common."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from lukewarm.benchmarks import record
from lukewarm.benchmarks.provenance import facts
from lukewarm.benchmarks.record import Record
from lukewarm.predictors.errors import LukewarmError

Page = Callable[[Sequence[Record]], str]


def main(module: str, page: Page, out: str, arguments: Sequence[str] | None = None) -> int:
    """`python -m MODULE [RECORDS] [OUT]`: the page of these records; the exit code. `page` raises LukewarmError."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=f"Write {out} from measured records.")
    parser.add_argument("records", type=Path, nargs="?", default=Path("report/records.jsonl"))
    parser.add_argument("out", type=Path, nargs="?", default=Path(out))
    given = parser.parse_args(arguments)
    try:
        text = page(record.read(given.records))
    except LukewarmError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    given.out.write_text(text, "utf-8")
    print(given.out)
    return 0


def provenance(records: Sequence[Record]) -> list[str]:
    """The lines that end a page: date, machine, load, versions."""
    return ["\n## How it was measured\n", *(f"- {name}: {value}" for name, value in facts(records)), ""]
