"""`lukewarm import`: from another platform's project to a spec and a Predictor, without running the project."""

from __future__ import annotations

from pathlib import Path

import click

from lukewarm.cli.common import json_option, print_json


@click.command(name="import")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--kind", type=click.Choice(["cog", "truss", "bentoml", "huggingface", "runpod", "potassium"]))
@click.option("--entry", help="Of several APIs (BentoML) or routes (Potassium), the one to carry over.")
@click.option("--dry-run", is_flag=True, help="Show what would be written; write nothing.")
@click.option("--force", is_flag=True, help="Replace an existing lukewarm.yaml and lukewarm_predictor.py.")
@json_option
def import_(directory: Path, kind: str | None, entry: str | None, dry_run: bool, force: bool, as_json: bool) -> None:
    """Read the Cog, BentoML, Truss, Runpod, Potassium or Hugging Face handler project in DIRECTORY.

    Writes lukewarm.yaml and lukewarm_predictor.py beside it; the project's own files are neither run nor changed.
    What cannot be carried over is listed with file and line.
    """
    from lukewarm.adapters.imports import import_project, write

    imported = import_project(directory, kind, entry)
    written = [] if dry_run else write(imported, directory, force=force)
    if as_json:
        print_json({"kind": imported.kind, "spec": imported.spec, "predictor": imported.predictor,
                    "written": written, "not_carried_over": imported.losses})  # fmt: skip
        return
    click.echo(f"a {imported.kind} project")
    for loss in imported.losses:
        click.echo(f"  not carried over  {loss}")
    if dry_run:
        click.echo(imported.predictor)
    for path in written:
        click.echo(f"wrote {path}")
    click.echo(f"next: lukewarm convert -f {directory} && lukewarm serve local -f {directory}")
