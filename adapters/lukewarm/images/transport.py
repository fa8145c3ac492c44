"""HTTP to one registry: logins, retries and the registry's errors turned into ours. The verbs are in `registry.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import httpx

from lukewarm.images.auth import Login, redact
from lukewarm.images.reference import Reference
from lukewarm.images.retry import PASSING, Retry, TryAgain, retry_after_s, unreachable
from lukewarm.images.token import Challenge, fetch_token, parse_challenges
from lukewarm.predictors.errors import NotLoggedIn, ProviderError

FindLogin = Callable[[str], Login | None]
TIMEOUT = httpx.Timeout(60.0, connect=10.0)
_QUOTA = ("quota", "payment", "billing", "storage limit", "insufficient")


class Transport:
    """One registry host. `find_login` is asked once, and only if the registry wants a login."""

    def __init__(
        self, reference: Reference, find_login: FindLogin, retry: Retry, http: httpx.BaseTransport | None = None
    ) -> None:
        self.registry = reference.registry
        self.retry = retry
        self._find_login = find_login
        self._login: Login | None = None
        self._login_asked = False
        self._basic = False
        self._challenge: Challenge | None = None
        self._tokens: dict[tuple[str, ...], str] = {}
        self._client = httpx.Client(base_url=reference.api_url, timeout=TIMEOUT, transport=http)
        self._origin = _origin(httpx.URL(reference.api_url))

    def close(self) -> None:
        self._client.close()

    @property
    def secrets(self) -> tuple[str, ...]:
        return (self._login.secrets if self._login else ()) + tuple(self._tokens.values())

    def send(
        self, request: Callable[[], dict[str, Any]], scopes: tuple[str, ...], *, expect: tuple[int, ...]
    ) -> httpx.Response:
        """Send what `request()` describes (arguments of httpx.Client.build_request) until an expected status comes.

        `request` is called anew for each try, so a body may be an iterator. Raises ProviderError, NotLoggedIn.
        """
        return self.retry.run(lambda: self.once(request, scopes, expect=expect))

    def once(
        self,
        request: Callable[[], dict[str, Any]],
        scopes: tuple[str, ...],
        *,
        expect: tuple[int, ...],
        stream: bool = False,
    ) -> httpx.Response:
        """One try; raises TryAgain for what may pass."""
        response = self._perform(request(), scopes, stream)
        if response.status_code == 401:
            self._read_body(response)
            self._learn(response, scopes)
            response = self._perform(request(), scopes, stream)
        if response.status_code in expect:
            return response
        self._read_body(response)
        raise self._failure(response)

    def _perform(self, arguments: Mapping[str, Any], scopes: tuple[str, ...], stream: bool) -> httpx.Response:
        request = self._client.build_request(**arguments)
        if _origin(request.url) == self._origin:  # an upload's Location may lead to a storage host: no login for it
            request.headers.update(self._authorization(scopes))
        follow = request.method in ("GET", "HEAD")  # blobs live elsewhere; httpx drops the login when the host changes
        try:
            return self._client.send(request, stream=stream, follow_redirects=follow)
        except httpx.TooManyRedirects as error:
            raise ProviderError(f"registry {self.registry} redirects in a circle") from error
        except httpx.TransportError as error:
            raise TryAgain(unreachable(f"registry {self.registry}", error)) from error

    def _read_body(self, response: httpx.Response) -> None:
        try:
            response.read()
        except httpx.TransportError as error:
            raise TryAgain(unreachable(f"registry {self.registry}", error)) from error
        finally:
            response.close()

    def _authorization(self, scopes: tuple[str, ...]) -> dict[str, str]:
        if self._basic and self._login:
            return {"Authorization": self._login.basic()}
        if self._challenge and scopes not in self._tokens:
            self._fetch(scopes)
        token = self._tokens.get(scopes)
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _learn(self, response: httpx.Response, scopes: tuple[str, ...]) -> None:
        """After a 401: find out how to log in, and do. Raises NotLoggedIn if that was tried already."""
        if not self._login_asked:
            self._login, self._login_asked = self._find_login(self.registry), True
        challenges = parse_challenges(response.headers.get_list("www-authenticate"))
        challenge = challenges[0] if challenges else Challenge("basic")
        if challenge.scheme == "bearer":
            self._challenge = challenge
            self._tokens.pop(scopes, None)  # expired, or never had
            self._fetch(scopes)
        elif self._login and not self._basic and self._login.password:
            self._basic = True
        else:
            raise self._not_logged_in()

    def _fetch(self, scopes: tuple[str, ...]) -> None:
        assert self._challenge is not None
        wanted = list(scopes) or [self._challenge.scope]
        self._tokens[scopes] = fetch_token(self._client, self.registry, self._challenge, wanted, self._login)

    def _not_logged_in(self) -> NotLoggedIn:
        if self._login is None:
            return NotLoggedIn(
                f"not logged in to registry {self.registry}: docker's config.json has no entry for it; "
                f"run: {login_command(self.registry)}"
            )
        return NotLoggedIn(f"registry {self.registry} refused docker's login; run: {login_command(self.registry)}")

    def _failure(self, response: httpx.Response) -> Exception:
        status, detail = response.status_code, redact(error_detail(response), self.secrets)
        what = f"registry {self.registry} answers {status}" + (f" ({detail})" if detail else "")
        if status == 401:
            return self._not_logged_in()
        if status == 402 or any(word in detail.lower() for word in _QUOTA):
            return ProviderError(f"{what}: no quota left; free space or raise the limit there", reason="quota")
        if status == 403:
            path = response.request.url.path.removeprefix("/v2/")
            return ProviderError(
                f"{what}: this login may not do that to {path}; check the repository's name and rights"
            )
        if status == 404:
            return ProviderError(f"{what}: no such repository, image or blob", reason="not_found")
        if status == 413:
            return ProviderError(f"{what}: a layer is larger than this registry takes")
        if status in PASSING:
            return TryAgain(ProviderError(f"{what}; try again later", reason="unavailable"), retry_after_s(response))
        return ProviderError(what)


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme, 0)


def error_detail(response: httpx.Response) -> str:
    """The registry's own words: `CODE: message` of its first error, or nothing."""
    try:
        first = response.json()["errors"][0]
        return ": ".join(str(first[key]) for key in ("code", "message") if first.get(key))[:300]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return ""


def login_command(registry: str) -> str:
    """What the user types to log in."""
    return "cog login" if registry == "r8.im" else f"docker login {registry}"
