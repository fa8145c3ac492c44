"""The routes table: one name per request shape. A new shape is one file in shapes/ and its name here, twice."""

from __future__ import annotations

from lukewarm.serving.engine import Engine
from lukewarm.serving.http import Endpoint
from lukewarm.serving.shapes import health, native


def first_endpoints(engine: Engine) -> list[Endpoint]:
    """What a process answers before it has to import anything more."""
    return [*health.endpoints(engine), *native.endpoints(engine)]


def endpoints(engine: Engine) -> list[Endpoint]:
    """Every endpoint that this engine's task offers. Imports the other shapes: about 10 ms, at the first use of one."""
    from lukewarm.serving.shapes import azure, huggingface, oip, openai, sagemaker, system, vertex

    rows = {(row.method, row.path): row for row in first_endpoints(engine)}
    found = system.endpoints(lambda: list(rows.values()))
    for shape in (openai, oip, sagemaker, vertex, azure, huggingface):
        found += shape.endpoints(engine)
    for row in found:
        rows.setdefault((row.method, row.path), row)  # a path that two shapes claim goes to the first
    return list(rows.values())
