"""Uploads one blob: in one PUT if it is small, else in PATCH chunks that go on after a broken connection."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from lukewarm.images.layout import pieces
from lukewarm.images.oci import Descriptor
from lukewarm.images.retry import TryAgain
from lukewarm.images.transport import Transport
from lukewarm.predictors.errors import ProviderError

_UNSUPPORTED = (400, 404, 405, 411, 416, 501)  # what registries without chunked uploads say to a first PATCH


@dataclass(frozen=True)
class Place:
    """Where blobs of one repository go: the URL that opens a session, what the token must allow, the chunk's size."""

    url: str
    scopes: tuple[str, ...]
    chunk_bytes: int


class Upload:
    """One upload session: POST opens it, PATCH sends a chunk, PUT closes it with the digest."""

    def __init__(
        self, transport: Transport, place: Place, blob: Descriptor, path: Path, advance: Callable[[int], None]
    ) -> None:
        self._transport = transport
        self._start_url = place.url
        self._scopes = place.scopes
        self._chunk = place.chunk_bytes
        self._name = transport.registry
        self._blob, self._path, self._advance = blob, path, advance
        self._location = ""
        self._sent = 0

    def run(self) -> None:
        if self._blob.size <= self._chunk:
            self._whole()
            return
        self._open()
        if not self._first_chunk():
            self._whole()
            return
        while self._sent < self._blob.size:
            self._transport.retry.run(self._next_chunk)
        self._close()

    def _open(self) -> None:
        """POST: a fresh session. Some registries name a smallest chunk."""
        response = self._send("POST", self._start_url, 202, content=b"")
        self._move(response)
        self._stand_at(0)
        least = response.headers.get("oci-chunk-min-length", "")
        if least.isdigit():
            self._chunk = max(self._chunk, int(least))

    def _whole(self) -> None:
        """POST and one PUT with the whole file; begins anew when it breaks."""

        def attempt() -> None:
            self._open()
            headers = self._headers(self._blob.size)
            self._once("PUT", self._with_digest(), (201,), content=self._part(0, self._blob.size), headers=headers)

        self._transport.retry.run(attempt)
        self._advance(self._blob.size)

    def _first_chunk(self) -> bool:
        """Send chunk one; False if the registry takes no chunks."""
        try:
            self._transport.retry.run(self._next_chunk)
        except ProviderError as error:
            if getattr(error, "status", 0) in _UNSUPPORTED:
                return False
            raise
        return True

    def _next_chunk(self) -> None:
        length = min(self._chunk, self._blob.size - self._sent)
        headers = {**self._headers(length), "Content-Range": f"{self._sent}-{self._sent + length - 1}"}
        try:
            response = self._once(
                "PATCH", self._location, (202, *_UNSUPPORTED), content=self._part(self._sent, length), headers=headers
            )
        except TryAgain:
            self._catch_up()
            raise
        if response.status_code != 202:
            if self._sent:  # the session was lost, or is elsewhere than we think
                self._catch_up()
                raise TryAgain(self._odd(response))
            raise self._odd(response)
        self._move(response)
        self._stand_at(self._sent + length)

    def _catch_up(self) -> None:
        """Ask the registry how much it has; begin a new session if it forgot this one."""
        response = self._once("GET", self._location, (204, 200, 400, 404, 405, 416))
        match = re.fullmatch(r"(?:bytes=)?0-(\d+)", response.headers.get("range", ""))
        if response.status_code in (200, 204):
            self._move(response)
            # docker's registry says 0-0 for nothing as for one byte; one byte twice would spoil the digest
            if match and match.group(1) != "0":
                self._stand_at(int(match.group(1)) + 1)
                return
        self._open()

    def _stand_at(self, sent: int) -> None:
        self._advance(sent - self._sent)
        self._sent = sent

    def _close(self) -> None:
        def attempt() -> None:
            response = self._once("PUT", self._with_digest(), (201, 404), headers={"Content-Length": "0"})
            if response.status_code == 404 and not self._arrived():
                raise ProviderError(f"registry {self._name} lost the upload of {self._blob.digest}; run again")

        self._transport.retry.run(attempt)

    def _arrived(self) -> bool:
        """A PUT whose answer got lost has closed the session: look for the blob itself."""
        url = self._start_url.removesuffix("uploads/") + self._blob.digest
        return self._once("HEAD", url, (200, 404)).status_code == 200

    def _send(self, method: str, url: str, status: int, **arguments: Any) -> httpx.Response:
        return self._transport.send(lambda: {"method": method, "url": url, **arguments}, self._scopes, expect=(status,))

    def _once(self, method: str, url: str, expect: tuple[int, ...], **arguments: Any) -> httpx.Response:
        content = arguments.pop("content", None)

        def request() -> dict[str, Any]:
            body = {"content": content()} if content is not None else {}
            return {"method": method, "url": url, **arguments, **body}

        return self._transport.once(request, self._scopes, expect=expect)

    def _part(self, start: int, length: int) -> Callable[[], Iterator[bytes]]:
        def read() -> Iterator[bytes]:
            with self._path.open("rb") as stream:
                stream.seek(start)
                yield from pieces(stream, length)

        return read

    def _headers(self, length: int) -> dict[str, str]:
        return {"Content-Type": "application/octet-stream", "Content-Length": str(length)}

    def _with_digest(self) -> str:
        return str(httpx.URL(self._location).copy_merge_params({"digest": self._blob.digest}))

    def _move(self, response: httpx.Response) -> None:
        location = response.headers.get("location")
        if location:
            self._location = str(response.request.url.join(location))
        if not self._location:
            raise ProviderError(f"registry {self._name} opened an upload and did not say where")

    def _odd(self, response: httpx.Response) -> _Unsupported:
        return _Unsupported(f"registry {self._name} answers {response.status_code} to a chunk", response.status_code)


class _Unsupported(ProviderError):
    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
