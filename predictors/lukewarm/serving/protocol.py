"""Uvicorn, bent to the contract: the error shape for bytes that are no HTTP request, and a drain before the end."""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType
from typing import Any

import h11
import msgspec
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from lukewarm.serving.engine import Engine
from lukewarm.serving.errors import HttpRefusal, error_body

log = logging.getLogger("lukewarm.server")
AFTER_DRAIN_S = 2  # for answers on their way out, once the last request is done


class JsonH11Protocol(H11Protocol):
    """Uvicorn answers malformed HTTP itself, in plain text; this keeps the one JSON shape."""

    def send_400_response(self, msg: str) -> None:
        refusal = HttpRefusal(400, "invalid_http", "the bytes are no HTTP/1.1 request", allowed="HTTP/1.1")
        body = msgspec.json.encode(error_body(refusal))
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        for event in (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            if (output := self.conn.send(event)) is not None:
                self.transport.write(output)
        self.transport.close()


class DrainingServer(uvicorn.Server):
    """Uvicorn, but a signal first drains the engine, and is not raised again at the end."""

    def __init__(self, engine: Engine, app: Any) -> None:
        super().__init__(
            uvicorn.Config(
                app,
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
        self.exit_code = 0
        self._engine = engine

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, the second ends at once."""
        if self._engine.admission.draining:
            self.force_exit = self.should_exit = True
            return
        self.exit_code = 130 if sig == signal.SIGINT else 0
        self._engine.admission.draining = True
        threading.Thread(target=self._drain, name="lukewarm-drain", daemon=True).start()

    def _drain(self) -> None:
        log.info("draining", extra={"in_flight": self._engine.admission.in_flight})
        if self._engine.drain():
            log.info("drained")
        else:
            log.warning("drain deadline passed")
        self.should_exit = True
