"""A provider's JSON API over httpx: one token, retries for what passes, one clear error for what does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

import httpx

from lukewarm.images.auth import redact
from lukewarm.images.retry import PASSING, Retry, TryAgain, retry_after_s, unreachable
from lukewarm.predictors.errors import NotLoggedIn, ProviderError

T = TypeVar("T")


@dataclass(frozen=True)
class Vendor:
    """How a provider is called in messages, and where its users go."""

    name: str
    token_help: str  # where a token is looked for and made
    billing_url: str


class Api:
    """Use in a `with`. Requests raise TryAgain for what may pass: wrap whole steps in `step`."""

    def __init__(self, base_url: str, token: str, vendor: Vendor, retry: Retry) -> None:
        self._vendor = vendor
        self._retry = retry
        self._token = token
        headers = {"Authorization": f"Bearer {token}", "User-Agent": "lukewarm"}
        self._client = httpx.Client(base_url=base_url, headers=headers, timeout=httpx.Timeout(60.0, connect=10.0))

    def __enter__(self) -> Api:
        return self

    def __exit__(self, _t: type[BaseException] | None, _e: BaseException | None, _tb: TracebackType | None) -> None:
        self._client.close()

    def step(self, action: Callable[[], T]) -> T:
        """Run a step again until it passes. A step looks before it creates, so a lost answer makes no second object."""
        return self._retry.run(action)

    def get(self, path: str) -> dict[str, Any] | None:
        """The object, or None if there is none (404)."""
        response = self._send("GET", path, None)
        return None if response.status_code == 404 else self._object(response)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._object(self._send("POST", path, body))

    def patch(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._object(self._send("PATCH", path, body))

    def get_list(self, path: str) -> list[Any]:
        value = self._json(self._send("GET", path, None))
        if not isinstance(value, list):
            raise ProviderError(f"{self._vendor.name} answered {path} with no list; its API may have changed")
        return value

    def _send(self, method: str, path: str, body: dict[str, Any] | None) -> httpx.Response:
        try:
            response = self._client.request(method, path, json=body)
        except httpx.TransportError as error:
            raise TryAgain(unreachable(self._vendor.name, error)) from error
        if response.is_success or (method == "GET" and response.status_code == 404):
            return response
        raise self._failure(response, f"{method} {path}")

    def _failure(self, response: httpx.Response, what: str) -> Exception:
        status, name = response.status_code, self._vendor.name
        detail = redact(problem_detail(response), (self._token,))
        said = f"{name} answers {status} to {what}" + (f": {detail}" if detail else "")
        lowered = detail.lower()
        if status == 401:
            return NotLoggedIn(f"{name} does not accept the token; {self._vendor.token_help}")
        if status == 402 or any(word in lowered for word in ("insufficient credit", "quota", "balance", "payment")):
            return ProviderError(f"{said}; no credit or quota left, see {self._vendor.billing_url}", reason="quota")
        if status == 403:
            return ProviderError(f"{said}; the token may not do that, use one with the right to deploy")
        if status == 409:
            return ProviderError(f"{said}; choose another with --name", reason="name_taken")
        if status == 404:
            return ProviderError(said, reason="not_found")
        if status in PASSING:
            return TryAgain(ProviderError(f"{said}; try again later", reason="unavailable"), retry_after_s(response))
        return ProviderError(said)

    def _object(self, response: httpx.Response) -> dict[str, Any]:
        if not response.is_success:
            raise self._failure(response, f"{response.request.method} {response.request.url.path}")
        value = self._json(response)
        if not isinstance(value, dict):
            raise ProviderError(f"{self._vendor.name} answered with no JSON object; its API may have changed")
        return value

    def _json(self, response: httpx.Response) -> Any:
        try:
            return response.json()
        except json.JSONDecodeError as error:
            url = f"{response.request.method} {response.request.url.path}"
            raise ProviderError(
                f"{self._vendor.name} answered {url} with no JSON; is that its API's address?"
            ) from error


def problem_detail(response: httpx.Response) -> str:
    """What a problem document says, in one line."""
    try:
        body = response.json()
    except ValueError:
        return ""
    if not isinstance(body, dict):
        return ""
    text = str(body.get("detail") or body.get("title") or "")
    errors = body.get("errors") or []
    more = [str(item.get("detail", item)) if isinstance(item, dict) else str(item) for item in errors[:3]]
    return "; ".join(dict.fromkeys(part for part in (text, *more) if part))[:400]
