"""Loads CTranslate2 models: the device, and the type that is computed in for each precision."""

from __future__ import annotations

import atexit
import contextlib
import os
import weakref
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

from lukewarm.predictors.errors import BundleError, MissingExtra, UnsupportedError
from lukewarm.predictors.predictor import Predictor, Runtime
from lukewarm.predictors.startup import beside, later

# precision -> compute types, the first that the device supports
SPINS = "10000"  # turns of libgomp's waiting loop before a thread sleeps, some 0.3 ms; by default thirty times more
_COMPUTE_TYPES = {
    "fp32": ("float32",),
    "fp16": ("float16", "float32"),
    "bf16": ("bfloat16", "float32"),
    "int8": ("int8_float16", "int8", "int8_float32"),
    "int8w": ("float16", "float32"),
}


def library() -> Any:
    """The ctranslate2 module. Raises MissingExtra."""
    try:
        with _waiting_briefly(), later("asyncio"):  # for its asynchronous streams, a sixth of its import
            import ctranslate2
    except ImportError as error:
        raise MissingExtra("ctranslate2", "ct2") from error
    return ctranslate2


@contextlib.contextmanager
def _waiting_briefly() -> Iterator[None]:
    """Let the OpenMP library that is loaded meanwhile send threads to sleep soon that wait, if the user did not choose.

    By default they spin for long. As soon as another process wants the processor, the thread that is waited for stands
    in line behind those that spin: 32 tokens of a 135M model took 22 to 64 s on two busy cores, against 8 to 9 s with
    1,000 turns, and on another machine up to 5.1 s against 1.1 s with these. On a quiet one they are as fast as many
    (1,000 turns: 0.34 s, 3,000: 0.28, 10,000 and more: 0.27). The library reads its settings once, while it is loaded,
    so child processes and other libraries do not see them.
    """
    if any(name in os.environ for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")):
        yield
        return
    os.environ["GOMP_SPINCOUNT"] = SPINS
    try:
        yield
    finally:
        os.environ.pop("GOMP_SPINCOUNT", None)


def load_model(kind: str, folder: Path, precision: str, runtime: Runtime) -> Any:
    """A `ctranslate2.Generator`, `Translator`, `models.Whisper` ... by its name.

    `Runtime.options` go to its constructor. Raises BundleError, MissingExtra, UnsupportedError.

    Loaded in a thread of its own, whose OpenMP threads end with it. They would stay in this one, beside those of the
    library's worker: libgomp then counts more threads than processors and lets none wait awake. Each step woke sleeping
    threads, which made two threads three times slower than one on a virtual machine.
    """
    ctranslate2 = library()
    device, index = _device(runtime.device, ctranslate2.get_cuda_device_count())
    arguments: dict[str, Any] = {
        "device": device,
        "device_index": index,
        "compute_type": _compute_type(precision, device, ctranslate2.get_supported_compute_types(device, index)),
        "intra_threads": runtime.thread_count(),
        "inter_threads": 1,
        **runtime.options,
    }
    try:
        return beside(lambda: attrgetter(kind)(ctranslate2)(str(folder), **arguments))()
    except (RuntimeError, ValueError) as error:
        raise BundleError(f"{folder} cannot be loaded: {error}; run: lukewarm convert --force") from error
    except TypeError as error:
        raise UnsupportedError(f"ctranslate2.{kind} does not take these options: {dict(runtime.options)}") from error


def close_at_exit(predictor: Predictor) -> None:
    """Close a predictor before the interpreter ends, as long as it lives.

    CTranslate2's worker gives a run's Python callback back a moment after the run; if the interpreter is gone by then,
    the process aborts. Closing drops the model, and with it waits for the worker.
    """
    reference = weakref.ref(predictor)

    def close() -> None:
        if (alive := reference()) is not None:
            alive.close()

    atexit.register(close)


def _device(wanted: str, cuda_devices: int) -> tuple[str, int]:
    if wanted == "auto":
        return ("cuda", 0) if cuda_devices else ("cpu", 0)
    kind, _, number = wanted.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()):
        raise UnsupportedError(f"unknown device {wanted!r}; known: auto, cpu, cuda, cuda:N")
    index = int(number or 0)
    if kind == "cuda" and index >= cuda_devices:
        raise UnsupportedError(
            f"device {wanted!r} is not here ({cuda_devices} CUDA devices); use cpu or run: lukewarm doctor"
        )
    return kind, index


def _compute_type(precision: str, device: str, supported: set[str]) -> str:
    known = [name for name in _COMPUTE_TYPES[precision] if name in supported]
    if device == "cpu":  # half precision only stores: converting at every step costs more than it saves
        known = [name for name in known if "16" not in name] or known
    if not known:
        raise UnsupportedError(f"precision {precision} needs {_COMPUTE_TYPES[precision]}, {device} has {supported}")
    return known[0]
