"""The registry verbs that an image build needs: read manifests, mount, upload with resume, download with resume.

Own code on httpx: python-dxf uploads in one piece without resume and knows no docker config; oras-py neither mounts nor
resumes, and retries nothing but authentication.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlencode

import httpx

from lukewarm.images import oci
from lukewarm.images.auth import find_login
from lukewarm.images.layout import Layout, disk_errors
from lukewarm.images.oci import Descriptor
from lukewarm.images.reference import Reference
from lukewarm.images.retry import Retry, TryAgain, unreachable
from lukewarm.images.transport import FindLogin, Transport
from lukewarm.images.upload import Place, Upload
from lukewarm.predictors.errors import ProviderError, StorageError

Advance = Callable[[int], None]
CHUNK_BYTES = 32 << 20
_ACCEPT = ", ".join((*oci.MANIFESTS, *oci.INDEXES))


class Registry:
    """One repository in one registry. Use in a `with`; safe to make before anything is known to be reachable."""

    def __init__(
        self,
        reference: Reference,
        *,
        login: FindLogin = find_login,
        retry: Retry | None = None,
        chunk_bytes: int = CHUNK_BYTES,
        http: httpx.BaseTransport | None = None,
    ) -> None:
        self.reference = reference
        self.chunk_bytes = chunk_bytes
        self.transport = Transport(reference, login, retry or Retry(), http)
        self._path = f"/v2/{reference.repository}"
        self.pull_scope = (f"repository:{reference.repository}:pull",)
        self.push_scope = (f"repository:{reference.repository}:pull,push",)

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, _t: type[BaseException] | None, _e: BaseException | None, _tb: TracebackType | None) -> None:
        self.transport.close()

    def manifest(self, target: str) -> tuple[Descriptor, bytes]:
        """A manifest or index by tag or digest, its bytes checked. Raises ProviderError."""
        response = self.transport.send(
            lambda: {"method": "GET", "url": f"{self._path}/manifests/{target}", "headers": {"Accept": _ACCEPT}},
            self.pull_scope,
            expect=(200,),
        )
        data, digest = response.content, oci.digest_of(response.content)
        if oci.is_digest(target) and digest != target:
            raise ProviderError(f"registry {self.reference.registry} sent another manifest than {target}")
        value = oci.decode(data, f"{self.reference.name}:{target}")
        media_type = value.get("mediaType") or response.headers.get("content-type", "").partition(";")[0]
        return Descriptor(str(media_type), digest, len(data)), data

    def read_blob(self, blob: Descriptor) -> bytes:
        """A small blob such as a config, its bytes checked. Raises ProviderError."""
        if blob.size > oci.MAX_MANIFEST_BYTES:
            raise ProviderError(f"{blob.digest} in {self.reference.name} is too large for a config: {blob.size} bytes")
        response = self.transport.send(
            lambda: {"method": "GET", "url": f"{self._path}/blobs/{blob.digest}"}, self.pull_scope, expect=(200,)
        )
        if oci.digest_of(response.content) != blob.digest:
            raise ProviderError(f"registry {self.reference.registry} sent other bytes than {blob.digest}")
        return response.content

    def digest_at(self, target: str) -> str | None:
        """The digest a tag points at, or None."""
        response = self.transport.send(
            lambda: {"method": "HEAD", "url": f"{self._path}/manifests/{target}", "headers": {"Accept": _ACCEPT}},
            self.push_scope,
            expect=(200, 404),
        )
        found = response.headers.get("docker-content-digest")
        return str(found) if response.status_code == 200 and found else None

    def has(self, blob: Descriptor) -> bool:
        """Whether the repository already holds the blob."""
        response = self.transport.send(
            lambda: {"method": "HEAD", "url": f"{self._path}/blobs/{blob.digest}"}, self.push_scope, expect=(200, 404)
        )
        return response.status_code == 200

    def mount(self, blob: Descriptor, source_repository: str) -> bool:
        """Let the registry take the blob from another of its repositories; False if it does not."""
        query = urlencode({"mount": blob.digest, "from": source_repository})
        scopes = (*self.push_scope, f"repository:{source_repository}:pull")
        try:
            response = self.transport.send(
                lambda: {"method": "POST", "url": f"{self._path}/blobs/uploads/?{query}", "content": b""},
                scopes,
                expect=(201, 202),
            )
        except ProviderError as error:
            if error.reason in ("unavailable", "quota"):
                raise
            return False  # not allowed to read there: upload instead
        if response.status_code == 202 and (location := response.headers.get("location")):
            self._cancel(location)
        return response.status_code == 201

    def upload(self, blob: Descriptor, path: Path, advance: Advance = lambda _bytes: None) -> None:
        """Send one blob from a file; goes on where a broken connection left it. Raises ProviderError."""
        place = Place(f"{self._path}/blobs/uploads/", self.push_scope, self.chunk_bytes)
        Upload(self.transport, place, blob, path, advance).run()

    def download(self, blob: Descriptor, layout: Layout, advance: Advance = lambda _bytes: None) -> None:
        """Fetch one blob into the layout; goes on where a broken connection, or an earlier run, left it."""
        if layout.has(blob):
            advance(blob.size)
            return
        with disk_errors(layout.incoming):
            layout.incoming.mkdir(exist_ok=True)
        partial = layout.incoming / f"{blob.digest.removeprefix('sha256:')}.part"
        try:
            self.transport.retry.run(lambda: self._download_rest(blob, partial))
        except StorageError:
            partial.unlink(missing_ok=True)  # a broken connection's part is kept, a full disk's is not
            raise
        with disk_errors(partial), partial.open("rb") as stream:
            digest = "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != blob.digest:
            partial.unlink()
            raise ProviderError(f"registry {self.reference.registry} sent other bytes than {blob.digest}; run again")
        with disk_errors(partial):
            partial.replace(layout.blob_path(blob.digest))
        advance(blob.size)

    def put_manifest(self, target: str, manifest: dict[str, Any]) -> str:
        """Publish a manifest under a tag; returns its digest. Raises ProviderError."""
        data = oci.encode(manifest)
        response = self.transport.send(
            lambda: {
                "method": "PUT",
                "url": f"{self._path}/manifests/{target}",
                "content": data,
                "headers": {"Content-Type": manifest["mediaType"]},
            },
            self.push_scope,
            expect=(201, 200),
        )
        digest = oci.digest_of(data)
        stored = response.headers.get("docker-content-digest", digest)
        if stored != digest:
            raise ProviderError(f"registry {self.reference.registry} stored {stored} instead of {digest}")
        return digest

    def _download_rest(self, blob: Descriptor, partial: Path) -> None:
        have = partial.stat().st_size if partial.exists() else 0
        if have > blob.size:
            partial.unlink()
            have = 0
        if have == blob.size:
            return
        headers = {"Range": f"bytes={have}-"} if have else {}
        response = self.transport.once(
            lambda: {"method": "GET", "url": f"{self._path}/blobs/{blob.digest}", "headers": headers},
            self.pull_scope,
            expect=(200, 206),
            stream=True,
        )
        try:
            with disk_errors(partial), partial.open("ab" if response.status_code == 206 else "wb") as file:
                for piece in response.iter_raw():
                    file.write(piece)
                written = file.tell()
        except httpx.TransportError as error:
            raise TryAgain(unreachable(f"registry {self.reference.registry}", error)) from error
        finally:
            response.close()
        if written < blob.size:
            what = f"registry {self.reference.registry} sent {written} of {blob.size} bytes of {blob.digest}"
            raise TryAgain(ProviderError(what, reason="unavailable"))

    def _cancel(self, location: str) -> None:
        with contextlib.suppress(ProviderError):  # an upload that nobody finishes expires at the registry
            self.transport.send(
                lambda: {"method": "DELETE", "url": location}, self.push_scope, expect=(200, 202, 204, 404, 405)
            )
