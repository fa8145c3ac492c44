"""How a request of ours travels over a platform's HTTP surface, and what its answer means. Pure; sends nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from lukewarm.predictors.errors import RequestError
from lukewarm.serving.decoding import parse_json

JSON = {"content-type": "application/json"}


@dataclass(frozen=True, kw_only=True)
class Call:
    """One HTTP request."""

    method: str
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One HTTP answer."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a reply means in our contract. `body` holds the result with `meta`, or `error`."""

    status: int  # as our contract has it; 200 for a result
    body: dict[str, Any]
    http_status: int  # as the platform sent it

    @property
    def ok(self) -> bool:
        return "error" not in self.body and self.status < 400

    @property
    def busy(self) -> bool:
        """The server asked to come back later: 429 and 503, and Cog's 409."""
        return not self.ok and (self.http_status in (409, 429, 503) or self.status in (429, 503))

    @property
    def code(self) -> str:
        """The error's stable identifier, or an empty string."""
        error = self.body.get("error")
        return str(error.get("code", "")) if isinstance(error, dict) else ""


Send = Callable[[Call], Reply]


class Wire:
    """The HTTP surface of one platform. Subclasses change only what differs."""

    native: ClassVar[bool] = False  # our request is the body as it stands, so our app sees every mistake in it

    def ready(self) -> Call:
        """A request that tells whether the server may be sent work."""
        return Call(method="GET", path="/readyz")

    def is_ready(self, reply: Reply) -> bool:
        return reply.status == 200

    def why(self) -> Call | None:
        """A further request that tells why the server is not ready, where `ready` does not tell."""
        return None

    def failed(self, reply: Reply) -> str:
        """Why the server will never become ready, from the reply to `why` or `ready`; or an empty string."""
        answer = self.answer(reply)
        return str(answer.body["error"].get("message", "")) if answer.code == "setup_failed" else ""

    def predict(self, payload: bytes) -> Call:
        """The call for one request; `payload` is the request's JSON, valid or not."""
        raise NotImplementedError

    def answer(self, reply: Reply) -> Answer:
        """What the platform's reply means."""
        return json_answer(reply)

    def stream(self, payload: bytes) -> Call | None:
        """The call that streams, or None where the platform cannot."""
        return None

    def pieces(self, lines: Iterable[str]) -> Iterator[str]:
        """The texts in a stream's lines, as they come. Raises StreamError at an error event."""
        return iter(())

    def poll(self, payload: bytes, send: Send) -> Iterator[str] | None:
        """The texts of a stream that is fetched by several calls, or None where one call streams."""
        return None


class AsgiWire(Wire):
    """Our own ASGI app: what every container target serves."""

    native = True

    def predict(self, payload: bytes) -> Call:
        return Call(method="POST", path="/predict", body=payload, headers=JSON)

    def stream(self, payload: bytes) -> Call | None:
        return Call(method="POST", path="/predict", body=streamed(payload), headers=JSON)

    def pieces(self, lines: Iterable[str]) -> Iterator[str]:
        for event in sse(lines):
            if "error" in event:
                raise StreamError(event)
            if "delta" in event:
                yield str(event["delta"])


# where a platform keeps only our error's body, its code says which status our own server would have sent
_STATUS = {"overloaded": 429, "starting": 503, "setup_failed": 503, "draining": 503, "timeout": 504, "cancelled": 504,
           "internal": 500, "platform": 500}  # fmt: skip


def embedded_error(text: str) -> tuple[int, dict[str, Any]]:
    """Status and body of our error inside a platform's error text; without one, the text as a platform error."""
    try:
        inner = json.loads(text[text.index("{") :])
        error = inner.get("error", inner)
        if isinstance(error, dict) and "code" in error:
            return _STATUS.get(error["code"], 400), {"error": error}
    except (ValueError, AttributeError):
        pass  # no JSON in it: the platform's own words
    return 500, {"error": {"code": "platform", "message": text[:2000], "path": "$", "allowed": ""}}


class StreamError(Exception):
    """A stream ended in an error; `body` holds it."""

    def __init__(self, body: dict[str, Any]) -> None:
        super().__init__(str(body))
        self.body = body


def json_answer(reply: Reply) -> Answer:
    """The reply's JSON object as it stands. What is an error, and not in our shape, stands under `error` as text."""
    try:
        value = json.loads(reply.body)
    except ValueError:
        value = reply.body.decode("utf-8", "replace")
    body = value if isinstance(value, dict) else {"output": value}
    if reply.status >= 400 and not isinstance(body.get("error"), dict):
        text = value if isinstance(value, str) else json.dumps(value)
        body = {**body, "error": {"code": "platform", "message": text[:2000], "path": "$", "allowed": ""}}
    return Answer(status=reply.status, body=body, http_status=reply.status)


def envelope(key: str, payload: bytes) -> bytes:
    """`{"<key>": <payload>}` without reading the payload, so that bad JSON stays bad."""
    return b'{"%s":' % key.encode() + payload + b"}"


def streamed(payload: bytes) -> bytes:
    """The payload with `"stream": true`, if it is a JSON object."""
    value = parsed_object(payload)
    return payload if value is None else json.dumps({**value, "stream": True}).encode()


def parsed_object(payload: bytes) -> dict[str, Any] | None:
    """The payload as a JSON object, or None if it is none by our own strict rules."""
    try:
        value = parse_json(payload)
    except RequestError:
        return None
    return value if isinstance(value, dict) else None


def sse(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The JSON objects of server-sent events."""
    for line in lines:
        if line.startswith("data:") and (text := line[5:].strip()) not in ("", "[DONE]"):
            value = json.loads(text)
            if isinstance(value, dict):
                yield value
