"""The routes table: one row per request shape. A new shape is one file in shapes/ and one row here."""

from __future__ import annotations

from lukewarm.serving.engine import Engine
from lukewarm.serving.http import Endpoint
from lukewarm.serving.shapes import azure, health, huggingface, native, oip, openai, sagemaker, system, vertex

# a path that two rows claim goes to the first
SHAPES = (health, system, native, openai, oip, sagemaker, vertex, azure, huggingface)


def endpoints(engine: Engine) -> list[Endpoint]:
    """Every endpoint that this engine's task offers, each path and method once."""
    rows: dict[tuple[str, str], Endpoint] = {}
    for shape in SHAPES:
        for row in shape.endpoints(engine):
            rows.setdefault((row.method, row.path), row)
    return list(rows.values())
