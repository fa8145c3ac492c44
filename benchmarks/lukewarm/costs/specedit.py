"""Writes tuned values into a spec file: nothing else in it changes, comments stay, and it is whole or untouched."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import Any

from lukewarm.predictors import specfile
from lukewarm.predictors.errors import MissingExtra, SpecError, StorageError, UnsupportedError

Changes = dict[str, dict[str, float | int]]


def write(path: Path, changes: Changes) -> None:
    """Set `changes[section][key]` in the YAML spec at `path`; the result is checked before the file is replaced.

    Raises UnsupportedError for a spec that is no YAML (with the lines to paste), SpecError, StorageError.
    """
    if path.suffix not in (".yaml", ".yml"):
        raise UnsupportedError(f"{path} is not YAML; put these values in it by hand:\n{as_text(changes)}")
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"cannot be read: {error}", str(path)) from error
    edited = edit(text, changes, str(path))
    value, lines = specfile.parse(path, edited)
    specfile.decode(value, str(path), lines)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(edited, "utf-8")
        with contextlib.suppress(OSError):
            temporary.chmod(path.stat().st_mode & 0o777)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StorageError(f"{path} cannot be written: {error.strerror}; it is unchanged") from error


def edit(text: str, changes: Changes, where: str = "spec") -> str:
    """The YAML text with the values set; order, comments and quotes of the rest are kept."""
    try:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError
    except ImportError as error:
        raise MissingExtra("ruamel.yaml", "costs") from error
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1 << 16
    try:
        document: Any = yaml.load(text)
    except YAMLError as error:
        raise SpecError(f"not YAML: {error}", where) from error
    if not isinstance(document, dict):
        raise SpecError("a spec is a mapping of keys", where)
    for section, values in changes.items():
        if not isinstance(document.get(section), dict):
            document[section] = {}
        document[section].update(values)
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


def as_text(changes: Changes) -> str:
    """The changes as YAML lines."""
    lines = []
    for section, values in changes.items():
        lines.append(f"{section}:")
        lines += [f"  {key}: {value}" for key, value in values.items()]
    return "\n".join(lines)
