"""What shortens a cold start on every backend: files read ahead, and the model opened beside the tokenizer."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

T = TypeVar("T")


def read_ahead(path: Path) -> None:
    """Ask the kernel to read a file into its cache meanwhile; a hint, never an error."""
    with contextlib.suppress(OSError, AttributeError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(descriptor)


def beside(call: Callable[[], T]) -> Callable[[], T]:
    """Start `call` in a thread; the function returned waits for it and gives its result or raises its error.

    For calls that leave the interpreter, as opening a model in C++ does: import its library before, in this thread.
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
        if "error" in outcome:
            raise outcome["error"]
        return cast(T, outcome["result"])

    return wait
