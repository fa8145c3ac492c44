"""Uvicorn's HTTP/1.1 protocol with the error shape for bytes that are no HTTP request."""

from __future__ import annotations

import h11
import msgspec
from uvicorn.protocols.http.h11_impl import H11Protocol

from lukewarm.serving.errors import HttpRefusal, error_body


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
