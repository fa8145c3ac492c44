"""Images that lukewarm built, pulled and run by a real engine from a real registry. `make test-engine` starts both."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lukewarm.adapters.build import Artifact, build
from lukewarm.adapters.push.image import image_input
from lukewarm.adapters.targets import TARGETS
from lukewarm.images import ImageInput, build_image, parse_reference, push_image
from lukewarm.images.auth import Login
from lukewarm.images.dependencies import Packages, install
from lukewarm.images.oci import Descriptor, digest_of
from lukewarm.images.registry import Registry
from lukewarm.predictors.errors import NotLoggedIn, SourceError, StorageError
from lukewarm.predictors.spec import ModelSpec
from support.images import connect_with, make_artifact, make_bundle, silent

pytestmark = pytest.mark.engine
SPEC = ModelSpec(name="demo", backend="echo", precision="none")
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture(scope="module")
def registry() -> str:
    found = os.environ.get("LUKEWARM_REGISTRY")
    assert found, "no registry and engine: run `make test-engine`, which starts them"
    return found


@pytest.fixture(scope="module")
def base(registry: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """This machine's CPython as a base image, in the registry."""
    sys.path.insert(0, str(Path(__file__).parent))
    from host_base import make_base

    store = tmp_path_factory.mktemp("base")
    given = ImageInput(
        name="python", artifact=make_artifact(store / "artifact"), base=make_base(store), command=("python",)
    )
    image = build_image(given, store, Registry, silent)
    layout = image.layout
    found = layout.find("host-python", given.platform)
    config = Descriptor.from_json(layout.read_json(found)["config"], "base")
    bare = dataclasses.replace(image, manifest=found, layers=(), config=config)  # without layers of ours on top
    reference = parse_reference(f"{registry}/library/python:{PYTHON}-slim")
    push_image(bare, reference, Registry, silent)
    return str(reference)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def make(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Artifact]:
    root = tmp_path_factory.mktemp("project")
    bundle = make_bundle(root / "bundle")
    return lambda target: build(target, SPEC, root, bundle, root / target)


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
    return done.stdout.strip()


class Container:
    """A running container on the host's network; its log is shown when it fails."""

    def __init__(self, reference: str, **env: str) -> None:
        flags = [flag for name, value in env.items() for flag in ("-e", f"{name}={value}")]
        self.id = docker("run", "-d", "--network", "host", *flags, reference)

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *_exc: object) -> None:
        docker("rm", "-f", self.id)

    def get_ready(self, url: str, ready: Callable[[httpx.Response], bool]) -> float:
        """Seconds until ready."""
        start = time.monotonic()
        while time.monotonic() - start < 60:
            try:
                if ready(httpx.get(url, timeout=2)):
                    return time.monotonic() - start
            except httpx.TransportError:
                pass
            assert docker("inspect", "-f", "{{.State.Running}}", self.id) == "true", self.log()
            time.sleep(0.1)
        raise AssertionError(f"not ready within 60 s: {self.log()}")

    def log(self) -> str:
        command = ["docker", "logs", self.id]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False).stdout


def pushed(target: str, make: Callable[[str], Artifact], store: Path, registry: str, base: str) -> tuple[Any, Any, str]:
    given = image_input(TARGETS.load(target), SPEC, store, make(target), base)
    image = build_image(given, store, Registry, silent)
    reference = f"{registry}/me/demo-{target}:1"
    return image, push_image(image, parse_reference(reference), Registry, silent), reference


def test_the_http_server_answers_from_a_container(
    make: Callable[[str], Artifact], store: Path, registry: str, base: str, free_port: int
) -> None:
    image, sent, reference = pushed("cloudrun", make, store, registry, base)
    assert sent.mounted_bytes == image.base.bytes > 10e6  # the base is in the registry: it does not travel again
    docker("pull", "-q", reference)
    assert docker("inspect", "-f", "{{index .RepoDigests 0}}", reference).endswith(sent.digest)
    with Container(reference, PORT=str(free_port)) as container:
        url = f"http://127.0.0.1:{free_port}"
        container.get_ready(f"{url}/readyz", lambda reply: reply.status_code == 200)
        answer = httpx.post(f"{url}/predict", json={"prompt": "one two three"}, timeout=10).json()
        assert answer["text"] == "one two three"
        # bytecode came with our layers: only the stand-in base's own library was compiled at start
        changed = docker("diff", container.id).splitlines()
        assert not [line for line in changed if line.endswith(".pyc") and "/opt/python/" not in line], changed
        assert docker("exec", container.id, "python", "-c", _VERIFY) == "verified"


_VERIFY = """
import hashlib, json, pathlib
lock = json.loads(pathlib.Path('/app/weights.lock').read_bytes())
for file in lock['files']:
    data = pathlib.Path('/app/bundle', file['path']).read_bytes()
    assert hashlib.sha256(data).hexdigest() == file['sha256'], file
print('verified')
"""


def test_cog_answers_from_a_container_built_without_cog(
    make: Callable[[str], Artifact], store: Path, registry: str, base: str, free_port: int
) -> None:
    _image, _sent, reference = pushed("cog", make, store, registry, base)
    docker("pull", "-q", reference)
    labels = json.loads(docker("inspect", "-f", "{{json .Config.Labels}}", reference))
    assert json.loads(labels["run.cog.openapi_schema"])["paths"]["/predictions"]
    with Container(reference, PORT=str(free_port)) as container:
        url = f"http://127.0.0.1:{free_port}"
        container.get_ready(f"{url}/health-check", lambda reply: reply.json().get("status") == "READY")
        reply = httpx.post(f"{url}/predictions", json={"input": {"prompt": "one two"}}, timeout=10).json()
        assert reply["status"] == "succeeded"
        assert "".join(reply["output"]) == "one two"


def test_changed_code_sends_only_code(
    make: Callable[[str], Artifact], store: Path, registry: str, base: str, tmp_path: Path
) -> None:
    image, _sent, reference = pushed("cloudrun", make, store, registry, base)
    artifact = make("cloudrun")
    changed = tmp_path / "changed"
    shutil.copytree(artifact.root, changed)
    (changed / "extra.py").write_text("VALUE = 2\n")
    given = image_input(TARGETS.load("cloudrun"), SPEC, store, Artifact.open(changed), base)
    other = build_image(given, store, Registry, silent)
    sent = push_image(other, parse_reference(reference.replace(":1", ":2")), Registry, silent)
    assert sent.uploaded_bytes == other.layers[-1].blob.size + other.config.size < image.total_bytes / 20


def test_packages_installed_twice_give_the_same_digest(
    make: Callable[[str], Artifact], store: Path, tmp_path: Path, registry: str, base: str
) -> None:
    given = image_input(TARGETS.load("cloudrun"), SPEC, store, make("cloudrun"), base)
    first = build_image(given, store, Registry, silent)
    (tmp_path / "other").mkdir()
    second = build_image(given, tmp_path / "other", Registry, silent)
    assert first.manifest == second.manifest


@pytest.mark.parametrize("python", ["3.10", "3.12"])
def test_packages_are_those_of_the_image_and_not_of_this_machine(tmp_path: Path, python: str) -> None:
    if python == PYTHON:
        python = "3.13"
    site = install(Packages(("msgspec>=0.19",), python), tmp_path)
    tag = f"cpython-{python.replace('.', '')}-x86_64-linux-gnu"
    assert [path for path in site.rglob("*.so") if tag in path.name]
    with pytest.raises(SourceError, match="cannot be installed"):
        install(Packages(("msgspec==0.0.1",), python), tmp_path / "wrong")


def test_skopeo_copies_what_was_pushed(
    make: Callable[[str], Artifact], store: Path, registry: str, base: str, tmp_path: Path
) -> None:
    image, _sent, reference = pushed("cloudrun", make, store, registry, base)
    copy = ["skopeo", "copy", "--insecure-policy", "--src-tls-verify=false", f"docker://{reference}", f"dir:{tmp_path}"]
    done = subprocess.run(copy, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert digest_of((tmp_path / "manifest.json").read_bytes()) == image.manifest.digest


@pytest.fixture
def private_registry(tmp_path: Path, free_port: int) -> Iterator[str]:
    """docker-registry with a password, on a port of its own."""
    with warnings.catch_warnings():  # gone in Python 3.13; nothing else here can make a bcrypt hash
        warnings.simplefilter("ignore", DeprecationWarning)
        import crypt
    hashed = crypt.crypt("correct horse", crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=1 << 5))
    (tmp_path / "htpasswd").write_text(f"me:{hashed}\n")
    config = {
        "version": 0.1, "log": {"level": "warn"}, "storage": {"filesystem": {"rootdirectory": str(tmp_path / "data")}},
        "http": {"addr": f"127.0.0.1:{free_port}"},
        "auth": {"htpasswd": {"realm": "r", "path": str(tmp_path / "htpasswd")}},
    }  # fmt: skip
    (tmp_path / "registry.yml").write_text(json.dumps(config))
    with subprocess.Popen(
        ["docker-registry", "serve", str(tmp_path / "registry.yml")], stderr=subprocess.DEVNULL
    ) as process:
        for _ in range(100):
            try:
                httpx.get(f"http://127.0.0.1:{free_port}/v2/")
                break
            except httpx.TransportError:
                time.sleep(0.1)
        yield f"127.0.0.1:{free_port}"
        process.terminate()


def test_a_real_registry_with_a_password_and_large_chunks(private_registry: str, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    artifact = make_artifact(tmp_path / "artifact", weights=os.urandom(5_000_000))
    image = build_image(
        ImageInput(name="demo", artifact=artifact, base="scratch", command=("x",)),
        tmp_path / "images",
        connect_with(),
        silent,
    )
    reference = parse_reference(f"{private_registry}/me/demo:1")
    with pytest.raises(NotLoggedIn):
        push_image(image, reference, connect_with(), silent)
    with pytest.raises(NotLoggedIn):
        push_image(image, reference, connect_with(Login("me", "wrong")), silent)
    connect = connect_with(Login("me", "correct horse"), chunk_bytes=1 << 20)  # five PATCHes
    assert push_image(image, reference, connect, silent).uploaded_bytes == image.total_bytes
    with connect(reference) as client:
        assert client.digest_at("1") == image.manifest.digest


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)], check=True)
    try:
        artifact = make_artifact(tmp_path / "artifact", weights=os.urandom(5_000_000))
        given = ImageInput(name="demo", artifact=artifact, base="scratch", command=("x",))
        with pytest.raises(StorageError, match="No space left"):
            build_image(given, small, connect_with(), silent)
        left = [path for path in small.rglob("*") if path.is_file() and path.stat().st_size > 100_000]
        assert left == []
        assert json.loads((small / "layout" / "index.json").read_bytes())["manifests"] == []
    finally:
        subprocess.run(["umount", str(small)], check=True)
