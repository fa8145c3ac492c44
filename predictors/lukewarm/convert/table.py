"""The one table of converters and accuracy checks; a converter is imported when it is asked for."""

from __future__ import annotations

import importlib
from typing import cast

from lukewarm.convert.job import Converter, Measure
from lukewarm.predictors.errors import MissingExtra, UnsupportedError
from lukewarm.predictors.registry import BACKENDS, Registry
from lukewarm.predictors.spec import Task

_C = "lukewarm.convert"
# (task, backend) -> module with an attribute `converter`
CONVERTERS: dict[tuple[Task, str], str] = {
    ("text-generation", "hf"): f"{_C}.to_hf",
    ("text-generation", "bnb"): f"{_C}.to_bnb",
    ("text-generation", "ct2"): f"{_C}.to_ct2",
    ("text-generation", "ort"): f"{_C}.to_ort",
    **{("embeddings", name): f"{_C}.embeddings.{name}" for name in ("hf", "ort", "ct2")},
    **{("image-to-text", name): f"{_C}.image_to_text.{name}" for name in ("hf", "ort")},
    **{("speech-to-text", name): f"{_C}.speech_to_text.{name}" for name in ("hf", "ort", "ct2")},
    **{("text-classification", name): f"{_C}.text_classification.{name}" for name in ("hf", "ort")},
    **{("text-to-text", name): f"{_C}.text_to_text.{name}" for name in ("hf", "ort", "ct2")},
}
# task -> module with an attribute `measure`
MEASURES: dict[Task, str] = {
    "text-generation": f"{_C}.accuracy",
    "text-to-text": f"{_C}.text_to_text.accuracy",
    "embeddings": f"{_C}.embeddings.accuracy",
    "text-classification": f"{_C}.text_classification.accuracy",
    "image-to-text": f"{_C}.media_accuracy",
    "speech-to-text": f"{_C}.media_accuracy",
}
WITHOUT_MODEL = ("echo", "custom")  # backends whose bundle is a manifest
OTHERS = Registry("converter", "lukewarm.converters", ())  # of other packages, by the backend's name


def backends(task: Task) -> list[str]:
    """Those that a source can be converted to, ours first."""
    others = [name for name in OTHERS.names() if task in BACKENDS.load(name).support]
    return [*(name for known, name in CONVERTERS if known == task), *others]


def converter(task: Task, backend: str) -> Converter:
    """The converter of a task and backend. Raises UnsupportedError naming what there is, MissingExtra."""
    module = CONVERTERS.get((task, backend))
    if module is None and backend in OTHERS.names():
        return cast(Converter, OTHERS.load(backend))
    if module is None:
        able = sorted(backends(task))
        raise UnsupportedError(f"no converter from {task} to {backend!r}; there are: {', '.join(able) or 'none'}")
    return cast(Converter, _load(module, "converter"))


def measure(task: Task, backend: str) -> Measure | None:
    """The accuracy check of a task, or None where there is none yet; a converter may bring its own, or None."""
    if backend in OTHERS.names() and hasattr(brought := OTHERS.load(backend), "measure"):
        return cast("Measure | None", brought.measure)
    return cast(Measure, _load(MEASURES[task], "measure")) if task in MEASURES else None


def _load(module: str, attribute: str) -> object:
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("lukewarm."):
            raise
        raise MissingExtra(f"{error.name}, needed to convert,", "convert") from error
