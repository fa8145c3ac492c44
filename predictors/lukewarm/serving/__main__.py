"""`python -m lukewarm.serving ROOT`: serve an artifact folder or a bundle over HTTP."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import click

from lukewarm.predictors import ahead

log = logging.getLogger("lukewarm.server")


def default_port() -> int:
    """Cloud Run and most others say PORT, Vertex AI AIP_HTTP_PORT."""
    value = os.environ.get("PORT") or os.environ.get("AIP_HTTP_PORT") or "8000"
    if not value.isdigit():
        raise click.BadParameter(f"$PORT is {value!r}, not a number")
    return int(value)


@click.command()
@click.argument("root", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 in a container.")
@click.option("--port", type=click.IntRange(0, 65535), help="0 picks one.  [default: $PORT, $AIP_HTTP_PORT or 8000]")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes, one model each.")
@click.option("--threads", type=click.IntRange(0), default=0, help="Threads of a model; 0: what there is, shared.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N.")
@click.option("--exit-on-failed-setup", is_flag=True, help="End instead of answering 503 with the reason.")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
def main(root: Path, host: str, port: int | None, workers: int, **options: object) -> None:
    """Serve ROOT: an artifact folder (bundle/ and lukewarm.json) or a bundle's directory."""
    threads, device = int(str(options["threads"])), str(options["device"])
    if workers == 1:  # the modules of a server take as long to import as the model to open
        ahead.start(root if (root / ahead.MANIFEST).is_file() else root / "bundle", ahead.Settings(threads, device))
    from lukewarm.predictors.cpus import available_cpus
    from lukewarm.predictors.errors import LukewarmError
    from lukewarm.predictors.predictor import Runtime
    from lukewarm.serving import logs
    from lukewarm.serving.engine import Engine
    from lukewarm.serving.server import bind, leave_on_signals, serve, url_of

    leave_on_signals()
    logs.configure(str(options["log_level"]))
    threads = threads or (max(1, available_cpus() // workers) if workers > 1 else 0)
    runtime = Runtime(threads=threads, device=device, forks=workers > 1)
    exit_early = bool(options["exit_on_failed_setup"])
    port = default_port() if port is None else port
    try:
        engine = Engine.open(root, runtime)
        listener = bind(host, port)
    except LukewarmError as error:
        log.error("%s", error)
        sys.exit(error.exit_code)
    except OSError as error:
        log.error("cannot listen on %s:%d: %s", host, port, error.strerror)
        sys.exit(10)
    log.info("listening", extra={"url": url_of(listener), "boot_id": engine.boot_id})
    if workers == 1:
        sys.exit(serve(engine, listener, exit_on_failed_setup=exit_early))
    from lukewarm.serving.workers import serve_workers

    sys.exit(serve_workers(lambda: engine, listener, workers, exit_on_failed_setup=exit_early))


if __name__ == "__main__":
    main()
