"""Runs a Modal app's class on this machine: the SDK's enter hooks by `.local()`, then its ASGI app under uvicorn."""

from __future__ import annotations

import argparse
import importlib.util
import signal
import sys
from pathlib import Path
from typing import Any


def load_app(file: Path) -> Any:
    """Import a generated modal_app.py by its path."""
    spec = importlib.util.spec_from_file_location("modal_app", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["modal_app"] = module
    spec.loader.exec_module(module)
    return module


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    service = load_app(arguments.file).Service()
    app = service.web.local()  # runs enter(snap=True), enter(snap=False), then makes the app
    import uvicorn

    # uvicorn finishes what runs, then raises the signal again for whoever listened before it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    uvicorn.run(app, host=arguments.host, port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
