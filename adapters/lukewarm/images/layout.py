"""An OCI image layout on disk: content-addressed blobs, written by stream, hashed on the way, renamed when whole."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from lukewarm.images import oci
from lukewarm.images.oci import Descriptor
from lukewarm.predictors.errors import ProviderError, StorageError

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO}
_PIECE = 1 << 20


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns what a full, read-only or forbidden disk raises into StorageError; other OSErrors pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK:
            raise
        raise StorageError(f"{path}: {error.strerror}; free space there or choose another folder") from error


class BlobWriter:
    """Writes one blob under a temporary name; `commit` gives it the name of its digest. Use in a `with`."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._path = layout.incoming / f"{os.getpid()}-{secrets.token_hex(6)}"
        self._hash = hashlib.sha256()
        self.size = 0

    def __enter__(self) -> BlobWriter:
        with disk_errors(self._path):
            self._layout.incoming.mkdir(exist_ok=True)
            self._file: BinaryIO = self._path.open("xb")
        return self

    def write(self, data: bytes) -> int:
        with disk_errors(self._path):
            self._file.write(data)
        self._hash.update(data)
        self.size += len(data)
        return len(data)

    def commit(self, media_type: str) -> Descriptor:
        """Flush, rename into place and describe the blob."""
        with disk_errors(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            digest = f"sha256:{self._hash.hexdigest()}"
            os.replace(self._path, self._layout.blob_path(digest))
        return Descriptor(media_type, digest, self.size)

    def __exit__(self, *_exc: object) -> None:
        with contextlib.suppress(OSError):  # closing flushes, which fails again on a full disk
            self._file.close()
        self._path.unlink(missing_ok=True)


class Layout:
    """One image layout directory; `create` makes it if it is not there. Several images may share it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs = root / "blobs" / "sha256"
        self.incoming = root / "incoming"  # unfinished blobs: nothing refers to them

    @classmethod
    def create(cls, root: Path) -> Layout:
        """Open or make a layout; removes what an interrupted run left unfinished. Raises StorageError."""
        layout = cls(root)
        with disk_errors(root):
            layout.blobs.mkdir(parents=True, exist_ok=True)
            if not (root / "oci-layout").exists():
                write_atomic(root / "oci-layout", oci.encode({"imageLayoutVersion": "1.0.0"}))
            if not (root / "index.json").exists():
                layout._write_index([])
            layout._sweep_incoming()
        return layout

    @classmethod
    def open(cls, root: Path) -> Layout:
        """Open an existing layout, read-only. Raises ProviderError (not_found)."""
        try:
            version = json.loads((root / "oci-layout").read_bytes())["imageLayoutVersion"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ProviderError(
                f"{root} is not an OCI image layout (no oci-layout file)", reason="not_found"
            ) from error
        if version != "1.0.0":
            raise ProviderError(f"{root} is an OCI image layout of version {version}, not 1.0.0")
        return cls(root)

    def blob_path(self, digest: str) -> Path:
        return self.blobs / digest.removeprefix("sha256:")

    def has(self, blob: Descriptor) -> bool:
        """Whether the blob is here with its full size."""
        try:
            return self.blob_path(blob.digest).stat().st_size == blob.size
        except FileNotFoundError:
            return False

    def writer(self) -> BlobWriter:
        return BlobWriter(self)

    def write_json(self, value: Any, media_type: str) -> Descriptor:
        return self.write_bytes(oci.encode(value), media_type)

    def write_bytes(self, data: bytes, media_type: str) -> Descriptor:
        with self.writer() as writer:
            writer.write(data)
            return writer.commit(media_type)

    def read_bytes(self, blob: Descriptor) -> bytes:
        """A small blob (manifest, config), checked against its digest. Raises ProviderError."""
        try:
            data = self.blob_path(blob.digest).read_bytes()
        except FileNotFoundError as error:
            raise ProviderError(f"{self.root} has no blob {blob.digest}", reason="not_found") from error
        if oci.digest_of(data) != blob.digest:
            raise ProviderError(f"{self.blob_path(blob.digest)} is damaged; delete it and run again")
        return data

    def read_json(self, blob: Descriptor) -> dict[str, Any]:
        return oci.decode(self.read_bytes(blob), blob.digest)

    def index(self) -> list[dict[str, Any]]:
        """The descriptors in index.json."""
        data = oci.decode((self.root / "index.json").read_bytes(), str(self.root / "index.json"))
        return list(data.get("manifests") or [])

    def set_ref(self, name: str, manifest: Descriptor, platform: oci.Platform) -> None:
        """Point `name` at a manifest in index.json; an older one of that name goes."""
        entry = {
            **manifest.to_json(),
            "annotations": {oci.REF_NAME: name},
            "platform": {"os": platform.os, "architecture": platform.architecture},
        }
        others = [item for item in self.index() if (item.get("annotations") or {}).get(oci.REF_NAME) != name]
        with disk_errors(self.root):
            self._write_index(sorted([*others, entry], key=lambda item: str(item["annotations"][oci.REF_NAME])))

    def find(self, name: str | None, platform: oci.Platform) -> Descriptor:
        """The manifest of `name` (or of the only image there is) for `platform`. Raises ProviderError."""
        items = self.index()
        if name is not None:
            items = [item for item in items if (item.get("annotations") or {}).get(oci.REF_NAME) == name]
        if len(items) != 1:
            names = [str((item.get("annotations") or {}).get(oci.REF_NAME)) for item in self.index()]
            wanted = f"no image {name!r}" if name else f"{len(items)} images"
            raise ProviderError(f"{self.root} has {wanted}; it has: {', '.join(names) or 'none'}", reason="not_found")
        found = Descriptor.from_json(items[0], str(self.root))
        if found.media_type in oci.INDEXES:
            return oci.select_platform(self.read_json(found), platform, str(self.root))
        return found

    def prune(self, min_age_s: float = 86_400) -> int:
        """Delete blobs that no image of index.json uses; returns the bytes freed.

        Young ones stay: another build may be about to refer to them.
        """
        used: set[str] = set()
        for item in self.index():
            self._reach(Descriptor.from_json(item, str(self.root)), used)
        freed = 0
        for path in self.blobs.iterdir():
            found = path.stat()
            if f"sha256:{path.name}" not in used and time.time() - found.st_mtime >= min_age_s:
                freed += found.st_size
                path.unlink()
        return freed

    def _reach(self, blob: Descriptor, used: set[str]) -> None:
        used.add(blob.digest)
        if blob.media_type not in (*oci.MANIFESTS, *oci.INDEXES) or not self.has(blob):
            return
        value = self.read_json(blob)
        below = [*(value.get("manifests") or []), *(value.get("layers") or []), value.get("config")]
        for item in below:
            if item is not None:
                self._reach(Descriptor.from_json(item, blob.digest), used)

    def _write_index(self, manifests: list[dict[str, Any]]) -> None:
        index = {"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": manifests}
        write_atomic(self.root / "index.json", oci.encode(index))

    def _sweep_incoming(self) -> None:
        for path in self.incoming.glob("*-*") if self.incoming.is_dir() else ():
            pid = path.name.partition("-")[0]
            if pid.isdigit() and not is_alive(int(pid)):
                path.unlink(missing_ok=True)


def is_alive(pid: int) -> bool:
    """Whether a process of that id exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # it exists and is another user's
    return True


def write_atomic(path: Path, data: bytes) -> None:
    """Write under a temporary name beside the target, then rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def pieces(stream: BinaryIO, size: int | None = None) -> Iterator[bytes]:
    """A file in pieces of 1 MiB, at most `size` bytes of it."""
    left = size
    while left is None or left > 0:
        piece = stream.read(_PIECE if left is None else min(_PIECE, left))
        if not piece:
            return
        if left is not None:
            left -= len(piece)
        yield piece
