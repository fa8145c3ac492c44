"""Opens ONNX Runtime sessions over graphs that were finished at conversion: nothing is optimised at start."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lukewarm.predictors.errors import BundleError, CancelledError, MissingExtra, UnsupportedError
from lukewarm.predictors.predictor import NEVER, Runtime, available_cpus

_WATCH_S = 0.02  # how late a cancel signal may be seen during a run


def library() -> Any:
    """The onnxruntime module; its telemetry is switched off before it is imported. Raises MissingExtra."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    # numpy's BLAS would start threads for products that we never ask of it: a fifth of numpy's import
    before = os.environ.get("OPENBLAS_NUM_THREADS")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtra("onnxruntime", "ort") from error
    finally:
        if before is None:
            os.environ.pop("OPENBLAS_NUM_THREADS", None)
    return onnxruntime


def open_graph(path: Path, runtime: Runtime, *, prepack: bool = True) -> Any:
    """A session over one graph. Raises BundleError, UnsupportedError, MissingExtra.

    Without `prepack` the weights stay where they are mapped: no copy at start, somewhat slower in batches.
    `runtime.options` are session configuration entries.
    """
    ort = library()
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = runtime.thread_count()
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # one pattern would be kept for every shape ever seen
    options.log_severity_level = 3
    entries = {
        "session.force_spinning_stop": "1",  # idle threads cost money where CPU time is billed
        "session.intra_op.spin_duration_us": "3000",  # new ones would spin for some 40 ms, while weights are packed
    }
    if runtime.thread_count() > available_cpus():
        entries["session.intra_op.allow_spinning"] = "0"
    if not prepack:
        entries["session.disable_prepacking"] = "1"
    for key, value in {**entries, **runtime.options}.items():
        options.add_session_config_entry(str(key), str(value))
    try:
        return ort.InferenceSession(str(path), options, providers=providers(runtime.device))
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BundleError(f"{path} cannot be loaded: {line[:300]}; run: lukewarm convert --force") from error


def providers(device: str) -> list[Any]:
    """Execution providers for a device. Raises UnsupportedError for one that this installation does not have."""
    available = library().get_available_providers()
    if device == "cpu" or (device == "auto" and "CUDAExecutionProvider" not in available):
        return ["CPUExecutionProvider"]
    kind, _, index = device.partition(":")
    if kind not in ("auto", "cuda") or (index and not index.isdigit()):
        raise UnsupportedError(f"unknown device {device!r}; known: auto, cpu, cuda, cuda:N")
    if "CUDAExecutionProvider" not in available:
        raise UnsupportedError(
            f"device {device!r}: this onnxruntime has only {', '.join(available)}; install onnxruntime-gpu, or use cpu"
        )
    cuda = {"device_id": int(index or 0), "arena_extend_strategy": "kSameAsRequested"}
    return [("CUDAExecutionProvider", cuda), "CPUExecutionProvider"]


def run(call: Callable[[Any], object], cancel: threading.Event, *, watch: bool) -> None:
    """`call(RunOptions or None)`. With `watch` a cancel signal stops its runs within moments: CancelledError."""
    if cancel.is_set():
        raise CancelledError
    if not watch or cancel is NEVER:
        call(None)
        return
    with _terminated_by(cancel) as options:
        try:
            call(options)
        except Exception as error:  # a terminated run raises the runtime's general failure
            if cancel.is_set():
                raise CancelledError from error
            raise


@contextlib.contextmanager
def _terminated_by(cancel: threading.Event) -> Iterator[Any]:
    """RunOptions whose `terminate` follows `cancel`."""
    options = library().RunOptions()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            if cancel.wait(_WATCH_S):
                options.terminate = True
                return

    threading.Thread(target=watch, name="lukewarm-cancel", daemon=True).start()
    try:
        yield options
    finally:
        done.set()
