"""What goes into a layer: a sorted list of entries, the same for equal content whoever built it and when."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lukewarm.images.layout import disk_errors
from lukewarm.predictors.errors import SourceError


@dataclass(frozen=True)
class Entry:
    """One file, folder or symbolic link of a layer. Owner 0:0 and time 0 are fixed; only this varies."""

    path: str  # in the image, without a leading slash
    kind: str  # file, dir, link
    mode: int = 0o644
    size: int = 0  # bytes
    source: Path | None = None  # of a file
    target: str = ""  # of a link


def keep_all(_path: str) -> bool:
    return True


def walk(source: Path, prefix: str, keep: Callable[[str], bool] = keep_all) -> list[Entry]:
    """Every file below `source` (or `source` itself, if it is a file) as entries below `prefix`.

    `keep` gets each path relative to `source`, with forward slashes. Links that stay inside are kept, links to files
    outside become those files. Raises SourceError for what an image cannot hold.
    """
    prefix = prefix.strip("/")
    if source.is_file():
        return [_file(source, prefix)]
    if not source.is_dir():
        raise SourceError(f"{source} is neither a file nor a folder")
    root = source.resolve()
    found: list[Entry] = []
    with disk_errors(source):
        for folder, folders, files in os.walk(source, onerror=_raise):
            here = Path(folder)
            folders[:] = sorted(name for name in folders if keep((here / name).relative_to(source).as_posix()))
            for name in [*folders, *sorted(files)]:
                relative = (here / name).relative_to(source).as_posix()
                if keep(relative):
                    found.append(_entry(here / name, f"{prefix}/{relative}" if prefix else relative, root))
    return found


def with_parents(entries: Iterable[Entry]) -> list[Entry]:
    """Entries sorted by path, each folder once and before its content. Raises SourceError if two claim one path."""
    by_path: dict[str, Entry] = {}
    for entry in entries:
        other = by_path.get(entry.path)
        if other is not None and (other.kind, entry.kind) != ("dir", "dir"):
            raise SourceError(f"two files want to be {entry.path} in the image: {other.source} and {entry.source}")
        by_path[entry.path] = entry
    for path in list(by_path):
        for parent in PurePosixPath(path).parents:
            if str(parent) != ".":
                by_path.setdefault(str(parent), Entry(str(parent), "dir", 0o755))
    return [by_path[path] for path in sorted(by_path, key=lambda path: path.split("/"))]


def _entry(path: Path, name: str, root: Path) -> Entry:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return _link(path, name, root)
    if stat.S_ISDIR(mode):
        return Entry(name, "dir", 0o755)
    return _file(path, name)


def _link(path: Path, name: str, root: Path) -> Entry:
    target = os.readlink(path)
    resolved = path.resolve()
    if not resolved.exists():
        raise SourceError(f"{path} is a link to {target}, which does not exist")
    if resolved.is_relative_to(root) and not os.path.isabs(target):
        return Entry(name, "link", 0o777, target=target)
    if resolved.is_dir():
        raise SourceError(f"{path} is a link to a folder outside ({target}); copy it in, or leave it out")
    return _file(resolved, name)


def _file(path: Path, name: str) -> Entry:
    with disk_errors(path):
        found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise SourceError(f"{path} is no plain file (a socket, pipe or device); an image cannot hold it")
    executable = bool(found.st_mode & 0o111)
    return Entry(name, "file", 0o755 if executable else 0o644, found.st_size, path)


def _raise(error: OSError) -> None:
    raise error
