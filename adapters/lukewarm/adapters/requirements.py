"""The packages of an artifact: the extras of its backend and platform, pinned to what is installed here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, requires, version
from pathlib import Path

from lukewarm.predictors.registry import BACKENDS
from lukewarm.predictors.spec import Task

DISTRIBUTION = "lukewarm"
# of the core's own dependencies, those that a running predictor imports; the others serve the command and the spec file
CORE_AT_RUN_TIME = ("msgspec",)
_NAME = re.compile(r"\A([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[([^\]]*)\])?")
_EXTRA = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")


def runtime_requirements(
    backend: str, sdk_extra: str | None, *, asgi: bool, pinned: bool = True, task: Task = "text-generation"
) -> tuple[str, ...]:  # fmt: skip
    """Requirement lines, sorted by name. `asgi`: with what serves our ASGI app."""
    row = BACKENDS.row(backend)
    media = {"image-to-text": "image", "speech-to-text": "audio" if _has("soundfile") else None}.get(task)
    extras = [extra for extra in (row.extra, sdk_extra, "serve" if asgi else None, media) if extra]
    # a built distribution has its extras' extras spelled out, so `serve` is taken away by its packages
    needless = set() if asgi else {package_name(line) for line in expand("serve")}
    lines = {package_name(line): line for line in _core()}
    for extra in extras:
        for line in expand(extra):
            if package_name(line) not in needless:
                lines.setdefault(package_name(line), line)
    if row.package:
        lines[package_name(row.package)] = row.package
    return tuple(pin(lines[name]) if pinned else lines[name] for name in sorted(lines))


def expand(extra: str, seen: frozenset[str] = frozenset()) -> Iterator[str]:
    """Requirement lines of one extra of ours, with those of the extras it names."""
    for line in requires(DISTRIBUTION) or ():
        requirement, _, marker = line.partition(";")
        found = _EXTRA.search(marker)
        if not found or found.group(1) != extra or extra in seen:
            continue
        match = _NAME.match(requirement)
        if match and match.group(1) == DISTRIBUTION:
            for nested in (match.group(2) or "").split(","):
                yield from expand(nested.strip(), seen | {extra})
        else:
            yield requirement.strip()


def installed_bytes(requirements: tuple[str, ...], *, closed: bool = False) -> int:
    """Bytes of these packages, and unless `closed` all they depend on, as installed here; what is not counts 0."""
    total, seen, waiting = 0, set(), list(requirements)
    while waiting:
        requirement = waiting.pop()
        name = package_name(requirement)
        if name in seen:
            continue
        seen.add(name)
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        total += sum(path.stat().st_size for file in found.files or () if (path := Path(str(file.locate()))).is_file())
        if closed:
            continue
        # what an extra of theirs would add is not counted: few packages here ask for one
        waiting += [line for line in found.requires or () if "extra ==" not in line and "platform_system" not in line]
    return total


def pin(requirement: str) -> str:
    """`name[extras]==installed version`, or the requirement as it is when the package is not installed here."""
    match = _NAME.match(requirement)
    if match is None:
        return requirement
    name, extras = match.group(1), match.group(2)
    try:
        installed = version(name).partition("+")[0]  # 2.9.0+cpu is a build of one index; others have 2.9.0
    except PackageNotFoundError:
        return requirement
    return f"{name}[{extras}]=={installed}" if extras else f"{name}=={installed}"


def _has(name: str) -> bool:
    """Whether a package is installed here: WAV needs no soundfile, and an image gets it where its builder has it."""
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def _core() -> Iterator[str]:
    for line in requires(DISTRIBUTION) or ():
        requirement, _, marker = line.partition(";")
        if not _EXTRA.search(marker) and package_name(requirement) in CORE_AT_RUN_TIME:
            yield requirement.strip()


def package_name(requirement: str) -> str:
    """The normalised name in a requirement line."""
    match = _NAME.match(requirement)
    return re.sub(r"[-_.]+", "-", match.group(1)).lower() if match else requirement
