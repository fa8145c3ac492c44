"""Drops files from the page cache, so that a start reads them from disk; pages that running programs map stay."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path


def drop(roots: Iterable[Path]) -> int:
    """Ask the kernel to forget every file below these folders; returns how many bytes of files were asked for.

    A host's cache below a virtual disk may still hold them: a dropped cache is no cold disk.
    """
    if not hasattr(os, "posix_fadvise"):
        raise OSError("this system has no posix_fadvise: the page cache cannot be dropped")
    total = 0
    for path in _files(roots):
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:  # removed meanwhile, a link, a socket
            continue
        try:
            os.fdatasync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            total += os.fstat(handle).st_size
        except OSError:  # a file system that does not support it
            continue
        finally:
            os.close(handle)
    return total


def python_roots() -> list[Path]:
    """Everything a Python program of this environment may read: its packages and the standard library."""
    paths = {sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib", "platstdlib")}
    return sorted({Path(path) for path in paths} | {Path(sys.executable).resolve().parent})


def _files(roots: Iterable[Path]) -> Iterator[Path]:
    for root in roots:
        if root.is_file():
            yield root
        for folder, _, names in os.walk(root):
            for name in names:
                yield Path(folder, name)
