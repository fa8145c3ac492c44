"""`weights.lock`: which files, with which sha256, are in an image's weights layer; for people and diffs."""

from __future__ import annotations

from pathlib import Path

import msgspec

from lukewarm.images.layers import Layer
from lukewarm.predictors.bundle import Bundle
from lukewarm.predictors.errors import BundleError

NAME = "weights.lock"
FORMAT = 1


class LockedFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file below the bundle's folder."""

    path: str
    bytes: int
    sha256: str


class LockedLayer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The layer as registries know it."""

    digest: str
    diff_id: str
    bytes: int
    media_type: str


class WeightsLock(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `weights.lock` says."""

    format: int
    bundle: str  # name-backend-precision
    bundle_digest: str
    layer: LockedLayer
    files: list[LockedFile]


def lock(bundle: Bundle, layer: Layer, folder: str) -> WeightsLock:
    """The lock of a weights layer whose files stand below `folder` in the image.

    Raises BundleError if a file that went into the layer is not what `bundle.json` says.
    """
    known = {file.path: file for file in bundle.manifest.files}
    files = []
    for path, digest in sorted(layer.files.items()):
        name = path.removeprefix(f"{folder}/")
        if name in known and known[name].sha256 != digest:
            raise BundleError(f"{bundle.root / name} does not match its sha256; run: lukewarm convert --force")
        size = known[name].bytes if name in known else (bundle.root / name).stat().st_size
        files.append(LockedFile(path=name, bytes=size, sha256=digest))
    manifest = bundle.manifest
    return WeightsLock(
        format=FORMAT,
        bundle=f"{manifest.name}-{manifest.backend}-{manifest.precision}",
        bundle_digest=bundle.digest,
        layer=LockedLayer(
            digest=layer.blob.digest, diff_id=layer.diff_id, bytes=layer.blob.size, media_type=layer.blob.media_type
        ),
        files=files,
    )


def encode(value: WeightsLock) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"


def read(path: Path) -> WeightsLock:
    """Read a lock. Raises BundleError."""
    try:
        value = msgspec.json.decode(path.read_bytes(), type=WeightsLock)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleError(f"{path} is damaged: {error}; build the image again") from error
    if value.format != FORMAT:
        raise BundleError(f"{path} has format {value.format}, this lukewarm reads {FORMAT}")
    return value


def verify(value: WeightsLock, folder: Path) -> None:
    """Check that a folder holds exactly the locked files. Raises BundleError naming the first that differs."""
    from lukewarm.predictors.bundle import sha256

    for file in value.files:
        path = folder / file.path
        if not path.is_file():
            raise BundleError(f"{path} is missing, but locked")
        if path.stat().st_size != file.bytes or sha256(path) != file.sha256:
            raise BundleError(f"{path} is not the locked file")
    locked = {file.path for file in value.files}
    extra = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    if more := [path for path in extra if path not in locked]:
        raise BundleError(f"{folder / more[0]} is not in the lock")
