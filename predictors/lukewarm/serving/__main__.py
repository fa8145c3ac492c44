"""`python -m lukewarm.serving ROOT`: serve an artifact folder or a bundle over HTTP."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from lukewarm.predictors.errors import LukewarmError
from lukewarm.predictors.predictor import Runtime
from lukewarm.serving.engine import Engine
from lukewarm.serving.server import bind, serve


@click.command()
@click.argument("root", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 in a container.")
@click.option(
    "--port", type=int, default=lambda: int(os.environ.get("PORT", "8000")), help="Port; 0 picks one. [$PORT or 8000]"
)
@click.option("--threads", type=int, default=0, help="Threads of the model; 0: all processors this process may use.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N.")
@click.option("--exit-on-failed-setup", is_flag=True, help="End instead of answering 503 with the reason.")
def main(root: Path, host: str, port: int, threads: int, device: str, exit_on_failed_setup: bool) -> None:
    """Serve ROOT: an artifact folder (bundle/ and lukewarm.json) or a bundle's directory."""
    try:
        engine = Engine.open(root, Runtime(threads=threads, device=device))
        listener = bind(host, port)
    except LukewarmError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        print(f"error: cannot listen on {host}:{port}: {error.strerror}", file=sys.stderr)
        sys.exit(10)
    print(f"lukewarm: listening on http://{host}:{listener.getsockname()[1]}", file=sys.stderr, flush=True)
    sys.exit(serve(engine, listener, exit_on_failed_setup=exit_on_failed_setup))


if __name__ == "__main__":
    main()
