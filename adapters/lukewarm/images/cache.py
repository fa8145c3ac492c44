"""Remembers which layer came of which input, so that unchanged layers are neither read nor written again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from lukewarm.images.layers import Layer
from lukewarm.images.layout import Layout, disk_errors, write_atomic
from lukewarm.images.oci import Descriptor

FORMAT = "1"  # raise it when the same input would give another layer


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    media_type: str
    digest: str
    bytes: int
    diff_id: str
    unpacked_bytes: int
    files: dict[str, str]


def key(kind: str, *parts: str | Iterable[str]) -> str:
    """One name for everything that decides a layer."""
    flat = [kind, FORMAT]
    for part in parts:
        flat += [part] if isinstance(part, str) else [*part, ""]
    return hashlib.sha256("\0".join(flat).encode()).hexdigest()


def load(store: Path, name: str, layout: Layout) -> Layer | None:
    """The layer of an earlier build, if its blob is still in the layout."""
    try:
        entry = msgspec.json.decode((store / "cache" / f"{name}.json").read_bytes(), type=_Entry)
    except (OSError, msgspec.DecodeError):
        return None  # absent or damaged: made anew
    layer = Layer(
        entry.name,
        Descriptor(entry.media_type, entry.digest, entry.bytes),
        entry.diff_id,
        entry.unpacked_bytes,
        entry.files,
    )
    return layer if layout.has(layer.blob) else None


def save(store: Path, name: str, layer: Layer) -> Layer:
    entry = _Entry(
        name=layer.name, media_type=layer.blob.media_type, digest=layer.blob.digest, bytes=layer.blob.size,
        diff_id=layer.diff_id, unpacked_bytes=layer.unpacked_bytes, files=dict(layer.files),
    )  # fmt: skip
    with disk_errors(store):
        (store / "cache").mkdir(parents=True, exist_ok=True)
        write_atomic(store / "cache" / f"{name}.json", msgspec.json.encode(entry))
    return layer
