"""Fetches an input by URL without letting the caller reach what only this machine can reach. Off by default.

http and https only; every address of the name must be public; the connection goes to the very address that was
checked; each redirect is checked again; bytes, seconds and media types are capped.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from urllib.parse import SplitResult, urljoin, urlsplit

import msgspec

from lukewarm.predictors.errors import RequestError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str, int], Sequence[str]]
REDIRECTS = (301, 302, 303, 307, 308)
CHUNK_BYTES = 65536
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class FetchPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What may be fetched."""

    max_bytes: int = 16 * 2**20
    timeout_s: float = 10.0  # for everything together
    max_redirects: int = 3
    types: tuple[str, ...] = ("image/", "audio/", "application/octet-stream")


def resolve(host: str, port: int) -> list[str]:
    """All addresses of a name."""
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def is_public(address: Address) -> bool:
    """On the public internet: not private, loopback, link-local, multicast, reserved, and holding no such address."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not (address.is_multicast or address.is_reserved)


def fetch(
    url: str,
    policy: FetchPolicy | None = None,
    *,
    resolver: Resolver = resolve,
    allowed: Callable[[Address], bool] = is_public,
) -> bytes:
    """The content behind a URL. Raises RequestError with path `$.url`; blocks, so call it off the event loop."""
    policy = policy or FetchPolicy()
    deadline = time.monotonic() + policy.timeout_s
    for _ in range(policy.max_redirects + 1):
        target = _check(url)
        address = _pinned(target, resolver, allowed)
        try:
            outcome = _get(target, address, policy, deadline)
        except TimeoutError as error:
            raise _refused("url_timeout", f"no content within {policy.timeout_s:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            if time.monotonic() >= deadline:
                raise _refused("url_timeout", f"no content within {policy.timeout_s:g} s") from error
            raise _refused("url_failed", f"the URL could not be fetched ({type(error).__name__})") from error
        if isinstance(outcome, bytes):
            return outcome
        following = urljoin(url, outcome)
        if target.scheme == "https" and urlsplit(following).scheme == "http":
            raise _refused("url_redirect", "the URL redirects from https to http", "https all the way")
        url = following
    raise _refused("url_redirect", "too many redirects", f"at most {policy.max_redirects}")


def _refused(code: str, message: str, allowed: str = "") -> RequestError:
    return RequestError(code, message, "$.url", allowed)


def _check(url: str) -> SplitResult:
    try:
        target = urlsplit(url)
        port = target.port
    except ValueError as error:
        raise _refused("url_invalid", "not a URL", "http:// or https://") from error
    if target.scheme not in ("http", "https"):
        raise _refused("url_scheme", f"scheme {target.scheme!r} is not fetched", "http, https")
    if not target.hostname or port == 0 or any(ord(character) < 33 or ord(character) == 127 for character in url):
        raise _refused("url_invalid", "not a URL", "http:// or https://")
    if target.username is not None or target.password is not None:
        raise _refused("url_invalid", "a URL with a user name is not fetched", "no user name or password")
    return target


def _port(target: SplitResult) -> int:
    return target.port or (443 if target.scheme == "https" else 80)


def _pinned(target: SplitResult, resolver: Resolver, allowed: Callable[[Address], bool]) -> str:
    """The address to connect to. One bad address among several is enough to refuse the name."""
    host = target.hostname or ""
    try:
        addresses = [ipaddress.ip_address(text.partition("%")[0]) for text in resolver(host, _port(target))]
    except (OSError, UnicodeError, ValueError) as error:
        raise _refused("url_failed", f"the name {host!r} does not resolve") from error
    if not addresses:
        raise _refused("url_failed", f"the name {host!r} does not resolve")
    if not all(allowed(address) for address in addresses):
        raise _refused("url_address", f"{host!r} is not on the public internet", "public addresses")
    return str(addresses[0])


class _Pinned(http.client.HTTPConnection):
    """Connects to one address, whatever the name would resolve to now; TLS still checks the name."""

    def __init__(self, target: SplitResult, address: str, timeout_s: float) -> None:
        super().__init__(target.hostname or "", _port(target), timeout=timeout_s)
        self._address = address
        self._secure = target.scheme == "https"

    def abort(self) -> None:
        """End a read in progress: a server that sends a byte now and then must not outlast the deadline."""
        with contextlib.suppress(OSError):
            if self.sock is not None:
                self.sock.shutdown(socket.SHUT_RDWR)

    def connect(self) -> None:
        self.sock = socket.create_connection((self._address, self.port), self.timeout)
        if self._secure:
            self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)


def _get(target: SplitResult, address: str, policy: FetchPolicy, deadline: float) -> bytes | str:
    """The content, or the place that a redirect names."""
    connection = _Pinned(target, address, _left(deadline))
    watchdog = threading.Timer(_left(deadline), connection.abort)
    watchdog.daemon = True
    watchdog.start()
    try:
        path = (target.path or "/") + (f"?{target.query}" if target.query else "")
        default = target.port in (None, 443 if target.scheme == "https" else 80)
        name = f"[{target.hostname}]" if ":" in (target.hostname or "") else target.hostname
        host = f"{name}" if default else f"{name}:{target.port}"
        headers = {"Host": host, "Accept-Encoding": "identity", "User-Agent": "lukewarm", "Connection": "close"}
        connection.request("GET", path.encode("ascii", "strict").decode(), headers=headers)
        response = connection.getresponse()
        if response.status in REDIRECTS and (place := response.getheader("Location")):
            return place
        _check_head(response, policy)
        return _read(response, policy, deadline)
    except UnicodeEncodeError as error:
        raise _refused("url_invalid", "the URL's path is not percent-encoded", "ASCII") from error
    finally:
        watchdog.cancel()
        connection.close()


def _check_head(response: http.client.HTTPResponse, policy: FetchPolicy) -> None:
    if response.status != 200:
        raise _refused("url_failed", f"the URL answered {response.status}", "200")
    kind = (response.getheader("Content-Type") or "").partition(";")[0].strip().lower()
    if not kind.startswith(policy.types):
        raise _refused("url_type", f"content of type {kind or 'unknown'!r}", ", ".join(policy.types))
    if (response.getheader("Content-Encoding") or "identity").lower() != "identity":
        raise _refused("url_type", "the content is compressed", "no content-encoding")
    if (response.length or 0) > policy.max_bytes:
        raise _too_large(policy)


def _read(response: http.client.HTTPResponse, policy: FetchPolicy, deadline: float) -> bytes:
    content = bytearray()
    while chunk := response.read1(CHUNK_BYTES):
        _left(deadline)
        content += chunk
        if len(content) > policy.max_bytes:
            raise _too_large(policy)
    _left(deadline)  # an aborted read looks like an end
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)
    return bytes(content)


def _too_large(policy: FetchPolicy) -> RequestError:
    return _refused("url_size", "the content is too large", f"at most {policy.max_bytes} bytes")


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
