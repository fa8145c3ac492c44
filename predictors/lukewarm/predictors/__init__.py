"""The Predictor interface and its backends: what ships in every image.

Importing this package loads no model runtime; a backend is imported when a bundle asks for it. What it offers is
imported when it is asked for, so that `load_predictor` can begin to open a model before anything else is loaded.
"""

import os

TYPE_CHECKING = False  # typing's own takes 5 ms to import
if TYPE_CHECKING:
    from os import PathLike
    from typing import Any

    from lukewarm.predictors.bundle import Bundle, Manifest
    from lukewarm.predictors.errors import LukewarmError
    from lukewarm.predictors.predictor import Backend, Predictor, Runtime
    from lukewarm.predictors.spec import ModelSpec

_HOMES = {
    "Backend": "predictor", "Predictor": "predictor", "Runtime": "predictor", "Bundle": "bundle", "Manifest": "bundle",
    "LukewarmError": "errors", "ModelSpec": "spec",
}  # fmt: skip

__all__ = ["Backend", "Bundle", "LukewarmError", "Manifest", "ModelSpec", "Predictor", "Runtime", "load_predictor"]


def load_predictor(
    root: "PathLike[str] | str | Bundle", runtime: "Runtime | None" = None, *, warm_up: bool = False, **settings: "Any"
) -> "Predictor":
    """From a bundle's directory to a Predictor that is set up.

    `settings` are the fields of a `Runtime`, which can be given as one: `threads`, 0 for all; `device`, one of auto,
    cpu, cuda, cuda:N; `options`, the runtime's own switches; `forks`, for children of this process to answer.
    Raises BundleError, MissingExtra, UnsupportedError.
    """
    from lukewarm.predictors import ahead

    if runtime is not None or not isinstance(root, (str, os.PathLike)):
        if settings:
            raise TypeError(f"give {', '.join(settings)} in the Runtime")
        from lukewarm.predictors import predictor

        return predictor.load_predictor(root, runtime, warm_up=warm_up)
    with ahead.begun(root, ahead.Settings(**settings)):
        from lukewarm.predictors import predictor

        return predictor.load_predictor(root, predictor.Runtime(**settings), warm_up=warm_up)


def __getattr__(name: str) -> "Any":
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
