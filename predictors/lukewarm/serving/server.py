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

BACKLOG = 2048


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
    # uvicorn is imported beside the load, which mostly waits for files or runs in C
    from lukewarm.serving.app import create_app
    from lukewarm.serving.protocol import DrainingServer

    server = DrainingServer(engine, create_app(engine))

    def after_setup() -> None:
        loading.join()
        gc.freeze()  # what is loaded now stays; later collections need not look at it
        gc.enable()
        if exit_on_failed_setup and engine.status == "failed":
            server.exit_code = engine.exit_code
            server.should_exit = True

    threading.Thread(target=after_setup, name="lukewarm-after-setup", daemon=True).start()
    asyncio.run(server.serve(sockets=[listener]))
    if loading.is_alive() or not engine.close():
        from lukewarm.serving import tracing

        tracing.flush()
        logging.shutdown()
        os._exit(server.exit_code)  # a thread is inside a runtime's code: ending the interpreter below it may crash
    return server.exit_code
