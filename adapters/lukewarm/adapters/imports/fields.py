"""Fields that several importers fill: keys that are lost, Python versions, environments, concurrency."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from lukewarm.adapters.imports.source import Notes, accept
from lukewarm.predictors.spec import EnvName, EnvValue, PythonVersion


def lose_keys(
    file: Path, value: dict[str, Any], lines: dict[str, int], notes: Notes, known: set[str], prefix: str = ""
) -> None:
    for key in value:
        if key not in known:
            notes.lose(
                file,
                lines.get(f"{prefix}{key}", 1),
                f"{prefix}{key}",
                "has no counterpart here; do it by hand if needed",
            )


def python_version(value: Any, file: Path, line: int, notes: Notes) -> str | None:
    text = str(value or "")
    if not text:
        return None
    short = ".".join(text.split(".")[:2])
    if accept(PythonVersion, short):
        return short
    notes.lose(file, line, f"python {text}", "not among the versions a spec allows; the default is used")
    return None


def environment(value: Any, file: Path, line: int, notes: Notes) -> dict[str, str]:
    if isinstance(value, list):  # Cog: ["NAME=value"]
        value = dict(item.split("=", 1) for item in value if isinstance(item, str) and "=" in item)
    kept = {}
    for name, text in (value or {}).items():
        if accept(EnvName, name) and accept(EnvValue, str(text)):
            kept[name] = str(text)
        else:
            notes.lose(file, line, f"environment {name}", "not of the form that a spec allows")
    return kept


def processors(value: Any, file: Path, line: int, notes: Notes) -> dict[str, float]:
    """`2`, `"2"` or Kubernetes' `"500m"` as the spec's `cpu`."""
    text = "" if value is None else str(value)
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(m?)", text)
    if match and float(match.group(1)) > 0:
        return {"cpu": float(match.group(1)) / (1000 if match.group(2) else 1)}
    if text:
        notes.lose(file, line, f"cpu: {text}", "not a number of processors; set resources.cpu")
    return {}


def concurrency(value: Any) -> dict[str, int] | None:
    return {"concurrency": value} if isinstance(value, int) and value > 1 else None


def with_requirement(requirement: str, others: list[str]) -> list[str]:
    name = re.split(r"[^A-Za-z0-9_-]", requirement)[0]
    return others if any(re.split(r"[^A-Za-z0-9_-]", other)[0] == name for other in others) else [requirement, *others]
