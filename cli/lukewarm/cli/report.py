"""`lukewarm report`: report.html and report.md from records that were measured before."""

from __future__ import annotations

from pathlib import Path

import click

from lukewarm.cli.common import json_option, print_json
from lukewarm.predictors.errors import SpecError


@click.command()
@click.argument("records", nargs=-1, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the report.  [default: that of the records]")
@json_option
def report(records: tuple[Path, ...], out: Path | None, as_json: bool) -> None:
    """Write report.html and report.md from RECORDS: files, or folders that hold records.jsonl.  [default: report]"""
    from lukewarm.benchmarks import record
    from lukewarm.benchmarks import report as reports

    files = [path / "records.jsonl" if path.is_dir() else path for path in records or (Path("report"),)]
    rows = []
    for file in files:
        if not file.is_file():
            raise SpecError("no such file; run: lukewarm bench", str(file))
        rows += record.read(file)
    if not rows:
        raise SpecError("holds no records; run: lukewarm bench", str(files[0]))
    pages = reports.write(rows, out or files[0].parent)
    if as_json:
        print_json({"records": len(rows), "report": pages})
    else:
        click.echo(reports.summary(rows))
        click.echo(f"report: {pages[0]}  {pages[1]}")
