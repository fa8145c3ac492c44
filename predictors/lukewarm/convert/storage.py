"""Atomic directories: a bundle appears whole or not at all, whatever kills the run that makes it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from lukewarm.predictors.errors import StorageError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)
# libraries written in Rust and C++ pass the system's sentence on, without its number
_NUMPY_WORDS = ("Not enough free space to write", "problem writing element", "requested and")  # its own, no number
_FULL_WORDS = (*(os.strerror(number) for number in _FULL), *_NUMPY_WORDS)


@contextlib.contextmanager
def locked(target: Path) -> Iterator[None]:
    """Hold the lock of `target`: runs at the same time do one after the other. The kernel frees it when we die."""
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        stream = (target.parent / f".{target.name}.lock").open("w")
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target` that replaces it if the block succeeds. Call under `locked(target)`."""
    temp, old = _temp(target), _old(target)
    repair(target)
    try:
        with explained(target):
            temp.mkdir()
            yield temp
            _sync(temp)
            if target.exists():
                target.rename(old)
            temp.rename(target)
            _sync_directory(target.parent)
    finally:
        _remove(temp)
        _remove(old)


def repair(target: Path) -> None:
    """Put right what a killed run left: its half-made folder goes, a bundle it had moved aside comes back."""
    if _old(target).exists() and not target.exists():
        _old(target).rename(target)
    _remove(_temp(target))
    _remove(_old(target))


@contextlib.contextmanager
def explained(place: Path) -> Iterator[None]:
    """Turn a full or forbidden disk, in whatever exception a library wraps it, into StorageError."""
    try:
        yield
    except StorageError:
        raise
    except Exception as error:  # any library's own class may carry the system's error
        reason = _storage_reason(error, place.parent)
        if reason is None:
            raise
        raise StorageError(
            f"cannot write below {place.parent}: {reason}; nothing half-written was left; "
            "free some space or choose another folder"
        ) from error


def _storage_reason(error: BaseException, folder: Path) -> str | None:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _FORBIDDEN and str(seen.filename).startswith(str(folder)):
            return seen.strerror
        if isinstance(seen, OSError) and seen.errno in _FULL:
            return seen.strerror
        for words in _FULL_WORDS:
            if words in str(seen):
                return os.strerror(errno.ENOSPC) if words in _NUMPY_WORDS else words
        seen = seen.__cause__ or seen.__context__
    return None


def link_or_copy(source: Path, target: Path) -> None:
    """A hard link where the filesystem allows it (no bytes, no time), else a copy. Follows symbolic links."""
    source = source.resolve()
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _temp(target: Path) -> Path:
    return target.parent / f".{target.name}.tmp"


def _old(target: Path) -> Path:
    return target.parent / f".{target.name}.old"


def _remove(path: Path) -> None:
    # a worker of a killed run may still write for a moment
    for _ in range(3):
        if not path.exists():
            return
        shutil.rmtree(path, ignore_errors=True)


def _sync(root: Path) -> None:
    """Files and folders to the disk, so that a rename never survives what it names; readable by any user."""
    for path in sorted(root.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
        else:
            _sync_directory(path)
    root.chmod(0o755)
    _sync_directory(root)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
