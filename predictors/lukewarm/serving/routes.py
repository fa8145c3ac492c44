"""The routes table: one row per request shape. A new shape is one file in shapes/ and one row here."""

from __future__ import annotations

from lukewarm.serving.engine import Engine
from lukewarm.serving.http import Endpoint
from lukewarm.serving.shapes import health, native

SHAPES = (health, native)


def endpoints(engine: Engine) -> list[Endpoint]:
    """Every endpoint that this engine's task offers."""
    return [row for shape in SHAPES for row in shape.endpoints(engine)]
