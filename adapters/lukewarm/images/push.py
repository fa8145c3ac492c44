"""Pushes a built image: asks for every blob first, lets the registry mount what it has, sends only the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lukewarm.images.base import Connect
from lukewarm.images.build import Image
from lukewarm.images.oci import Descriptor
from lukewarm.images.reference import Reference
from lukewarm.images.registry import Registry

Progress = Callable[[str, float | None], None]


@dataclass(frozen=True)
class Pushed:
    """What happened, in bytes as they travelled."""

    reference: Reference  # with the tag
    digest: str
    uploaded_bytes: int
    mounted_bytes: int  # taken from another repository of the same registry
    present_bytes: int  # were there already


def push_image(image: Image, reference: Reference, connect: Connect, progress: Progress) -> Pushed:
    """Push under `reference`'s tag. Running it again after a failure sends only what is missing.

    Raises NotLoggedIn, ProviderError (quota, not_found, unavailable, rejected), StorageError.
    """
    with connect(reference) as registry:
        if registry.digest_at(reference.target) == image.manifest.digest:
            progress(f"{reference} is up to date", 1.0)
            return Pushed(reference, image.manifest.digest, 0, 0, image.total_bytes)
        bytes_by = {"uploaded": 0, "mounted": 0, "present": 0}
        blobs = [*image.base.layers, *(layer.blob for layer in image.layers), image.config]
        for blob in dict.fromkeys(blobs):
            bytes_by[_bring(blob, image, registry, connect, progress)] += blob.size
        digest = registry.put_manifest(reference.target, image.layout.read_json(image.manifest))
    progress(f"{reference} is pushed", 1.0)
    return Pushed(reference, digest, bytes_by["uploaded"], bytes_by["mounted"], bytes_by["present"])


def _bring(blob: Descriptor, image: Image, registry: Registry, connect: Connect, progress: Progress) -> str:
    """Make one blob be there, the cheapest way that works; says which."""
    if registry.has(blob):
        return "present"
    name = _name(blob, image)
    base = image.base
    if blob in base.layers:
        source = base.reference
        if (
            source is not None
            and source.registry == registry.reference.registry
            and registry.mount(blob, source.repository)
        ):
            return "mounted"
        base.fetch(blob, image.layout, connect, _shown(f"fetching {name}", blob.size, progress))
    registry.upload(blob, image.layout.blob_path(blob.digest), _shown(f"sending {name}", blob.size, progress))
    return "uploaded"


def _shown(what: str, size: int, progress: Progress) -> Callable[[int], None]:
    done = 0
    text = f"{what} ({size / 1e6:.1f} MB)"

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(text, min(1.0, done / max(1, size)))

    progress(text, 0.0)
    return advance


def _name(blob: Descriptor, image: Image) -> str:
    for layer in image.layers:
        if layer.blob == blob:
            return layer.name
    return "config" if blob == image.config else f"base layer {blob.digest[7:15]}"
