"""What shortens a cold start on every backend: files read ahead, a model opened beside the tokenizer, huge pages.

Light: some of it runs before anything else is imported.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator

TYPE_CHECKING = False  # typing's own takes 5 ms to import
if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType
    from typing import Any, TypeVar

    T = TypeVar("T")
else:
    ModuleType = type(os)  # what the `types` module takes 1 ms to say

# mallopt's parameters and madvise's advice, from glibc's malloc.h and Linux' mman.h
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -3, -4, -8
_MMAP_COUNT = 65536  # glibc's own M_MMAP_MAX
_HUGEPAGE = 14  # MADV_HUGEPAGE
_HUGE_BYTES = 2 << 20
# numpy's modules that do nothing but add docstrings
_DOCSTRINGS = ("numpy._core._add_newdocs", "numpy._core._add_newdocs_scalars")
_KEPT_BYTES = 32 << 20  # the largest threshold glibc takes, and what it would come to by itself


def read_ahead(path: Path | str) -> None:
    """Ask the kernel to read a file into its cache meanwhile; a hint, never an error."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(descriptor)
    except (OSError, AttributeError):
        pass


def beside(call: Callable[[], T], after: Callable[[], object] | None = None) -> Callable[[], T]:
    """Start `call` in a thread; the function returned waits for it and gives its result or raises its error.

    For calls that leave the interpreter, as opening a model in C++ does: import its library before, in this thread.
    `after` is called when it was waited for, whatever came of it.
    """
    outcome: dict[str, Any] = {}

    def work() -> None:
        try:
            outcome["result"] = call()
        except BaseException as error:  # noqa: BLE001 - crosses threads, raised again below
            outcome["error"] = error

    thread = threading.Thread(target=work, name="lukewarm-open", daemon=True)
    thread.start()

    def wait() -> T:
        thread.join()
        if after is not None:
            after()
        if "error" in outcome:
            raise outcome["error"]
        result: T = outcome["result"]
        return result

    return wait


@contextlib.contextmanager
def light_numpy() -> Iterator[None]:
    """Import numpy inside: its BLAS would start threads for products that we never ask of it, a fifth of its import.

    The docstrings of its C functions, a tenth, stay out too.
    """
    if "numpy" in sys.modules:
        yield
        return
    before = os.environ.get("OPENBLAS_NUM_THREADS")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for name in _DOCSTRINGS:
        sys.modules.setdefault(name, ModuleType(name))
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("OPENBLAS_NUM_THREADS", None)


@contextlib.contextmanager
def later(name: str) -> Iterator[None]:
    """Inside, an import of that module gets a stand-in, which imports it when something of it is asked for.

    For packages that import much for what is seldom used.
    """
    if name in sys.modules:
        yield
        return
    stand_in = sys.modules[name] = _Later(name)
    try:
        yield
    finally:
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]


class _Later(ModuleType):
    def __getattr__(self, attribute: str) -> Any:
        import importlib

        name = self.__name__
        if sys.modules.get(name) is self:
            del sys.modules[name]
        return getattr(importlib.import_module(name), attribute)


class HugeHeap:
    """Inside, allocations in threads begun inside too come from a heap that asks the kernel for huge pages.

    A model's weights are copied into many blocks of a megabyte or so; glibc maps each one by itself, too small for a
    huge page, and each costs hundreds of page faults. Enter it before the thread begins that allocates, which would
    bring a heap of its own; it may still be given the heap of a thread that has ended, and then little is gained.
    Elsewhere than on glibc nothing changes.
    """

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._libc = _libc() if size_bytes >= _HUGE_BYTES else None

    def __enter__(self) -> None:
        libc, size_bytes = self._libc, self._size_bytes
        if libc is None:
            return
        libc.mallopt(_ARENA_MAX, 1)
        libc.mallopt(_MMAP_MAX, 0)
        libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        if block := libc.malloc(size_bytes + _HUGE_BYTES):
            start = -(-block // _HUGE_BYTES) * _HUGE_BYTES
            libc.madvise(start, size_bytes // _HUGE_BYTES * _HUGE_BYTES, _HUGEPAGE)
            libc.free(block)

    def __exit__(self, *_: object) -> None:
        libc = self._libc
        if libc is None:
            return
        libc.mallopt(_ARENA_MAX, 0)
        libc.mallopt(_MMAP_MAX, _MMAP_COUNT)
        libc.mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)
        libc.mallopt(_TRIM_THRESHOLD, 2 * _KEPT_BYTES)


def _libc() -> Any | None:
    """glibc, with the functions that `HugeHeap` calls; None elsewhere."""
    import ctypes

    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018 - musl has a mallopt that does nothing
        libc.malloc.restype = ctypes.c_void_p
        libc.malloc.argtypes = (ctypes.c_size_t,)
        libc.free.argtypes = (ctypes.c_void_p,)
        libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        libc.mallopt.argtypes = (ctypes.c_int, ctypes.c_int)
    except (OSError, AttributeError):
        return None
    return libc
