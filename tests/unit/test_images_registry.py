"""The registry client against a fake registry on loopback: logins, mounts, resume, retries, and what failures say."""

from __future__ import annotations

import base64
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lukewarm.adapters.fakes.loopback import Reply
from lukewarm.adapters.fakes.oci_registry import FakeRegistry
from lukewarm.images import ImageInput, build_image, parse_reference, push_image
from lukewarm.images.auth import Login, find_login
from lukewarm.images.layout import Layout
from lukewarm.images.oci import LINUX_AMD64, Descriptor, digest_of
from lukewarm.images.token import parse_challenges
from lukewarm.predictors.errors import NotLoggedIn, ProviderError, SpecError, StorageError
from support.images import connect_with, fill_disk_at, make_artifact, silent

SECRET = "hunter2-very-secret"
LOGIN = Login("me", SECRET)


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as fake:
        yield fake


def add_base(fake: FakeRegistry, name: str = "library/python", layer: bytes = b"base layer") -> str:
    """A base image of one layer, behind an index with several platforms; returns its reference."""

    def put(data: bytes, media_type: str) -> dict[str, Any]:
        return {"mediaType": media_type, "digest": fake.add_blob(name, data), "size": len(data)}

    manifests = []
    for architecture in ("arm64", "amd64"):
        config = {"os": "linux", "architecture": architecture, "config": {"Env": ["PATH=/bin"]},
                  "rootfs": {"type": "layers", "diff_ids": [digest_of(layer)]}}  # fmt: skip
        manifest = {
            "schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": put(json.dumps(config).encode(), "application/vnd.docker.container.image.v1+json"),
            "layers": [put(layer, "application/vnd.docker.image.rootfs.diff.tar.gzip")],
        }  # fmt: skip
        data = json.dumps(manifest).encode()
        digest = digest_of(data)
        fake.repository(name).manifests[digest] = data
        manifests.append({"mediaType": manifest["mediaType"], "digest": digest, "size": len(data),
                          "platform": {"os": "linux", "architecture": architecture}})  # fmt: skip
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests}
    data = json.dumps(index).encode()
    fake.repository(name).manifests[digest_of(data)] = data
    fake.repository(name).tags["3.11"] = digest_of(data)
    return f"{fake.host}/{name}:3.11"


def built(tmp_path: Path, base: str = "scratch", connect: Any = None, weights: bytes = b"w" * 3000) -> Any:
    given = ImageInput(
        name="demo", artifact=make_artifact(tmp_path / "artifact", weights), base=base, command=("python", "main.py")
    )
    (tmp_path / "store").mkdir()
    return build_image(given, tmp_path / "store", connect or connect_with(), silent)


def push(image: Any, fake: FakeRegistry, name: str = "me/demo:1", connect: Any = None) -> Any:
    return push_image(image, parse_reference(f"{fake.host}/{name}"), connect or connect_with(), silent)


def test_push_arrives_whole_and_a_second_push_sends_nothing(tmp_path: Path, registry: FakeRegistry) -> None:
    image = built(tmp_path)
    first = push(image, registry)
    assert registry.repository("me/demo").tags["1"] == first.digest == image.manifest.digest
    assert first.uploaded_bytes == image.total_bytes
    registry.requests.clear()
    second = push(image, registry)
    assert (second.uploaded_bytes, second.present_bytes) == (0, image.total_bytes)
    assert [r.method for r in registry.requests] == ["HEAD"]


def test_only_changed_layers_are_sent(tmp_path: Path, registry: FakeRegistry) -> None:
    image = built(tmp_path)
    push(image, registry)
    (tmp_path / "artifact" / "main.py").write_text("print('changed')\n")
    given = ImageInput(name="demo", artifact=tmp_path / "artifact", base="scratch", command=("python", "main.py"))
    changed = build_image(given, tmp_path / "store", connect_with(), silent)
    pushed = push(changed, registry, "me/demo:2")
    assert pushed.uploaded_bytes == changed.layers[2].blob.size + changed.config.size


def test_base_layers_are_mounted_and_never_downloaded(tmp_path: Path, registry: FakeRegistry) -> None:
    image = built(tmp_path, add_base(registry))
    assert not registry.seen("GET", r".*/blobs/" + image.base.layers[0].digest)
    pushed = push(image, registry)
    assert pushed.mounted_bytes == image.base.bytes == len(b"base layer")
    assert not registry.seen("GET", r".*/blobs/" + image.base.layers[0].digest)
    manifest = json.loads(registry.repository("me/demo").manifests[pushed.digest])
    assert manifest["layers"][0]["mediaType"] == "application/vnd.oci.image.layer.v1.tar+gzip"
    assert manifest["annotations"]["org.opencontainers.image.base.digest"].startswith("sha256:")


def test_base_layers_go_from_one_registry_to_another(tmp_path: Path, registry: FakeRegistry) -> None:
    with FakeRegistry() as source:
        image = built(tmp_path, add_base(source))
        pushed = push(image, registry)
    assert pushed.uploaded_bytes == image.total_bytes
    assert image.base.layers[0].digest in registry.repository("me/demo").blobs


def test_a_registry_that_does_not_mount_gets_the_bytes(tmp_path: Path) -> None:
    with FakeRegistry(mounts=False) as fake:
        pushed = push(built(tmp_path, add_base(fake)), fake)
    assert pushed.mounted_bytes == 0


def test_platforms_of_an_index(tmp_path: Path, registry: FakeRegistry) -> None:
    base = add_base(registry)
    image = built(tmp_path, base)
    assert image.layout.read_json(image.config)["architecture"] == "amd64"
    from lukewarm.images import Platform, open_base

    with pytest.raises(ProviderError, match="no image for linux/riscv64; it has: linux/arm64, linux/amd64"):
        open_base(base, Platform("linux", "riscv64"), connect_with())


@pytest.mark.parametrize("flow", ["basic", "bearer"])
def test_logins(tmp_path: Path, flow: str) -> None:
    image = built(tmp_path)
    with FakeRegistry(login=("me", SECRET), flow=flow, public_pull=False) as fake:
        with pytest.raises(NotLoggedIn, match="no entry for it; run: docker login"):
            push(image, fake)
        with pytest.raises(NotLoggedIn, match="refused") as refused:
            push(image, fake, connect=connect_with(Login("me", "wrong-" + SECRET)))
        assert SECRET not in str(refused.value)
        assert push(image, fake, connect=connect_with(LOGIN)).uploaded_bytes == image.total_bytes


def test_identity_tokens_use_the_refresh_flow(tmp_path: Path) -> None:
    with FakeRegistry(login=("me", SECRET)) as fake:
        push(built(tmp_path), fake, connect=connect_with(Login(identity_token=SECRET)))
        assert fake.seen("POST", "/token")


def test_a_token_that_expires_in_mid_push_is_fetched_again(tmp_path: Path) -> None:
    image = built(tmp_path, weights=os.urandom(100_000))
    with FakeRegistry(login=("me", SECRET)) as fake:
        fake.options.on_push = lambda *_: None
        handle = fake.handle
        count = 0

        def forget_sometimes(request: Any) -> Any:
            nonlocal count
            count += 1
            if count % 5 == 0 and request.path != "/token":
                fake.tokens.clear()
            return handle(request)

        fake.handle = forget_sometimes  # type: ignore[method-assign]
        push(image, fake, connect=connect_with(LOGIN, chunk_bytes=30_000))
        assert image.manifest.digest in fake.repository("me/demo").manifests


def test_large_blobs_go_in_chunks_and_resume_after_a_broken_connection(tmp_path: Path, registry: FakeRegistry) -> None:
    image = built(tmp_path, weights=os.urandom(100_000))
    registry.hang_up("PATCH", r".*", keep_bytes=7000, times=2)
    push(image, registry, connect=connect_with(chunk_bytes=25_000))
    starts = [int(r.headers["Content-Range"].split("-")[0]) for r in registry.seen("PATCH", ".*")]
    assert starts == [14000, 39000, 64000, 89000]  # twice 7000 bytes had arrived before the connection broke
    assert image.layers[1].blob.digest in registry.repository("me/demo").blobs


def test_a_lost_session_begins_anew(tmp_path: Path, registry: FakeRegistry) -> None:
    image = built(tmp_path, weights=os.urandom(100_000))
    handle, patches = registry.handle, 0

    def lose(request: Any) -> Any:
        nonlocal patches
        patches += request.method == "PATCH"
        if patches == 3:
            registry.uploads.clear()
        return handle(request)

    registry.handle = lose  # type: ignore[method-assign]
    push(image, registry, connect=connect_with(chunk_bytes=25_000))
    assert image.layers[1].blob.digest in registry.repository("me/demo").blobs


def test_an_answer_lost_after_the_last_put_is_no_failure(tmp_path: Path, registry: FakeRegistry) -> None:
    image = built(tmp_path, weights=os.urandom(100_000))
    registry.hang_up("PUT", r".*/blobs/uploads/.*", after=True, times=3)
    push(image, registry, connect=connect_with(chunk_bytes=25_000))
    assert image.manifest.digest in registry.repository("me/demo").manifests


def test_registries_without_chunks_get_one_put(tmp_path: Path) -> None:
    image = built(tmp_path, weights=os.urandom(100_000))
    with FakeRegistry(chunked=False) as fake:
        push(image, fake, connect=connect_with(chunk_bytes=25_000))
        assert image.layers[1].blob.digest in fake.repository("me/demo").blobs


def test_passing_failures_are_tried_again_with_what_retry_after_says(tmp_path: Path, registry: FakeRegistry) -> None:
    registry.fail("POST", ".*", Reply(500), times=2)
    registry.fail("HEAD", ".*", Reply(429, None, {"Retry-After": "0"}), times=2)
    registry.fail("PUT", ".*/manifests/.*", Reply(503), times=1)
    push(built(tmp_path), registry)


@pytest.mark.parametrize(
    ("reply", "reason", "says"),
    [
        (Reply(500), "unavailable", "answers 500; try again later"),
        (Reply(402, {"errors": [{"code": "DENIED", "message": "no credit"}]}), "quota", "no quota left"),
        (Reply(403, {"errors": [{"code": "DENIED", "message": "storage quota exceeded"}]}), "quota", "storage quota"),
        (Reply(403), "rejected", "may not do that to me/demo"),
        (Reply(404, {"errors": [{"code": "NAME_UNKNOWN", "message": "?"}]}), "not_found", "no such repository"),
        (Reply(413), "rejected", "larger than this registry takes"),
        (Reply(400, {"errors": [{"code": "BLOB_ODD", "message": "odd"}]}), "rejected", "BLOB_ODD: odd"),
    ],
)  # fmt: skip
def test_failures_say_one_clear_thing(
    tmp_path: Path, registry: FakeRegistry, reply: Reply, reason: str, says: str
) -> None:
    registry.fail("POST", ".*", reply, times=99)
    with pytest.raises(ProviderError, match=says) as failed:
        push(built(tmp_path), registry)
    assert failed.value.reason == reason
    assert registry.host in str(failed.value)


def test_a_secret_that_the_server_sends_back_is_not_shown(tmp_path: Path) -> None:
    with FakeRegistry(login=("me", SECRET)) as fake:
        echo = {"errors": [{"code": "DENIED", "message": f"bad password {SECRET} {LOGIN.basic()}"}]}
        fake.fail("PUT", ".*", Reply(400, echo), times=99)
        with pytest.raises(ProviderError, match=r"\[hidden\]") as failed:
            push(built(tmp_path), fake, connect=connect_with(LOGIN))
    assert SECRET not in str(failed.value)
    assert LOGIN.basic()[6:] not in str(failed.value)
    assert SECRET not in repr(LOGIN)


def test_resume_after_a_failed_push_sends_only_the_rest(tmp_path: Path, registry: FakeRegistry) -> None:
    image = built(tmp_path)
    registry.fail("PUT", ".*/manifests/.*", Reply(500), times=99)
    with pytest.raises(ProviderError):
        push(image, registry)
    registry.faults.clear()
    assert push(image, registry).uploaded_bytes == 0


def blob(data: bytes) -> Descriptor:
    return Descriptor("application/octet-stream", digest_of(data), len(data))


@pytest.mark.parametrize("ranges", [True, False])
def test_downloads_resume_where_they_broke(tmp_path: Path, ranges: bool) -> None:
    data = os.urandom(200_000)
    layout = Layout.create(tmp_path / "l")
    with FakeRegistry(range_get=ranges) as fake:
        fake.add_blob("me/demo", data)
        layout.incoming.mkdir()
        (layout.incoming / f"{blob(data).digest[7:]}.part").write_bytes(data[:120_000])
        with connect_with()(parse_reference(f"{fake.host}/me/demo")) as registry:
            registry.download(blob(data), layout)
        assert layout.blob_path(blob(data).digest).read_bytes() == data
        assert fake.seen("GET", ".*")[0].headers["Range"] == "bytes=120000-"
    assert list(layout.incoming.iterdir()) == []


def test_wrong_bytes_are_refused(tmp_path: Path, registry: FakeRegistry) -> None:
    digest = registry.add_blob("me/demo", b"right")
    registry.blobs[digest] = b"wrong"
    layout = Layout.create(tmp_path / "l")
    with (
        connect_with()(parse_reference(f"{registry.host}/me/demo")) as client,
        pytest.raises(ProviderError, match="other bytes"),
    ):
        client.download(blob(b"right"), layout)
    assert not layout.has(blob(b"right"))


def test_the_login_does_not_follow_a_redirect_to_a_storage_host(tmp_path: Path) -> None:
    data = b"layer"
    with FakeRegistry() as storage, FakeRegistry(login=("me", SECRET), public_pull=False) as fake:
        storage.handle = lambda request: Reply(200, data)  # type: ignore[method-assign]
        fake.options.storage_url = storage.url.replace("127.0.0.1", "localhost")
        fake.add_blob("me/demo", data)
        with connect_with(LOGIN)(parse_reference(f"{fake.host}/me/demo")) as client:
            client.download(blob(data), Layout.create(tmp_path / "l"))
        assert [r.headers.get("Authorization") for r in storage.requests] == [None]


def test_a_login_is_not_sent_unencrypted_to_another_host(tmp_path: Path) -> None:
    with FakeRegistry(login=("me", SECRET)) as fake:
        challenge = {"WWW-Authenticate": 'Bearer realm="http://tokens.example.com/token",service="x"'}
        fake.fail("HEAD", ".*", Reply(401, None, challenge), times=9)
        with pytest.raises(ProviderError, match="unencrypted to tokens"):
            push(built(tmp_path), fake, connect=connect_with(LOGIN))


def test_download_to_a_full_disk_leaves_nothing(
    tmp_path: Path, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(50_000)
    registry.add_blob("me/demo", data)
    layout = Layout.create(tmp_path / "l")
    fill_disk_at(monkeypatch, 20_000)
    with connect_with()(parse_reference(f"{registry.host}/me/demo")) as client, pytest.raises(StorageError):
        client.download(blob(data), layout)
    assert list(layout.incoming.iterdir()) == []


# -- docker's own files


def write_config(home: Path, value: Any) -> dict[str, str]:
    (home / ".docker").mkdir(parents=True)
    (home / ".docker" / "config.json").write_text(json.dumps(value))
    return {"HOME": str(home), "PATH": os.environ["PATH"]}


def test_login_from_config_json(tmp_path: Path) -> None:
    auth = base64.b64encode(f"me:{SECRET}".encode()).decode()
    env = write_config(tmp_path, {"auths": {"ghcr.io": {"auth": auth}, "https://index.docker.io/v1/": {"auth": auth}}})
    assert find_login("ghcr.io", env) == LOGIN
    assert find_login("docker.io", env) == LOGIN
    assert find_login("quay.io", env) is None
    assert find_login("ghcr.io", {"HOME": str(tmp_path / "nobody")}) is None


def write_helper(folder: Path, script: str) -> None:
    path = folder / "docker-credential-fake"
    path.write_text(f"#!/bin/sh\nread host\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.mark.parametrize("config", [{"credsStore": "fake"}, {"credHelpers": {"ghcr.io": "fake"}}])
def test_login_from_a_credential_helper(tmp_path: Path, config: Any) -> None:
    env = write_config(tmp_path, config)
    env["PATH"] = f"{tmp_path}:{env['PATH']}"
    answer = json.dumps({"ServerURL": "ghcr.io", "Username": "me", "Secret": SECRET})
    write_helper(tmp_path, f"echo '{answer}'")
    assert find_login("ghcr.io", env) == LOGIN
    write_helper(tmp_path, "echo 'credentials not found in native keychain'; exit 1")
    assert find_login("ghcr.io", env) is None
    write_helper(tmp_path, f"echo {SECRET}; exit 2")
    with pytest.raises(NotLoggedIn) as failed:
        find_login("ghcr.io", env)
    assert SECRET not in str(failed.value)


@pytest.mark.parametrize(
    "config", [[], {"credsStore": "../../bin/evil"}, {"auths": {"ghcr.io": {"auth": "%%%"}}}, {"credsStore": "missing"}]
)
def test_odd_configs_are_refused(tmp_path: Path, config: Any) -> None:
    with pytest.raises(NotLoggedIn):
        find_login("ghcr.io", write_config(tmp_path, config))


def test_challenges() -> None:
    (one,) = parse_challenges(['Bearer realm="https://a/t",service="r.io",scope="repository:a/b:pull,push"'])
    assert (one.scheme, one.realm, one.service, one.scope) == (
        "bearer",
        "https://a/t",
        "r.io",
        "repository:a/b:pull,push",
    )
    both = parse_challenges(['Basic realm="x", Bearer realm="https://a/t",service=s'])
    assert [c.scheme for c in both] == ["bearer", "basic"]
    assert parse_challenges(["Negotiate"]) == []


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("python", "docker.io/library/python:latest"),
        ("me/model:1", "docker.io/me/model:1"),
        ("ghcr.io/me/model", "ghcr.io/me/model:latest"),
        ("localhost:5000/a/b/c:x_1", "localhost:5000/a/b/c:x_1"),
        ("127.0.0.1:5000/a@sha256:" + "0" * 64, "127.0.0.1:5000/a@sha256:" + "0" * 64),
        ("r8.im/me/model", "r8.im/me/model:latest"),
    ],
)
def test_references(text: str, full: str) -> None:
    assert str(parse_reference(text)) == full
    assert str(parse_reference(full)) == full


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Me/Model",
        "ghcr.io/",
        "ghcr.io/a//b",
        "a:b:c",
        "x@sha256:1",
        "a b",
        "ghcr.io/me/m:tag!",
        "-/x",
        "a\n",
        "$(id)",
    ],
)
def test_wrong_references_are_refused(text: str) -> None:
    with pytest.raises(SpecError):
        parse_reference(text)


def test_only_this_machine_is_spoken_to_without_tls() -> None:
    assert parse_reference("127.0.0.1:5000/x").api_url == "http://127.0.0.1:5000"
    assert parse_reference("10.0.0.1:5000/x").api_url == "https://10.0.0.1:5000"
    assert parse_reference("python").api_url == "https://registry-1.docker.io"
    assert str(LINUX_AMD64) == "linux/amd64"
