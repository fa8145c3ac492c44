"""Opens the graphs of a bundle through the C library, each in a thread of its own.

Light: it may run before anything else is imported (`ahead.py`), as opening is what a cold start waits for longest.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from lukewarm.predictors.cpus import available_cpus
from lukewarm.predictors.ort import capi
from lukewarm.predictors.ort.c_session import LateThreads, Session, SessionOptions
from lukewarm.predictors.startup import HugeHeap, beside, read_ahead

TYPE_CHECKING = False  # typing's own takes 5 ms to import
if TYPE_CHECKING:
    from typing import Any

    from lukewarm.predictors.ahead import Settings

GRAPH = "model.onnx"
WEIGHTS = "model/model.onnx.data"  # of text generation; the others are small, or mapped


_late: list[LateThreads] = []


def engine_for(device: str) -> capi.Api | None:
    """The C library, if it is there and a session on `device` would run on the CPU."""
    engine = capi.api() if device in ("cpu", "auto") else None
    if engine and device == "auto" and "CUDAExecutionProvider" in engine.available_providers():
        return None
    return engine


def entries(threads: int, prepack: bool, options: Mapping[str, Any]) -> dict[str, str]:
    """Session configuration entries; `options` are the caller's own."""
    found = {
        "session.force_spinning_stop": "1",  # idle threads cost money where CPU time is billed
        "session.intra_op.spin_duration_us": "3000",  # new ones would spin for some 40 ms, while weights are packed
    }
    if threads > available_cpus():
        found["session.intra_op.allow_spinning"] = "0"
    if not prepack:
        found["session.disable_prepacking"] = "1"
    return {**found, **{str(key): str(value) for key, value in options.items()}}


def options_for(engine: capi.Api, threads: int, configuration: Mapping[str, str], forks: bool) -> SessionOptions:
    """With `forks` the session's threads begin in the forked children of this process. Raises OrtError."""
    if forks and threads > 1 and not _late:
        _late.append(LateThreads())
    return SessionOptions(engine, threads, configuration, _late[0] if forks and threads > 1 else None)


def graphs_of(task: str, options: Mapping[str, Any]) -> list[str]:
    """The files of a bundle's graphs in `model/`, by its manifest's task and options."""
    if task == "text-generation":
        return [str(name) for name in options.get("parts") or [GRAPH]]
    whole = task in ("embeddings", "text-classification") or options.get("way") == "ctc"
    return ["encoder.onnx"] if whole else ["encoder.onnx", "decoder.onnx"]


def begin(root: str, manifest: Mapping[str, Any], settings: Settings) -> Callable[[], list[Session]] | None:
    """Open an ort bundle's graphs, if they can be opened this way; the function returned waits for them.

    `manifest` is the bundle's own. Raises OrtError, at once or when waited for.
    """
    engine = engine_for(settings.device)
    of_bundle = manifest.get("options") or {}
    names = graphs_of(manifest["task"], of_bundle)
    if engine is None or any(os.path.basename(name) != name for name in names):
        return None
    weights = os.path.join(root, WEIGHTS)
    threads = settings.threads or available_cpus()
    prepack = bool(of_bundle.get("prepack", True))
    read_ahead(weights)
    # packed weights are copies of those in the file, with a sum for each block
    copied_bytes = os.stat(weights).st_size * 5 // 4 if prepack and os.path.exists(weights) else 0
    configuration = entries(threads, prepack, settings.options)

    def session(graph: str) -> Session:
        try:
            return Session(graph, options_for(engine, threads, configuration, settings.forks))
        except capi.OrtError as error:
            error.graph = graph
            raise

    graphs = [os.path.join(root, "model", name) for name in names]
    return _open(session, graphs, one_by_one=threads == 1, heap=HugeHeap(copied_bytes))


def _open(
    session: Callable[[str], Session], graphs: Sequence[str], *, one_by_one: bool, heap: HugeHeap
) -> Callable[[], list[Session]]:
    """At once, or one after the other where there is one thread to divide."""
    heap.__enter__()
    if one_by_one:
        waits = [beside(lambda: [session(graph) for graph in graphs])]
    else:
        waits = [beside(lambda graph=graph: [session(graph)]) for graph in graphs]  # type: ignore[misc]

    def wait() -> list[Session]:
        failures: list[Exception] = []
        sessions: list[Session] = []
        for opened in waits:
            try:
                sessions += opened()
            except Exception as error:  # noqa: BLE001 - the other threads must end too; raised again below
                failures.append(error)
        heap.__exit__()
        if failures:
            raise failures[0]
        return sessions

    return wait
