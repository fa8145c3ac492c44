"""Base images: from a registry, from an OCI layout on disk, or none; layers are fetched only when they are needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lukewarm.images import oci
from lukewarm.images.layers import Advance
from lukewarm.images.layout import Layout
from lukewarm.images.oci import Descriptor, Platform
from lukewarm.images.reference import Reference, parse_reference
from lukewarm.images.registry import Registry
from lukewarm.predictors.errors import ProviderError

Connect = Callable[[Reference], Registry]
SCRATCH = "scratch"
_LAYOUT = "oci:"


@dataclass(frozen=True)
class Base:
    """An image to build on. `pinned` names it by digest, so that the same words give the same image later."""

    pinned: str
    config: dict[str, Any] = field(default_factory=dict)
    layers: tuple[Descriptor, ...] = ()
    reference: Reference | None = None  # in a registry
    layout: Layout | None = None  # on this disk

    @property
    def bytes(self) -> int:
        return sum(layer.size for layer in self.layers)

    def fetch(self, blob: Descriptor, into: Layout, connect: Connect, advance: Advance) -> None:
        """Bring one layer into a layout. Raises ProviderError, StorageError."""
        if into.has(blob):
            advance(blob.size)
        elif self.layout is not None:
            with self.layout.blob_path(blob.digest).open("rb") as stream, into.writer() as writer:
                while piece := stream.read(1 << 20):
                    writer.write(piece)
                    advance(len(piece))
                if writer.commit(blob.media_type).digest != blob.digest:
                    raise ProviderError(f"{self.layout.root} has a damaged blob {blob.digest}")
        elif self.reference is not None:
            with connect(self.reference) as registry:
                registry.download(blob, into, advance)


def open_base(text: str, platform: Platform, connect: Connect) -> Base:
    """`scratch`, `oci:FOLDER[@NAME]` or an image reference -> Base. Reads manifests and the config, no layer.

    Raises SpecError, ProviderError (not_found, unavailable, rejected), NotLoggedIn.
    """
    if text == SCRATCH:
        return Base(SCRATCH)
    if text.startswith(_LAYOUT):
        folder, _, name = text.removeprefix(_LAYOUT).partition("@")
        layout = Layout.open(Path(folder))
        found = layout.find(name or None, platform)
        value = layout.read_json(found)
        config = layout.read_json(Descriptor.from_json(value.get("config"), text))
        return _checked(Base(found.digest, config, _layers(value, text), layout=layout), platform, text)
    reference = parse_reference(text)
    with connect(reference) as registry:
        found, data = registry.manifest(reference.target)
        value = oci.decode(data, text)
        if found.media_type in oci.INDEXES:
            chosen = oci.select_platform(value, platform, text)
            found, data = registry.manifest(chosen.digest)
            value = oci.decode(data, text)
        if found.media_type not in oci.MANIFESTS:
            raise ProviderError(f"{text} is a {found.media_type}, not an image; its registry may be very old")
        blob = Descriptor.from_json(value.get("config"), text)
        config = oci.decode(registry.read_blob(blob), text)
    pinned = reference.at(found.digest)
    return _checked(Base(str(pinned), config, _layers(value, text), reference=pinned), platform, text)


def _layers(manifest: dict[str, Any], where: str) -> tuple[Descriptor, ...]:
    found = []
    for item in manifest.get("layers") or []:
        layer = Descriptor.from_json(item, where)
        media_type = oci.OCI_LAYER.get(layer.media_type, layer.media_type)
        if media_type not in oci.LAYERS:
            raise ProviderError(f"{where} has a layer of type {layer.media_type}, which cannot be built upon")
        found.append(Descriptor(media_type, layer.digest, layer.size))
    return tuple(found)


def _checked(base: Base, platform: Platform, where: str) -> Base:
    config = base.config
    made_for = f"{config.get('os')}/{config.get('architecture')}"
    if made_for != str(platform):
        raise ProviderError(f"{where} is an image for {made_for}, not {platform}", reason="not_found")
    diff_ids = (config.get("rootfs") or {}).get("diff_ids")
    if not isinstance(diff_ids, list) or len(diff_ids) != len(base.layers):
        raise ProviderError(f"{where} is damaged: {len(base.layers)} layers, but its config lists {diff_ids!r:.80}")
    return base
