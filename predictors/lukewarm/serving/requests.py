"""From a caller's payload to typed requests within the spec's limits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from lukewarm.predictors.errors import RequestError
from lukewarm.predictors.spec import Generation, Limits
from lukewarm.predictors.tasks import BinaryRequest, Request
from lukewarm.serving.decoding import check_json, convert, json_type, parse_json, require_object

Payload = bytes | bytearray | memoryview | str | dict[str, Any]
DEFAULT_NEW_TOKENS = 128  # as in tasks.py


class Envelope(msgspec.Struct, frozen=True):
    """The native request: one item, or `{"items": [...]}`; `stream` asks for pieces."""

    items: Sequence[Any]
    batch: bool
    stream: bool


class RequestReader:
    """Reads requests of one type under one spec's limits."""

    def __init__(self, request_type: type[Request], limits: Limits, defaults: Generation) -> None:
        self.request_type = request_type
        self._limits = limits
        self._binary = issubclass(request_type, BinaryRequest)
        default = defaults.max_new_tokens or DEFAULT_NEW_TOKENS
        self._fill_new_tokens = default > limits.max_new_tokens

    def envelope(self, value: Any) -> Envelope:
        """Split a native request, parsed, into its items; an item's own mistakes are found later, one by one."""
        value = require_object(value)
        stream = value.get("stream", False)
        if not isinstance(stream, bool):
            raise RequestError("wrong_type", f"expected boolean, got {json_type(stream)}", "$.stream", "boolean")
        if "items" not in value or "items" in self.request_type.__struct_fields__:
            return Envelope([{key: value[key] for key in value if key != "stream"}], batch=False, stream=stream)
        for key in value:
            if key not in ("items", "stream"):
                raise RequestError("unknown_key", f"{key!r} cannot stand beside 'items'", f"$.{key}", "items, stream")
        if stream:
            raise RequestError("not_streamable", "a batch cannot be streamed", "$.stream", "false, or a single item")
        return Envelope(self.items(value["items"], "$.items"), batch=True, stream=False)

    def parse(self, payload: Payload) -> Any:
        """Bytes or text to plain data; plain data is checked as if it had been JSON. Raises RequestError."""
        if not isinstance(payload, (bytes, bytearray, memoryview, str)):  # another server has parsed it
            check_json(payload)
            return payload
        body = payload.encode("utf-8", "surrogatepass") if isinstance(payload, str) else bytes(payload)
        limit = self.max_body_bytes
        if len(body) > limit:
            raise too_large(limit)
        return parse_json(body)

    @property
    def max_body_bytes(self) -> int:
        return int(self._limits.body_mb * 2**20)

    def items(self, value: Any, at: str) -> list[Any]:
        """A list of 1 to `limits.max_items` items."""
        if not isinstance(value, list):
            raise RequestError("wrong_type", f"expected array, got {json_type(value)}", at, "array")
        if not 1 <= len(value) <= self._limits.max_items:
            allowed = f"1 to {self._limits.max_items} items"
            raise RequestError("out_of_range", f"{len(value)} items in one request", at, allowed)
        return value

    def read(self, value: Any, keys: tuple[str, ...] = ()) -> Request:
        """One item to a typed request. `keys` as in decoding.convert. Raises RequestError.

        Blocks while it fetches, if the item names a URL (see `fetches`).
        """
        item = require_object(value)
        if self._binary and "url" in item:
            item = self._fetched(item)
        request = convert(item, self.request_type, keys=keys)
        tokens = getattr(request, "max_new_tokens", None)
        limit = self._limits.max_new_tokens
        if tokens is not None and tokens > limit:
            message = f"{tokens} new tokens are over this model's limit"
            raise RequestError("out_of_range", message, "$.max_new_tokens", f"1 to {limit}")
        if tokens is None and self._fill_new_tokens and "max_new_tokens" in request.__struct_fields__:
            request = msgspec.structs.replace(request, max_new_tokens=limit)
        return request

    def fetches(self, values: Sequence[Any]) -> bool:
        """Reading these items will fetch from the network: keep it off the event loop."""
        return self._binary and any(isinstance(value, dict) and "url" in value for value in values)

    async def aread_each(self, values: Sequence[Any]) -> list[Request | RequestError]:
        """As `read_each`, for an event loop."""
        if not self.fetches(values):
            return self.read_each(values)
        return await asyncio.to_thread(self.read_each, values)

    async def aread(self, value: Any, keys: tuple[str, ...] = ()) -> Request:
        """As `read`, for an event loop."""
        if not self.fetches([value]):
            return self.read(value, keys)
        return await asyncio.to_thread(self.read, value, keys)

    def _fetched(self, item: dict[str, Any]) -> dict[str, Any]:
        url = item["url"]
        if not self._limits.url_inputs:
            raise RequestError("url_inputs_off", "this model takes no URLs", "$.url", "data: the bytes in base64")
        if "data" in item:
            raise RequestError("one_of", "give one of 'data' and 'url'", "$.url", "data | url")
        if not isinstance(url, str):
            raise RequestError("wrong_type", f"expected string, got {json_type(url)}", "$.url", "string")
        from lukewarm.serving.fetch import FetchPolicy, fetch

        data = fetch(url, FetchPolicy(max_bytes=self.max_body_bytes))
        return {**{key: value for key, value in item.items() if key != "url"}, "data": data}

    def read_each(self, values: Sequence[Any]) -> list[Request | RequestError]:
        """Typed requests, each mistake in the place of its item, with a path into that item."""
        requests: list[Request | RequestError] = []
        for value in values:
            try:
                requests.append(self.read(value))
            except RequestError as error:
                requests.append(error)
        return requests


def too_large(limit_bytes: int) -> RequestError:
    """A 413 for a body over the limit."""
    error = RequestError("too_large", "the body is too large", allowed=f"at most {limit_bytes} bytes")
    error.status = 413
    return error
