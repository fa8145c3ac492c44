"""One table row per backend, target and provider: (name, module, attribute, extra).

Third parties add rows through the entry points `lukewarm.backends`, `lukewarm.converters`, `lukewarm.targets` and
`lukewarm.providers`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import msgspec

from lukewarm.predictors.errors import MissingExtra, UnsupportedError, unknown


class Row(msgspec.Struct, frozen=True):
    """Where one implementation lives and which extra it needs."""

    name: str
    module: str
    attribute: str
    extra: str | None = None  # None: works with the core alone
    package: str | None = None  # another distribution, that brought this row


class Registry:
    """A fixed table plus the rows of installed entry points; nothing is imported until asked for."""

    def __init__(self, kind: str, group: str, rows: tuple[Row, ...]) -> None:
        self.kind = kind
        self.group = group
        self._rows = {row.name: row for row in rows}

    def __iter__(self) -> Iterator[Row]:
        return iter(self._all().values())

    def names(self) -> list[str]:
        """All known names, ours first."""
        return list(self._all())

    def row(self, name: str) -> Row:
        """The row of a name; UnsupportedError names the known ones."""
        rows = self._rows if name in self._rows else self._all()
        if name not in rows:
            raise UnsupportedError(unknown(self.kind, name, rows))
        return rows[name]

    def load(self, name: str) -> Any:
        """Import and return the implementation; MissingExtra says what to install."""
        row = self.row(name)
        try:
            return getattr(importlib.import_module(row.module), row.attribute)
        except (ImportError, AttributeError) as error:
            if row.package is not None:
                raise UnsupportedError(
                    f"{self.kind} {name!r} of the package {row.package} cannot be loaded: {error}; see to that package"
                ) from error
            if (
                not isinstance(error, ModuleNotFoundError)
                or row.extra is None
                or (error.name or "").startswith("lukewarm.")
            ):
                raise
            raise MissingExtra(f"{self.kind} {name!r} needs {error.name}, which", row.extra) from error

    def _all(self) -> dict[str, Row]:
        from importlib.metadata import entry_points

        found = {
            point.name: Row(point.name, point.module, point.attr, package=point.dist.name if point.dist else "?")
            for point in entry_points(group=self.group)
        }
        return {**self._rows, **{name: row for name, row in found.items() if name not in self._rows}}


_P = "lukewarm.predictors"
# A backend's attribute is a `Backend` (predictor.py): it names its support table and makes a Predictor for a bundle.
BACKENDS = Registry(
    "backend",
    "lukewarm.backends",
    (
        Row("hf", f"{_P}.hf", "backend", "hf"),
        Row("ort", f"{_P}.ort.backend", "backend", "ort"),
        Row("ct2", f"{_P}.ct2", "backend", "ct2"),
        Row("bnb", f"{_P}.bnb", "backend", "bnb"),
        Row("echo", f"{_P}.echo", "backend"),
        Row("custom", f"{_P}.custom", "backend"),
    ),
)
