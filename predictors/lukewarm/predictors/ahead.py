"""Begins to open a model before the modules are imported that will use it: the two take about as long.

What was begun is taken by the predictor that is set up for the same bundle, threads, device and options. Whatever goes
wrong here goes wrong again there, with a better message: nothing is raised. Light, as nothing may be imported before.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
from collections.abc import Callable, Mapping

TYPE_CHECKING = False  # typing's own takes 5 ms to import
if TYPE_CHECKING:
    from typing import Any

_SWITCH_S = 0.0005  # how long a thread that has come back from the runtime waits for imports that hold the lock
_LEAST_CPUS = 2  # with one, there is nobody to do it meanwhile
_lock = threading.Lock()
_begun: dict[str, Callable[[], Any]] = {}


class begun:
    """Inside, the bundle at `root` is being opened; at the end what nobody took is waited for and dropped."""

    def __init__(self, root: os.PathLike[str] | str, threads: int, device: str, options: Mapping[str, Any]) -> None:
        self._key = _key(root, threads, device, options)
        self._arguments = (os.fspath(root), threads, device, options)

    def __enter__(self) -> None:
        self._restore = (sys.getswitchinterval(), gc.isenabled())
        gc.disable()  # imports make nothing that it could collect
        sys.setswitchinterval(_SWITCH_S)
        start(*self._arguments)

    def __exit__(self, *_: object) -> None:
        interval_s, collecting = self._restore
        sys.setswitchinterval(interval_s)
        if collecting:
            gc.enable()
        wait = _pop(self._key)
        if wait is not None:
            try:
                wait()
            except Exception:  # noqa: BLE001 - nobody asked for it
                return


def start(root: os.PathLike[str] | str, threads: int, device: str, options: Mapping[str, Any]) -> None:
    """Begin to open the bundle at `root`, for a predictor that will surely be set up in this process."""
    try:
        wait = _begin(os.fspath(root), threads, device, options)
    except Exception:  # noqa: BLE001 - the predictor will say what is wrong
        return
    if wait is not None:
        with _lock:
            _begun[_key(root, threads, device, options)] = wait


def take(root: os.PathLike[str] | str, threads: int, device: str, options: Mapping[str, Any]) -> Any:
    """What was begun for these: a function that waits for it and gives it. None if nothing was."""
    return _pop(_key(root, threads, device, options))


def _pop(key: str) -> Callable[[], Any] | None:
    with _lock:
        return _begun.pop(key, None)


def _key(root: os.PathLike[str] | str, threads: int, device: str, options: Mapping[str, Any]) -> str:
    return repr((os.path.realpath(root), threads, device, sorted((str(k), str(v)) for k, v in options.items())))


def _begin(root: str, threads: int, device: str, options: Mapping[str, Any]) -> Callable[[], Any] | None:
    from lukewarm.predictors.cpus import available_cpus

    if available_cpus() < _LEAST_CPUS:
        return None
    with open(os.path.join(root, "bundle.json"), encoding="utf-8") as file:
        manifest = json.load(file)
    if manifest.get("backend") != "ort":
        return None
    from lukewarm.predictors.ort.opening import begin

    return begin(root, manifest, threads, device, options)
