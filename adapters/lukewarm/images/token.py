"""The registry's bearer-token flow: reads the challenge of a 401, asks the token server, keeps tokens per scope."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from lukewarm.images.auth import Login
from lukewarm.images.reference import is_loopback
from lukewarm.images.retry import PASSING, TryAgain, retry_after_s, unreachable
from lukewarm.predictors.errors import NotLoggedIn, ProviderError

_PARAMETER = re.compile(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


@dataclass(frozen=True)
class Challenge:
    """What a `WWW-Authenticate` header asks for."""

    scheme: str  # basic, bearer
    realm: str = ""
    service: str = ""
    scope: str = ""


def parse_challenges(values: list[str]) -> list[Challenge]:
    """Every challenge in a response's WWW-Authenticate headers, bearer first."""
    found = []
    for value in values:
        for match in re.finditer(r"(?i)\b(basic|bearer)\b\s*(.*?)(?=,\s*(?:basic|bearer)\s|\Z)", value):
            given = {name.lower(): quoted or bare for name, quoted, bare in _PARAMETER.findall(match.group(2))}
            found.append(
                Challenge(
                    match.group(1).lower(), given.get("realm", ""), given.get("service", ""), given.get("scope", "")
                )
            )
    return sorted(found, key=lambda challenge: challenge.scheme != "bearer")


def fetch_token(
    client: httpx.Client, registry: str, challenge: Challenge, scopes: list[str], login: Login | None
) -> str:
    """One token for `scopes`, with the login or anonymously.

    Raises NotLoggedIn, ProviderError, TryAgain. A login is only sent over TLS, or to this machine itself.
    """
    url = urlsplit(challenge.realm)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ProviderError(f"registry {registry} names no usable token server ({challenge.realm!r})")
    if url.scheme == "http" and not is_loopback(url.hostname):
        raise ProviderError(f"registry {registry} wants the login sent unencrypted to {url.hostname}: refused")
    service = {"service": challenge.service} if challenge.service else {}
    try:
        if login and login.identity_token:
            form = {
                "grant_type": "refresh_token", "refresh_token": login.identity_token, "client_id": "lukewarm",
                "scope": " ".join(scopes), **service,
            }  # fmt: skip
            response = client.post(challenge.realm, data=form)
        else:
            headers = {"Authorization": login.basic()} if login else {}
            response = client.get(challenge.realm, params={**service, "scope": scopes}, headers=headers)
    except httpx.TransportError as error:
        raise TryAgain(unreachable(f"token server {url.hostname} of {registry}", error)) from error
    return _read_token(response, registry, url.hostname)


def _read_token(response: httpx.Response, registry: str, host: str) -> str:
    if response.status_code in PASSING:
        message = f"token server {host} of {registry} answers {response.status_code}; try again later"
        raise TryAgain(ProviderError(message, reason="unavailable"), retry_after_s(response))
    if response.status_code in (400, 401, 403):
        raise NotLoggedIn(f"registry {registry} refused docker's login for it; run: docker login {registry}")
    try:
        answer = response.raise_for_status().json()
        token = answer.get("token") or answer["access_token"]
    except (httpx.HTTPStatusError, ValueError, KeyError, AttributeError) as error:
        raise ProviderError(f"token server {host} of {registry} gave no token (HTTP {response.status_code})") from error
    return str(token)
