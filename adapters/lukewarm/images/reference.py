"""Image references such as `ghcr.io/me/model:1`: parsed by the distribution project's grammar, never guessed."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace

from lukewarm.predictors.errors import SpecError

_HOST = re.compile(
    r"\A([a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*)(:\d{1,5})?\Z"
)
_PATH = re.compile(r"\A[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*\Z")
_TAG = re.compile(r"\A\w[\w.-]{0,127}\Z", re.ASCII)
_DIGEST = re.compile(r"\Asha256:[0-9a-f]{64}\Z")
DOCKER_HUB = "docker.io"


@dataclass(frozen=True)
class Reference:
    """One image in one registry; `str()` gives it back in full."""

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.name}{tag}{f'@{self.digest}' if self.digest else ''}"

    @property
    def name(self) -> str:
        """Registry and repository, without tag and digest."""
        return f"{self.registry}/{self.repository}"

    @property
    def target(self) -> str:
        """What stands after `/manifests/` in the registry's API: the digest, or the tag."""
        return self.digest or self.tag or "latest"

    @property
    def api_url(self) -> str:
        """Scheme and host of the registry's API. Plain HTTP only on this machine's own addresses."""
        host = "registry-1.docker.io" if self.registry == DOCKER_HUB else self.registry
        return f"{'http' if is_loopback(host) else 'https'}://{host}"

    def at(self, digest: str) -> Reference:
        """The same repository, pinned to a digest."""
        return replace(self, tag=None, digest=digest)


def parse_reference(text: str, default_tag: str = "latest") -> Reference:
    """`[host[:port]/]path[:tag][@sha256:...]` -> Reference; docker.io and `library/` are filled in as docker does.

    Raises SpecError that says which part is wrong.
    """
    rest, _, digest = text.partition("@")
    if digest and not _DIGEST.match(digest):
        raise SpecError(f"{text!r}: {digest!r} is not sha256: and 64 hex digits")
    slash = rest.rfind("/")
    tag = None
    if ":" in rest[slash + 1 :]:
        rest, _, tag = rest.rpartition(":")
        if not _TAG.match(tag):
            raise SpecError(f"{text!r}: {tag!r} is not a tag (letters, digits, . _ -, at most 128)")
    first, has_slash, path = rest.partition("/")
    if has_slash and ("." in first or ":" in first or first == "localhost"):
        registry, repository = first, path
    else:
        registry, repository = DOCKER_HUB, rest
    if registry in ("index.docker.io", "registry-1.docker.io"):
        registry = DOCKER_HUB
    if not _HOST.match(registry):
        raise SpecError(f"{text!r}: {registry!r} is not a registry host")
    if registry == DOCKER_HUB and "/" not in repository:
        repository = f"library/{repository}"
    if not _PATH.match(repository) or len(repository) > 255:
        raise SpecError(
            f"{text!r}: {repository!r} is not a repository path; it is lower case, like ghcr.io/me/my-model:1"
        )
    return Reference(registry, repository, tag or (None if digest else default_tag), digest or None)


def is_loopback(host: str) -> bool:
    """Whether a host (with or without port) is this machine itself."""
    name = host.rsplit(":", 1)[0] if host.count(":") == 1 else host
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
