"""Writes a layer: a deterministic tar, streamed through the hashes into the layout; never in memory."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Protocol, cast

from lukewarm.images import oci
from lukewarm.images.layout import Layout, disk_errors
from lukewarm.images.oci import Descriptor
from lukewarm.images.tree import Entry, with_parents
from lukewarm.predictors.errors import SourceError

Advance = Callable[[int], None]  # bytes read since the last call
# no zstd: Docker 20.10, which many providers' hosts still run, fails on it with "invalid tar header"
_MEDIA_TYPE = {"none": oci.LAYER_TAR, "gzip": oci.LAYER_GZIP}


@dataclass(frozen=True)
class Layer:
    """One written layer. `blob.size` is what travels, `unpacked_bytes` what the files hold."""

    name: str
    blob: Descriptor
    diff_id: str  # digest of the tar before compression
    unpacked_bytes: int
    files: Mapping[str, str] = field(default_factory=dict)  # path in the image -> sha256, hex


class _Sink(Protocol):
    def write(self, data: bytes) -> int: ...


class _Hashing:
    """Hashes what passes through to the next sink; tarfile also asks where it stands."""

    def __init__(self, sink: _Sink) -> None:
        self._sink = sink
        self.sha256 = hashlib.sha256()
        self._at = 0

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        self._sink.write(data)
        self._at += len(data)
        return len(data)

    def tell(self) -> int:
        return self._at


class _Source:
    """A file that is hashed and counted while tarfile reads it."""

    def __init__(self, stream: IO[bytes], advance: Advance) -> None:
        self._stream = stream
        self._advance = advance
        self.sha256 = hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.sha256.update(data)
        self._advance(len(data))
        return data


def write_layer(
    layout: Layout, name: str, entries: list[Entry], compression: str = "gzip", advance: Advance = lambda _bytes: None
) -> Layer:
    """Write one layer into the layout. Same entries and contents, same digest.

    Raises StorageError (disk full: nothing is left), SourceError (a file changed or vanished meanwhile).
    """
    entries = with_parents(entries)
    hashes: dict[str, str] = {}
    with layout.writer() as writer:
        with _compressor(writer, compression) as compressed:
            hashing = _Hashing(compressed)
            with tarfile.open(fileobj=cast(Any, hashing), mode="w", format=tarfile.PAX_FORMAT) as tar:
                for entry in entries:
                    _add(tar, entry, hashes, advance)
        blob = writer.commit(_MEDIA_TYPE[compression])
    return Layer(name, blob, f"sha256:{hashing.sha256.hexdigest()}", sum(entry.size for entry in entries), hashes)


def _add(tar: tarfile.TarFile, entry: Entry, hashes: dict[str, str], advance: Advance) -> None:
    info = tarfile.TarInfo(entry.path)
    info.mode, info.size = entry.mode, entry.size
    info.mtime = info.uid = info.gid = 0
    if entry.kind == "dir":
        info.type = tarfile.DIRTYPE
    elif entry.kind == "link":
        info.type, info.linkname = tarfile.SYMTYPE, entry.target
    if entry.source is None:
        tar.addfile(info)
        return
    try:
        with disk_errors(entry.source), entry.source.open("rb") as stream:
            source = _Source(stream, advance)
            tar.addfile(info, cast(IO[bytes], source))
            if stream.read(1):
                raise SourceError(f"{entry.source} grew while it was read; run again when nothing writes to it")
    except FileNotFoundError as error:
        raise SourceError(f"{entry.source} vanished while the image was built; run again") from error
    except OSError as error:
        if "unexpected end of data" not in str(error):
            raise
        raise SourceError(f"{entry.source} shrank while it was read; run again when nothing writes to it") from error
    hashes[entry.path] = source.sha256.hexdigest()


@contextlib.contextmanager
def _compressor(sink: _Sink, compression: str) -> Iterator[_Sink]:
    if compression == "none":
        yield sink
    else:
        # no name and no time in the header; level 6 everywhere, so that one zlib gives one digest
        with gzip.GzipFile(fileobj=cast(Any, sink), mode="wb", compresslevel=6, mtime=0, filename="") as stream:
            yield stream
