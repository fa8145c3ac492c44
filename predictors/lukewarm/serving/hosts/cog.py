"""Cog: a run of ours in terms of its runner. Failures are texts that hold our error, the only ones that it shows.

`inputs` are the `locals()` of a runner's `run`: the runner as `self`, and every input, None where it was left out.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from lukewarm.serving.engine import Engine
from lukewarm.serving.errors import error_body


def started(root: Path, spec: dict[str, Any] | None = None) -> Engine:
    """An engine with its model loaded."""
    engine = Engine.open(root, spec=spec)
    engine.start()
    return engine


def pieces(inputs: dict[str, Any]) -> Iterator[str]:
    """The texts of a stream, then its result as the runner's metrics."""
    engine, request = _given(inputs)
    piece: dict[str, Any] = {}
    with _told():
        for piece in engine.stream(request):
            if "delta" in piece:
                yield piece["delta"]
        _record(inputs["self"], piece["result"])


async def apieces(inputs: dict[str, Any]) -> AsyncIterator[str]:
    """As `pieces`, for runners of several predictions at once."""
    engine, request = _given(inputs)
    piece: dict[str, Any] = {}
    with _told():
        async for piece in engine.astream(request):
            if "delta" in piece:
                yield piece["delta"]
        _record(inputs["self"], piece["result"])


def answer(inputs: dict[str, Any]) -> dict[str, Any]:
    """The whole result."""
    engine, request = _given(inputs)
    with _told():
        return engine.predict(request)


async def aanswer(inputs: dict[str, Any]) -> dict[str, Any]:
    """As `answer`, for runners of several predictions at once."""
    engine, request = _given(inputs)
    with _told():
        return await engine.apredict(request)


def _given(inputs: dict[str, Any]) -> tuple[Engine, dict[str, Any]]:
    """The runner's engine, and the request without what was left out; files as bytes."""
    request = {name: value for name, value in inputs.items() if name != "self" and value is not None}
    if "data" in request:
        request["data"] = request["data"].read_bytes()
    return inputs["self"].engine, request


def _record(runner: Any, result: dict[str, Any]) -> None:
    record = getattr(runner, "record_metric", None)  # runners before Cog's `run:` have none
    for name, value in {**result.pop("meta"), **result, "text": None}.items():
        if record is not None and value is not None:
            record(name, value)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # Cog shows the caller this text and no other
        raise RuntimeError(json.dumps(error_body(error))) from error
