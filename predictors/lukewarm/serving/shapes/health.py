"""Health and identity: /livez says the process runs, /readyz that the model answers, / what this is."""

from __future__ import annotations

from typing import Any

from lukewarm.serving.engine import Engine
from lukewarm.serving.http import Endpoint, Exchange, Handler, Reply


def endpoints(engine: Engine) -> list[Endpoint]:
    return [
        probe("/", "What is served here", root),
        probe("/livez", "The process runs", live),
        probe("/readyz", "Setup and warm-up are done", ready),
    ]


def probe(path: str, summary: str, handle: Handler) -> Endpoint:
    """A GET without parameters that answers with an object."""
    return Endpoint(method="GET", path=path, handle=handle, summary=summary, response=lambda _: {"type": "object"})


async def root(exchange: Exchange) -> Reply:
    engine = exchange.engine
    manifest = engine.bundle.manifest
    return Reply(
        {
            "name": engine.spec.name,
            "lukewarm": lukewarm_version(),
            "task": manifest.task,
            "backend": manifest.backend,
            "precision": manifest.precision,
            "ready": engine.ready,
            "openapi": "/openapi.json",
        }
    )


async def live(exchange: Exchange) -> Reply:
    return Reply({"status": "live"})


async def ready(exchange: Exchange) -> Reply:
    """200 once requests are taken; else the 503 that a request would get, with the reason."""
    exchange.engine.require_ready()
    return Reply({"status": "ready", **timing(exchange.engine)})


def timing(engine: Engine) -> dict[str, Any]:
    return {"boot_id": engine.boot_id, "load_s": round(engine.load_s, 6)}


def lukewarm_version() -> str:
    """The installed version."""
    from importlib.metadata import PackageNotFoundError, version  # 8 ms that a cold start can do without

    try:
        return version("lukewarm")
    except PackageNotFoundError:  # vendored into an artifact
        return "unknown"
