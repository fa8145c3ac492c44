"""A fake OCI registry on loopback: the distribution API with logins, mounts, chunks and its errors."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from lukewarm.adapters.fakes.loopback import Loopback, Reply, Request

_PATH = re.compile(r"/v2/(?P<name>.+)/(?P<kind>blobs/uploads|blobs|manifests)/(?P<rest>[^/]*)\Z")
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"


@dataclass
class Options:
    """How this registry behaves."""

    login: tuple[str, str] | None = None  # user and password; None: anybody may do anything
    flow: str = "bearer"  # or basic
    public_pull: bool = True
    chunked: bool = True
    range_get: bool = True
    mounts: bool = True
    known: set[str] | None = None  # repositories that may be pushed to; None: any
    required_label: str = ""  # refuse images whose config lacks it
    max_blob_bytes: int | None = None
    storage_url: str = ""  # blobs are fetched from there by redirect
    on_push: Callable[[str, str, str], None] = lambda _name, _target, _digest: None


@dataclass
class Repository:
    blobs: set[str] = field(default_factory=set)
    manifests: dict[str, bytes] = field(default_factory=dict)  # by digest
    tags: dict[str, str] = field(default_factory=dict)


class FakeRegistry(Loopback):
    """State is in memory; `blobs` are shared, each repository sees its own."""

    title = "fake OCI registry"

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = Options(**options)
        self.blobs: dict[str, bytes] = {}
        self.repositories: dict[str, Repository] = {}
        self.uploads: dict[str, tuple[str, bytearray]] = {}
        self.tokens: dict[str, set[tuple[str, str]]] = {}

    def repository(self, name: str) -> Repository:
        return self.repositories.setdefault(name, Repository())

    def add_blob(self, name: str, data: bytes) -> str:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        self.repository(name).blobs.add(digest)
        return digest

    def handle(self, request: Request) -> Reply:
        if request.path == "/token":
            return self._token(request)
        match = _PATH.match(request.path)
        if not match:
            return Reply(200, {}) if request.path == "/v2/" else Reply(404, _error("UNSUPPORTED", "no such route"))
        name, kind, rest = match["name"], match["kind"], match["rest"]
        action = "pull" if request.method in ("GET", "HEAD") and kind != "blobs/uploads" else "push"
        if refused := self._authorize(request, name, action):
            return refused
        known = self.options.known
        if known is not None and action == "push" and name not in known:
            return Reply(404, _error("NAME_UNKNOWN", "repository name not known to registry"))
        if kind == "manifests":
            return self._put_manifest(request, name, rest) if request.method == "PUT" else self._manifest(name, rest)
        if kind == "blobs":
            return self._blob(request, name, rest)
        return self._upload(request, name, rest)

    def partial(self, request: Request) -> None:
        upload = self.uploads.get(request.path.rsplit("/", 1)[-1])
        if upload and request.method == "PATCH":
            upload[1].extend(request.body)

    def _authorize(self, request: Request, name: str, action: str) -> Reply | None:
        options = self.options
        if options.login is None or (action == "pull" and options.public_pull and options.flow == "basic"):
            return None
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        if options.flow == "basic":
            if scheme == "Basic" and self._password_ok(value):
                return None
            return Reply(
                401, _error("UNAUTHORIZED", "authentication required"), {"WWW-Authenticate": 'Basic realm="r"'}
            )
        if scheme == "Bearer" and (name, action) in self.tokens.get(value, set()):
            return None
        scope = f"repository:{name}:{'pull,push' if action == 'push' else 'pull'}"
        challenge = f'Bearer realm="{self.url}/token",service="fake",scope="{scope}"'
        return Reply(401, _error("UNAUTHORIZED", "authentication required"), {"WWW-Authenticate": challenge})

    def _password_ok(self, basic: str) -> bool:
        assert self.options.login is not None
        return base64.b64decode(basic).decode() == ":".join(self.options.login)

    def _token(self, request: Request) -> Reply:
        form = parse_qs(request.body.decode())
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        known = False
        if scheme == "Basic" or form.get("grant_type") == ["refresh_token"]:
            known = self._password_ok(value) if scheme else form["refresh_token"] == [self.options.login[1]]  # type: ignore[index]
            if not known:
                return Reply(401, {"details": "incorrect username or password"})
        granted = set()
        for scope in [s for text in request.query.get("scope", form.get("scope", [])) for s in text.split(" ")]:
            _, name, actions = scope.split(":")
            for action in actions.split(","):
                if known or (action == "pull" and self.options.public_pull):
                    granted.add((name, action))
        token = secrets.token_urlsafe(24)
        self.tokens[token] = granted
        return Reply(200, {"token": token, "expires_in": 300})

    def _manifest(self, name: str, target: str) -> Reply:
        repository = self.repository(name)
        digest = repository.tags.get(target, target)
        data = repository.manifests.get(digest)
        if data is None:
            return Reply(404, _error("MANIFEST_UNKNOWN", "manifest unknown"))
        media_type = json.loads(data).get("mediaType", _MANIFEST)
        return Reply(200, data, {"Content-Type": media_type, "Docker-Content-Digest": digest})

    def _put_manifest(self, request: Request, name: str, target: str) -> Reply:
        if problem := self._manifest_problem(request, name):
            return Reply(400, _error(*problem))
        digest = "sha256:" + hashlib.sha256(request.body).hexdigest()
        repository = self.repository(name)
        repository.manifests[digest] = request.body
        if not target.startswith("sha256:"):
            repository.tags[target] = digest
        self.options.on_push(name, target, digest)
        return Reply(201, None, {"Docker-Content-Digest": digest, "Location": f"/v2/{name}/manifests/{digest}"})

    def _manifest_problem(self, request: Request, name: str) -> tuple[str, str] | None:
        try:
            value = json.loads(request.body)
            if value["mediaType"] != request.headers.get("Content-Type"):
                return "MANIFEST_INVALID", "mediaType and Content-Type differ"
            if value["mediaType"] == _INDEX:
                return None
            blobs = [value["config"], *value["layers"]]
            for blob in blobs:
                if blob["digest"] not in self.repository(name).blobs:
                    return "MANIFEST_BLOB_UNKNOWN", f"blob unknown: {blob['digest']}"
                if len(self.blobs[blob["digest"]]) != blob["size"]:
                    return "SIZE_INVALID", f"size of {blob['digest']} is wrong"
            config = json.loads(self.blobs[value["config"]["digest"]])
            if len(config["rootfs"]["diff_ids"]) != len(value["layers"]):
                return "MANIFEST_INVALID", "diff_ids and layers differ in number"
            label = self.options.required_label
            if label and label not in (config["config"].get("Labels") or {}):
                return "MANIFEST_INVALID", f"the image has no label {label}"
        except (ValueError, KeyError, TypeError) as error:
            return "MANIFEST_INVALID", f"not an image manifest: {error!r}"
        return None

    def _blob(self, request: Request, name: str, digest: str) -> Reply:
        if digest not in self.repository(name).blobs:
            return Reply(404, _error("BLOB_UNKNOWN", "blob unknown to registry"))
        data = self.blobs[digest]
        headers = {"Docker-Content-Digest": digest, "Content-Type": "application/octet-stream"}
        if request.method == "HEAD":
            return Reply(200, None, {**headers, "Content-Length": str(len(data))})
        if self.options.storage_url:
            return Reply(307, None, {"Location": f"{self.options.storage_url}/{digest}"})
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        if asked and self.options.range_get:
            start = int(asked[1])
            return Reply(206, data[start:], {**headers, "Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"})
        return Reply(200, data, headers)

    def _upload(self, request: Request, name: str, session: str) -> Reply:
        if request.method == "POST":
            return self._start(request, name)
        if session not in self.uploads or self.uploads[session][0] != name:
            return Reply(404, _error("BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry"))
        held = self.uploads[session][1]
        if request.method == "DELETE":
            del self.uploads[session]
            return Reply(204)
        if request.method == "PATCH":
            if not self.options.chunked:
                return Reply(405, _error("UNSUPPORTED", "no chunked uploads here"))
            if request.headers.get("Content-Range", "").split("-")[0] != str(len(held)):
                return Reply(416, None, self._where(name, session))
            held.extend(request.body)
            return Reply(202, None, self._where(name, session))
        if request.method == "PUT":
            return self._finish(request, name, session)
        return Reply(204, None, self._where(name, session))

    def _start(self, request: Request, name: str) -> Reply:
        mount, source = request.first("mount"), request.first("from")
        if mount and self.options.mounts and mount in self.repository(source).blobs:
            if refused := self._authorize(request, source, "pull"):
                return refused
            self.repository(name).blobs.add(mount)
            return Reply(201, None, {"Location": f"/v2/{name}/blobs/{mount}", "Docker-Content-Digest": mount})
        session = secrets.token_hex(8)
        self.uploads[session] = (name, bytearray())
        return Reply(202, None, self._where(name, session))

    def _finish(self, request: Request, name: str, session: str) -> Reply:
        data = bytes(self.uploads.pop(session)[1]) + request.body
        limit = self.options.max_blob_bytes
        if limit is not None and len(data) > limit:
            return Reply(413, _error("SIZE_INVALID", "blob too large"))
        if "sha256:" + hashlib.sha256(data).hexdigest() != request.first("digest"):
            return Reply(400, _error("DIGEST_INVALID", "provided digest did not match uploaded content"))
        digest = self.add_blob(name, data)
        return Reply(201, None, {"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest})

    def _where(self, name: str, session: str) -> dict[str, str]:
        held = len(self.uploads[session][1])
        return {"Location": f"/v2/{name}/blobs/uploads/{session}?_state=x%3D", "Range": f"0-{max(0, held - 1)}"}


def _error(code: str, message: str) -> dict[str, Any]:
    return {"errors": [{"code": code, "message": message}]}
