"""What several verbs share: finding the spec, printing JSON, showing progress."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import msgspec

from lukewarm.predictors import specfile
from lukewarm.predictors.errors import UnsupportedError, unknown
from lukewarm.predictors.spec import ModelSpec

STATE_DIR = ".lukewarm"  # beside the spec: bundles/, build/, cache/

spec_option = click.option(
    "-f", "--spec", "spec_path", type=click.Path(path_type=Path), default=Path("."), show_default=True,
    help="The spec file, or the folder that holds one; - reads it from a pipe.",
)  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="Print data as JSON on standard output.")


class Finite(click.FloatRange):
    """A number within its range; NaN and infinity, which every range lets through, are refused before a model loads."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


Progress = Callable[[str, float | None], None]  # (what is happening, fraction done or None)


@dataclass(frozen=True)
class Project:
    """A spec and the folder it stands in; relative paths in the spec start there."""

    spec: ModelSpec
    root: Path

    @property
    def bundles(self) -> Path:
        return self.root / STATE_DIR / "bundles"

    def bundle_dir(self, backend: str | None = None, precision: str | None = None) -> Path:
        """Where `lukewarm convert` puts the bundle of this backend and precision (default: the spec's)."""
        from lukewarm.predictors.bundle import directory_name

        spec = self.spec
        return self.bundles / directory_name(spec.name, backend or spec.backend, precision or spec.precision)

    def set_environment(self) -> None:
        """The spec's `env` for this process and those it starts; what the shell has set stays, as at a provider."""
        for name, value in self.spec.env.items():
            os.environ.setdefault(name, value)

    def artifact_dir(self, target: str) -> Path:
        return self.root / STATE_DIR / "build" / target


def precision_for(spec: ModelSpec, backend: str) -> str:
    """The spec's precision; of a backend that has another's names only, its safest. Every verb takes the same one.

    Raises UnsupportedError for a precision that no backend has.
    """
    from lukewarm.predictors.registry import BACKENDS

    known = BACKENDS.load(backend).support.get(spec.task, ())
    if spec.precision in known:
        return spec.precision
    anywhere: set[str] = set()
    for name in BACKENDS.names():
        with contextlib.suppress(UnsupportedError):  # another package's that cannot be loaded
            anywhere.update(word for words in BACKENDS.load(name).support.values() for word in words)
    if spec.precision not in anywhere:
        raise UnsupportedError(unknown(f"precision for {spec.task} on {backend}", spec.precision, known))
    return known[0] if known else "none"


def open_project(path: Path) -> Project:
    """Read the spec at `path`; of one that comes through a pipe (or `-`) the project is the current folder."""
    if str(path) == "-":
        path = Path("/dev/stdin")
    file = specfile.find(path) if path.is_dir() else path
    piped = file.exists() and not file.is_file()
    return Project(specfile.load(file), Path.cwd() if piped or file == Path("/dev/stdin") else file.parent.resolve())


def print_json(value: Any) -> None:
    """Print dataclasses, Structs, paths and plain data as indented JSON."""
    encoded = msgspec.json.encode(value, enc_hook=str)
    click.echo(msgspec.json.format(encoded, indent=2).decode())


def progress(*, quiet: bool = False) -> Progress:
    """On a terminal one line that is rewritten; elsewhere one plain line per step. Always on standard error."""
    if quiet:
        return lambda _message, _fraction: None
    terminal = sys.stderr.isatty()
    last_message, last_at = "", 0.0

    def show(message: str, fraction: float | None) -> None:
        nonlocal last_message, last_at
        percent = "" if fraction is None else f" {fraction:4.0%}"
        if terminal:
            end = "\n" if fraction is not None and fraction >= 1 else ""
            sys.stderr.write(f"\r\x1b[K{message}{percent}{end}")
            sys.stderr.flush()
        elif message != last_message or time.monotonic() - last_at > 10:
            click.echo(f"{message}{percent}", err=True)
            last_message, last_at = message, time.monotonic()

    return show
