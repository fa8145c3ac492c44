"""The decorator of the simulator's kernel: numba, with a cache on disk that is never older than the kernel's source.

numba looks at the one file that holds a function to see whether its cached code is current. The kernel is spread over
four, and wheels carry fixed file times: so the cache lives in a folder named after the digest of all four.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numba  # noqa: TID253 - loaded with the kernel only, when a simulation runs

F = TypeVar("F", bound=Callable[..., object])
SOURCES = ("columns.py", "machine.py", "kernel_parts.py", "kernel.py")


def cache_dir() -> Path | None:
    """A folder of the user's own for this very kernel; None where none can be made (then nothing is cached)."""
    digest = hashlib.sha256(numba.__version__.encode())
    for name in SOURCES:
        digest.update(Path(__file__).with_name(name).read_bytes())
    try:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = root / "lukewarm" / f"simulator-{digest.hexdigest()[:16]}"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # read-only, or a user without a home
        return None
    return folder if os.access(folder, os.W_OK) else None


_FOLDER = cache_dir()


def compiled(function: F) -> F:
    """Compile on first call, from the cache where there is one."""
    # inlined: a call hands over every array by its seven parts, which costs more than what most callees do
    options = {"error_model": "numpy", "forceinline": True}
    if _FOLDER is None:
        plain: F = numba.njit(**options)(function)
        return plain
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(_FOLDER)  # read once, when caching is switched on for this function
    try:
        made: F = numba.njit(cache=True, **options)(function)
    finally:
        numba.config.CACHE_DIR = before
    return made
