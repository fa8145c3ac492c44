"""Runs the app under uvicorn: binds first, loads beside it, drains on SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import threading
from types import FrameType

from lukewarm.serving.engine import Engine

log = logging.getLogger("lukewarm.server")
BACKLOG = 2048


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; connections wait in it while the rest of the process is imported."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


def serve(engine: Engine, listener: socket.socket, *, exit_on_failed_setup: bool = False) -> int:
    """Serve until SIGTERM (exit code 0) or SIGINT (130); a second signal ends at once. Returns the exit code."""
    loading = engine.start_in_background()  # imports and reads of the model go on beside those of the server
    import uvicorn

    from lukewarm.serving.app import create_app

    config = uvicorn.Config(
        create_app(engine),
        http="h11",
        loop="asyncio",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=2,
    )

    class Server(uvicorn.Server):
        exit_code = 0

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            if engine.admission.draining:
                self.force_exit = self.should_exit = True
                return
            self.exit_code = 130 if sig == signal.SIGINT else 0
            engine.admission.draining = True
            threading.Thread(target=self.drain, name="lukewarm-drain", daemon=True).start()

        def drain(self) -> None:
            engine.drain()
            self.should_exit = True

    server = Server(config)
    if exit_on_failed_setup:

        def watch() -> None:
            loading.join()
            if engine.status == "failed":
                server.exit_code = engine.exit_code
                server.should_exit = True

        threading.Thread(target=watch, daemon=True).start()
    asyncio.run(server.serve(sockets=[listener]))
    engine.close()
    return server.exit_code
