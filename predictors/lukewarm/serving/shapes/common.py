"""What the shapes share: a task's main field, items from bare values, and running them as one request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lukewarm.predictors.errors import RequestError
from lukewarm.predictors.spec import Task
from lukewarm.predictors.tasks import Request, Result
from lukewarm.serving.core import Answer
from lukewarm.serving.decoding import json_type, require_object
from lukewarm.serving.engine import Engine, outcome_dict
from lukewarm.serving.errors import relocated

MAIN_FIELD: Mapping[Task, str] = {
    "text-generation": "prompt",
    "text-to-text": "text",
    "embeddings": "text",
    "text-classification": "text",
    "image-to-text": "data",
    "speech-to-text": "data",
    "custom": "inputs",
}


def as_item(engine: Engine, value: Any, parameters: Mapping[str, Any]) -> Any:
    """One native item: an object as it is, a bare value as the main field; parameters fill what it leaves out."""
    item = dict(value) if isinstance(value, dict) and engine.task != "custom" else {MAIN_FIELD[engine.task]: value}
    return {**parameters, **item}


async def run_items(engine: Engine, values: Sequence[Any], parameters: Mapping[str, Any]) -> Answer:
    """Run bare values or objects as one request; mistakes stay with their item."""
    items = [as_item(engine, value, parameters) for value in values]
    return await engine.arun(await engine.reader.aread_each(items))


def item_dicts(answer: Answer, at: str) -> list[dict[str, Any]]:
    """Results or errors in order; `at` is the path of the list in the caller's request."""
    return [outcome_dict(outcome, f"{at}[{index}]") for index, outcome in enumerate(answer.outcomes)]


def all_results(answer: Answer, where: Sequence[str], names: Mapping[str, str]) -> list[Result]:
    """The results, for shapes that have no place for one item's error: the first error is raised, relocated."""
    results = []
    for outcome, at in zip(answer.outcomes, where, strict=True):
        if isinstance(outcome, RequestError):
            raise relocated(outcome, at, names)
        if isinstance(outcome, BaseException):
            raise outcome
        results.append(outcome)
    return results


def read(engine: Engine, item: Any, at: str, names: Mapping[str, str]) -> Request:
    """One typed request, errors relocated to the caller's names."""
    try:
        return engine.reader.read(item)
    except RequestError as error:
        raise relocated(error, at, names) from error


def only_keys(value: Any, keys: Sequence[str], required: Sequence[str] = ()) -> dict[str, Any]:
    """An envelope object with no other keys than these. Raises RequestError."""
    envelope = require_object(value)
    for key in envelope:
        if key not in keys:
            raise RequestError("unknown_key", f"unknown key {key!r}", f"$.{key}", ", ".join(keys))
    for key in required:
        if key not in envelope:
            raise RequestError("missing_key", f"the key {key!r} is missing", "$", ", ".join(keys))
    return envelope


def parameters_of(envelope: Mapping[str, Any]) -> dict[str, Any]:
    """The optional object `parameters`; null counts as left out."""
    value = envelope.get("parameters")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RequestError("wrong_type", f"expected object, got {json_type(value)}", "$.parameters", "object")
    return value


def check_parameters(engine: Engine, parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that are wrong for every item, or that hold an input. Raises RequestError."""
    main = MAIN_FIELD[engine.task]
    for name in (main, "messages", "url"):
        if name in parameters:
            raise RequestError("unknown_key", f"{name!r} is no parameter", f"$.parameters.{name}")
    filler: Any = {} if engine.task == "custom" else ""
    read(engine, {**parameters, main: filler}, "$.parameters", {})
