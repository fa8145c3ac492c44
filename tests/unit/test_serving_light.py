"""What importing the server must not import, since every cold start pays for it."""

from __future__ import annotations

import subprocess
import sys

HEAVY = (
    "starlette prometheus_client opentelemetry yaml tomllib numpy torch importlib.metadata jsonschema httpx "
    "hashlib difflib "
    "lukewarm.serving.openapi lukewarm.serving.metrics lukewarm.serving.fetch lukewarm.serving.workers "
    "lukewarm.serving.shapes.openai lukewarm.serving.shapes.oip"
)


def loaded(statement: str) -> set[str]:
    code = f"{statement}; import sys; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_the_app_imports_only_what_it_needs() -> None:
    modules = loaded("import lukewarm.serving.app, lukewarm.serving.__main__")
    assert modules & set(HEAVY.split()) == set()
    assert "uvicorn" not in modules  # imported beside the load of the model


def test_the_engine_needs_no_server() -> None:
    assert not loaded("import lukewarm.serving.engine") & {"uvicorn", "h11", "click", "http.client"}
