"""How much disk a run time needs: its packages as they lie here, and as an image gets them, really installed."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from lukewarm.benchmarks.record import Installed
from lukewarm.images.dependencies import Packages, install
from lukewarm.images.oci import Platform
from lukewarm.predictors.errors import MissingExtra

REST = "bytecode, scripts"  # files that no package lists
LEFT_OUT = frozenset({"pip", "setuptools", "wheel"})


def measure(requirements: Iterable[str]) -> Installed:
    """Bytes on disk of these requirements (`lukewarm[ct2]`, `torch`) and all they need, on this Python and platform.

    Raises MissingExtra if one of them is not installed: half a closure would look like a small one.
    """
    sizes: dict[str, int] = {}
    seen: set[Path] = set()
    for name, distribution in sorted(closure(requirements).items()):
        sizes[name] = _bytes(distribution, seen)
    return Installed(bytes=sum(sizes.values()), packages=sizes)


@functools.cache
def afresh(requirements: tuple[str, ...], *, closed: bool) -> Installed:
    """Bytes of these and all they need, or of these alone and slimmed if `closed`: installed as an image gets them.

    Into a folder of their own, by what builds our images, bytecode included. Raises SourceError without an index.
    """
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    machine = Platform("linux", "arm64" if platform.machine() in ("aarch64", "arm64") else "amd64")
    with tempfile.TemporaryDirectory(prefix="lukewarm-installed-") as folder:
        site = install(Packages(requirements, python, machine, closed), Path(folder))
        seen: set[Path] = set()
        found = importlib.metadata.distributions(path=[str(site)])
        sizes = {canonical(distribution.name): _bytes(distribution, seen) for distribution in found}
        total = sum(path.stat().st_size for path in site.rglob("*") if path.is_file() and not path.is_symlink())
    return Installed(bytes=total, packages={**dict(sorted(sizes.items())), REST: total - sum(sizes.values())})


def closure(requirements: Iterable[str]) -> dict[str, importlib.metadata.Distribution]:
    """Canonical name -> distribution, over all requirements whose markers hold here."""
    found: dict[str, importlib.metadata.Distribution] = {}
    done: set[tuple[str, str]] = set()
    open_list = [Requirement(text) for text in requirements]
    while open_list:
        requirement = open_list.pop()
        name = canonical(requirement.name)
        if name in LEFT_OUT:
            continue
        try:
            distribution = found.get(name) or importlib.metadata.distribution(requirement.name)
        except importlib.metadata.PackageNotFoundError as error:
            raise MissingExtra(f"the package {name}", name) from error
        found[name] = distribution
        for extra in ("", *requirement.extras):
            if (name, extra) not in done:
                done.add((name, extra))
                open_list += _needs(distribution, extra)
    return found


def used(modules: Iterable[str]) -> Installed:
    """Bytes of the packages that own these top-level modules: what a process really imported."""
    owners = importlib.metadata.packages_distributions()
    names = {name for module in modules for name in owners.get(module, ())}
    seen: set[Path] = set()
    sizes = {}
    for name in sorted({canonical(name): name for name in names}.values()):
        if canonical(name) not in LEFT_OUT:
            sizes[canonical(name)] = _bytes(importlib.metadata.distribution(name), seen)
    return Installed(bytes=sum(sizes.values()), packages=sizes)


def foreign_modules(requirements: Iterable[str]) -> list[str]:
    """Top-level modules of installed packages outside the closure: absent in an environment made for these alone."""
    inside = set(closure(requirements)) | {"lukewarm"} | LEFT_OUT
    owners = importlib.metadata.packages_distributions()
    return sorted(
        module
        for module, names in owners.items()
        if module.isidentifier()
        and module not in sys.stdlib_module_names
        # a namespace such as `google` may belong to packages of both kinds
        and not any(canonical(name) in inside for name in names)
    )


def canonical(name: str) -> str:
    """A package name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _needs(distribution: importlib.metadata.Distribution, extra: str) -> list[Requirement]:
    needs = []
    for text in distribution.requires or ():
        try:
            requirement = Requirement(text)
        except InvalidRequirement:  # metadata written before PEP 508 was checked; pip skips it as well
            continue
        marker = requirement.marker
        if marker is None:
            wanted = not extra
        else:
            # what holds without the extra was already taken with extra ""
            wanted = marker.evaluate({"extra": extra}) and not (extra and marker.evaluate({"extra": ""}))
        if wanted:
            needs.append(requirement)
    return needs


def _bytes(distribution: importlib.metadata.Distribution, seen: set[Path]) -> int:
    """Bytes of the listed files that exist; a file that two packages list counts once."""
    total = 0
    for file in distribution.files or ():
        path = Path(str(distribution.locate_file(file)))
        if path in seen:
            continue
        seen.add(path)
        try:
            total += path.stat().st_size
        except OSError:  # listed but removed, as bytecode may be
            continue
    return total
