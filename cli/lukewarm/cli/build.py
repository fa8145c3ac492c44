"""`lukewarm build`: write the self-contained artifact of one target, or of all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lukewarm.cli.common import Project, json_option, open_project, precision_for, print_json, progress, spec_option


@click.command()
@click.argument("target", required=False)
@spec_option
@click.option("--all", "every", is_flag=True, help="Every target of the table.")
@click.option("--backend", help="Default: the spec's.")
@click.option("--precision", help="Default: the spec's.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder; default .lukewarm/build/TARGET beside the spec.")
@json_option
def build(target: str | None, spec_path: Path, every: bool, out: Path | None, as_json: bool, **options: Any) -> None:
    """Write the artifact of TARGET: a folder that the platform's own tool or server takes as it is.

    \b
    Example: lukewarm build bento
             lukewarm build --all
    """
    from lukewarm.adapters.targets import TARGETS

    if (target is None) == (not every):
        raise click.UsageError(f"give a TARGET or --all; targets: {', '.join(TARGETS.names())}")
    if every and out is not None:
        raise click.UsageError("--out goes with one TARGET, not with --all")
    project = chosen(open_project(spec_path), options["backend"], options["precision"])
    shown = []
    for name in [target] if target else TARGETS.names():
        artifact = build_one(project, name, out, quiet=as_json)
        shown.append(artifact)
    if as_json:
        print_json(shown if every else shown[0])


def chosen(project: Project, backend: str | None, precision: str | None) -> Project:
    """The project with another backend or precision than the spec's; the user's own class has one of each."""
    import msgspec

    spec = project.spec
    backend = backend or ("custom" if spec.predictor else spec.backend)
    if precision is None:
        precision = "none" if backend == "custom" else precision_for(spec, backend)
    return Project(msgspec.structs.replace(spec, backend=backend, precision=precision), project.root)


def build_one(project: Project, target: str, out: Path | None, *, quiet: bool) -> dict[str, object]:
    """Build one target and say what it weighs; what is printed, as data."""
    from lukewarm.adapters.build import build as write

    folder = out or project.artifact_dir(target)
    say = progress(quiet=quiet)
    say(f"{target}: building", None)
    artifact = write(target, project.spec, project.root, project.bundle_dir(), folder)
    manifest = artifact.manifest
    state = "built" if artifact.fresh else "unchanged"
    weights, total = manifest.weights_bytes, manifest.total_bytes
    if not quiet:
        click.echo(
            f"{target}: {state}, {folder}\n"
            f"  {total / 1e6:.1f} MB, of which weights {weights / 1e6:.1f} MB; entry {manifest.entry}"
        )
        for note in manifest.notes:
            click.echo(f"  {note}")
    return {
        "target": target, "folder": str(folder), "entry": manifest.entry, "state": state, "weights_bytes": weights,
        "total_bytes": total, "requirements": manifest.requirements, "notes": manifest.notes, "key": manifest.key,
    }  # fmt: skip
