"""Reads `python -X importtime`: the tree of imports, with the seconds each module took itself and with its children."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

_LINE = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \|(\s+)(\S.*)")


@dataclass
class Import:
    """One imported module; children were imported while it ran."""

    name: str
    self_s: float
    total_s: float
    children: list[Import] = field(default_factory=list)

    def walk(self) -> Iterator[Import]:
        yield self
        for child in self.children:
            yield from child.walk()


def parse(text: str) -> list[Import]:
    """The roots in the order in which they were imported. Python prints children first, indented by two."""
    waiting: dict[int, list[Import]] = {}
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        depth = (len(match.group(3)) - 1) // 2
        node = Import(match.group(4), int(match.group(1)) / 1e6, int(match.group(2)) / 1e6)
        node.children = waiting.pop(depth + 1, [])
        waiting.setdefault(depth, []).append(node)
    return waiting.get(0, [])


def by_package(roots: Iterable[Import]) -> list[tuple[str, float, int]]:
    """(top-level package, seconds in its own modules, modules), the slowest first."""
    found: dict[str, tuple[float, int]] = {}
    for root in roots:
        for node in root.walk():
            name = node.name.partition(".")[0]
            seconds, modules = found.get(name, (0.0, 0))
            found[name] = (seconds + node.self_s, modules + 1)
    return sorted(((n, s, m) for n, (s, m) in found.items()), key=lambda item: -item[1])


def tree(roots: Iterable[Import], least_s: float, depth: int = 3) -> list[str]:
    """Indented lines of all imports that took at least `least_s` with their children, down to `depth` levels."""
    lines: list[str] = []

    def show(node: Import, level: int) -> None:
        if node.total_s < least_s or level >= depth:
            return
        lines.append(f"{node.total_s:7.3f} s  {'  ' * level}{node.name}")
        for child in sorted(node.children, key=lambda c: -c.total_s):
            show(child, level + 1)

    for root in sorted(roots, key=lambda r: -r.total_s):
        show(root, 0)
    return lines
