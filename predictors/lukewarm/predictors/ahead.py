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

MANIFEST = "bundle.json"
_SWITCH_S = 0.0005  # how long a thread that has come back from the runtime waits for imports that hold the lock
_LEAST_CPUS = 2  # with one, there is nobody to do it meanwhile
_lock = threading.Lock()
_begun: dict[str, Callable[[], Any]] = {}


class Settings:
    """What of a `Runtime` decides how a model is opened."""

    def __init__(
        self, threads: int = 0, device: str = "auto", options: Mapping[str, Any] | None = None, forks: bool = False
    ) -> None:
        self.threads = threads
        self.device = device
        self.options = options or {}
        self.forks = forks

    def key(self, root: os.PathLike[str] | str) -> str:
        """The same for the same bundle and settings."""
        options = sorted((str(key), str(value)) for key, value in self.options.items())
        return repr((os.path.realpath(root), self.threads, self.device, options, self.forks))


class begun:
    """Inside, the bundle at `root` is being opened; at the end what nobody took is waited for and dropped."""

    def __init__(self, root: os.PathLike[str] | str, settings: Settings) -> None:
        self._root = root
        self._settings = settings

    def __enter__(self) -> None:
        self._restore = (sys.getswitchinterval(), gc.isenabled())
        gc.disable()  # imports make nothing that it could collect
        sys.setswitchinterval(_SWITCH_S)
        start(self._root, self._settings)

    def __exit__(self, *_: object) -> None:
        interval_s, collecting = self._restore
        sys.setswitchinterval(interval_s)
        if collecting:
            gc.enable()
        wait = take(self._root, self._settings)
        if wait is not None:
            try:
                wait()
            except Exception:  # noqa: BLE001 - nobody asked for it
                return


def start(root: os.PathLike[str] | str, settings: Settings) -> None:
    """Begin to open the bundle at `root`, for a predictor that will surely be set up in this process."""
    try:
        wait = _begin(os.fspath(root), settings)
    except Exception:  # noqa: BLE001 - the predictor will say what is wrong
        return
    if wait is not None:
        with _lock:
            _begun[settings.key(root)] = wait


def take(root: os.PathLike[str] | str, settings: Settings) -> Callable[[], Any] | None:
    """What was begun for these: a function that waits for it and gives it. None if nothing was."""
    with _lock:
        return _begun.pop(settings.key(root), None)


def _begin(root: str, settings: Settings) -> Callable[[], Any] | None:
    from lukewarm.predictors.cpus import available_cpus

    if available_cpus() < _LEAST_CPUS:
        return None
    with open(os.path.join(root, MANIFEST), encoding="utf-8") as file:
        manifest = json.load(file)
    if manifest.get("backend") != "ort":
        return None
    from lukewarm.predictors.ort.opening import begin

    return begin(root, manifest, settings)
