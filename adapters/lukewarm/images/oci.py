"""What lukewarm reads and writes of the OCI image spec 1.1: media types, descriptors, platforms, canonical JSON."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from lukewarm.predictors.errors import ProviderError, SpecError

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER_TAR = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER_TAR = "application/vnd.docker.image.rootfs.diff.tar"

MANIFESTS = (MANIFEST, DOCKER_MANIFEST)
INDEXES = (INDEX, DOCKER_INDEX)
# a Docker base image keeps its bytes; in an OCI manifest its layers go by their OCI names
OCI_LAYER = {DOCKER_LAYER_GZIP: LAYER_GZIP, DOCKER_LAYER_TAR: LAYER_TAR}
LAYERS = (LAYER_TAR, LAYER_GZIP, LAYER_ZSTD)

REF_NAME = "org.opencontainers.image.ref.name"
EPOCH = "1970-01-01T00:00:00Z"
MAX_MANIFEST_BYTES = 4 << 20  # what registries accept at least; a larger one is not a manifest

_DIGEST = re.compile(r"\Asha256:[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class Descriptor:
    """A typed pointer to a blob. `size` in bytes."""

    media_type: str
    digest: str
    size: int

    def to_json(self) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}

    @classmethod
    def from_json(cls, value: Any, where: str) -> Descriptor:
        """Raises ProviderError (rejected) unless it is a sha256 descriptor."""
        if not isinstance(value, dict):
            raise ProviderError(f"{where}: a descriptor is a JSON object, not {type(value).__name__}")
        media_type, digest, size = value.get("mediaType"), value.get("digest"), value.get("size")
        if not isinstance(media_type, str) or not isinstance(size, int) or size < 0:
            raise ProviderError(f"{where}: a descriptor needs mediaType and size")
        if not isinstance(digest, str) or not _DIGEST.match(digest):
            raise ProviderError(f"{where}: {digest!r} is not a sha256 digest")
        return cls(media_type, digest, size)


@dataclass(frozen=True)
class Platform:
    """The machine an image is for."""

    os: str = "linux"
    architecture: str = "amd64"

    def __str__(self) -> str:
        return f"{self.os}/{self.architecture}"

    @classmethod
    def parse(cls, text: str) -> Platform:
        """`linux/amd64` -> Platform. Raises SpecError."""
        match = re.fullmatch(r"([a-z]+)/([a-z0-9]+)", text)
        if not match:
            raise SpecError(f"{text!r} is not a platform; write it like linux/amd64")
        return cls(match.group(1), match.group(2))


LINUX_AMD64 = Platform()


def encode(value: Any) -> bytes:
    """Canonical JSON: sorted keys, no spaces, UTF-8. Equal values, equal bytes, equal digest."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def decode(data: bytes, where: str) -> dict[str, Any]:
    """A JSON object out of untrusted bytes. Raises ProviderError (rejected)."""
    if len(data) > MAX_MANIFEST_BYTES:
        raise ProviderError(f"{where}: {len(data)} bytes is too large for a manifest or config")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ProviderError(f"{where}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ProviderError(f"{where}: not a JSON object")
    return value


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def is_digest(text: str) -> bool:
    return bool(_DIGEST.match(text))


def select_platform(index: dict[str, Any], platform: Platform, where: str) -> Descriptor:
    """The manifest for `platform` in an image index. ProviderError (not_found) lists what the index has."""
    known = []
    for item in index.get("manifests") or []:
        found = item.get("platform") or {}
        name = f"{found.get('os', '?')}/{found.get('architecture', '?')}"
        if name == str(platform) and item.get("mediaType") in MANIFESTS:
            return Descriptor.from_json(item, where)
        known.append(name)
    has = ", ".join(name for name in known if "unknown" not in name) or "none"
    raise ProviderError(f"{where} has no image for {platform}; it has: {has}", reason="not_found")
