"""Opens ONNX Runtime sessions over graphs that were finished at conversion: nothing is optimised at start.

On the CPU through the C library, which is there sooner (`capi.py`); on a device, or without that library, through the
Python package. Both kinds of session have the same methods.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lukewarm.predictors.ahead import Settings, take
from lukewarm.predictors.bundle import Bundle
from lukewarm.predictors.errors import BundleError, CancelledError, MissingExtra, UnsupportedError
from lukewarm.predictors.ort.c_session import RunOptions, Session, Value
from lukewarm.predictors.ort.capi import OrtError
from lukewarm.predictors.ort.opening import begin, engine_for, entries, graphs_of, options_for
from lukewarm.predictors.predictor import NEVER, Runtime
from lukewarm.predictors.startup import beside, light_numpy

if TYPE_CHECKING:
    import numpy as np

_WATCH_S = 0.02  # how late a cancel signal may be seen during a run


def library() -> Any:
    """The onnxruntime module; its telemetry is switched off before it is imported. Raises MissingExtra."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        with light_numpy():
            import onnxruntime
    except ImportError as error:
        raise MissingExtra("onnxruntime", "ort") from error
    return onnxruntime


def begun(bundle: Bundle, runtime: Runtime) -> Callable[[], list[Any]] | None:
    """Waits for the sessions over a bundle's graphs, which may have been begun ahead; None where the package has to do.

    The function returned raises BundleError.
    """
    manifest = bundle.manifest
    settings = Settings(runtime.threads, runtime.device, runtime.options, runtime.forks)
    about = {"task": manifest.task, "options": manifest.options}
    wait = take(bundle.root, settings) or begin(str(bundle.root), about, settings)
    if wait is None:
        return None

    def opened() -> list[Any]:
        try:
            found: list[Any] = wait()
        except OrtError as error:
            raise unloadable(Path(error.graph), error) from error
        return found

    return opened


def open_bundle(bundle: Bundle, runtime: Runtime) -> list[Any]:
    """Sessions over all graphs of a bundle. Raises as `open_graph` does."""
    names = graphs_of(bundle.manifest.task, bundle.manifest.options)
    paths = [bundle.path(f"model/{name}") for name in names]
    if opened := begun(bundle, runtime):
        return opened()
    return open_graphs(paths, runtime, prepack=bool(bundle.manifest.options.get("prepack", True)))


def open_graphs(paths: Sequence[Path], runtime: Runtime, *, prepack: bool = True) -> list[Any]:
    """All at once, each in a thread of its own: most of it is packing weights. Raises as `open_graph` does."""
    first, *others = [functools.partial(open_graph, path, runtime, prepack=prepack) for path in paths]
    if runtime.thread_count() == 1:  # nothing to divide
        return [first(), *(other() for other in others)]
    opening = [beside(other) for other in others]
    return [first(), *(opened() for opened in opening)]


def open_graph(path: Path, runtime: Runtime, *, prepack: bool = True) -> Any:
    """A session over one graph. Raises BundleError, UnsupportedError, MissingExtra.

    Without `prepack` the weights stay where they are mapped: no copy at start, somewhat slower in batches.
    `runtime.options` are session configuration entries.
    """
    threads = runtime.thread_count()
    configuration = entries(threads, prepack, runtime.options)
    engine = engine_for(runtime.device)
    try:
        if engine is not None:
            return Session(str(path), options_for(engine, threads, configuration, runtime.forks))
        return _open(path, threads, configuration, runtime.device)
    except (MissingExtra, UnsupportedError):
        raise
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        raise unloadable(path, error) from error


def unloadable(path: Path, error: Exception) -> BundleError:
    """What to tell of a graph that ONNX Runtime does not open."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return BundleError(f"{path} cannot be loaded: {line[:300]}; run: lukewarm convert --force")


def _open(path: Path, threads: int, configuration: Mapping[str, str], device: str) -> Any:
    """A session of the Python package."""
    ort = library()
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # one pattern would be kept for every shape ever seen
    options.log_severity_level = 3
    for key, value in configuration.items():
        options.add_session_config_entry(key, value)
    return ort.InferenceSession(str(path), options, providers=providers(device))


def value_for(session: Any, array: np.ndarray[Any, np.dtype[Any]]) -> Any:
    """An array as `run_with_ort_values` of this kind of session takes it."""
    if isinstance(session, Session):
        return Value.of(session.engine, array)
    return library().OrtValue.ortvalue_from_numpy(array)


def dtype_for(session: Any, name: str) -> Any:
    """An element type as the bindings of this kind of session take it."""
    if isinstance(session, Session):
        return name
    import numpy as np

    return np.dtype(name)


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


def run(session: Any, call: Callable[[Any], object], cancel: threading.Event, *, watch: bool) -> None:
    """`call(RunOptions or None)`, for runs of sessions like this one.

    With `watch` a cancel signal stops them within moments: CancelledError.
    """
    if cancel.is_set():
        raise CancelledError
    if not watch or cancel is NEVER:
        call(None)
        return
    with _terminated_by(session, cancel) as options:
        try:
            call(options)
        except Exception as error:  # a terminated run raises the runtime's general failure
            if cancel.is_set():
                raise CancelledError from error
            raise


@contextlib.contextmanager
def _terminated_by(session: Any, cancel: threading.Event) -> Iterator[Any]:
    """RunOptions whose `terminate` follows `cancel`."""
    options = RunOptions(session.engine) if isinstance(session, Session) else library().RunOptions()
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
