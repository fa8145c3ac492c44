"""Runs the app under uvicorn: binds first, loads beside the server's own imports, drains on SIGTERM."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import threading
from types import FrameType

from lukewarm.serving.engine import Engine

log = logging.getLogger("lukewarm.server")
BACKLOG = 2048
AFTER_DRAIN_S = 2  # for answers on their way out, once the last request is done


def leave_at_once(sig: int, frame: FrameType | None) -> None:
    """End without ceremony: nothing is served yet, and a runtime in mid-load is best not unwound."""
    os._exit(130 if sig == signal.SIGINT else 0)


def leave_on_signals() -> None:
    """Until the server takes over, SIGTERM means exit code 0 and SIGINT 130."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, leave_at_once)
        signal.signal(signal.SIGINT, leave_at_once)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; connections wait in it while the rest of the process is imported."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only on sockets that say they are TCP; without it an answer may wait 40 ms for an ACK
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(engine: Engine, listener: socket.socket, *, exit_on_failed_setup: bool = False) -> int:
    """Serve until SIGTERM (exit code 0) or SIGINT (130); a second signal ends at once. Returns the exit code.

    A failed setup is answered 503 with its reason until the end, unless `exit_on_failed_setup`.
    """
    leave_on_signals()
    gc.disable()  # imports and loads make garbage of no cyclic kind: 5 % of their time
    loading = engine.start_in_background()
    import uvicorn  # beside the load, which mostly waits for files or runs in C

    from lukewarm.serving.app import create_app
    from lukewarm.serving.protocol import JsonH11Protocol

    class Server(uvicorn.Server):
        """Uvicorn, but a signal first drains the engine, and is not raised again at the end."""

        exit_code = 0

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            if engine.admission.draining:
                self.force_exit = self.should_exit = True
                return
            self.exit_code = 130 if sig == signal.SIGINT else 0
            engine.admission.draining = True
            threading.Thread(target=self.drain, name="lukewarm-drain", daemon=True).start()

        def drain(self) -> None:
            log.info("draining", extra={"in_flight": engine.admission.in_flight})
            finished = engine.drain()
            log.log(logging.INFO if finished else logging.WARNING, "drained" if finished else "drain deadline passed")
            self.should_exit = True

        def after_setup(self) -> None:
            loading.join()
            gc.freeze()  # what is loaded now stays; later collections need not look at it
            gc.enable()
            if exit_on_failed_setup and engine.status == "failed":
                self.exit_code = engine.exit_code
                self.should_exit = True

    server = Server(
        uvicorn.Config(
            create_app(engine),
            http=JsonH11Protocol,
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=AFTER_DRAIN_S,
        )
    )
    threading.Thread(target=server.after_setup, name="lukewarm-after-setup", daemon=True).start()
    asyncio.run(server.serve(sockets=[listener]))
    engine.close()
    return server.exit_code
