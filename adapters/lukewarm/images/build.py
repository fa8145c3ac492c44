"""Builds an image without an engine: base, then packages, then weights, then code; each layer only when it changed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lukewarm.images import cache, lock, oci
from lukewarm.images.base import Base, Connect, open_base
from lukewarm.images.dependencies import SITE, Packages, can_compile, compile_tree, install
from lukewarm.images.layers import Layer, write_layer
from lukewarm.images.layout import Layout, disk_errors, is_alive
from lukewarm.images.oci import LINUX_AMD64, Descriptor, Platform
from lukewarm.images.tree import Entry, walk
from lukewarm.predictors.ahead import MANIFEST as BUNDLE_MANIFEST
from lukewarm.predictors.bundle import Bundle, sha256
from lukewarm.predictors.errors import StorageError, UnsupportedError
from lukewarm.serving import slim

Progress = Callable[[str, float | None], None]
BUNDLE_DIR = "bundle"
# of an artifact, but of no use in a running image
_LEFT_OUT = {"Dockerfile", ".dockerignore", "requirements.txt", "artifact.json"}


@dataclass(frozen=True, kw_only=True)
class ImageInput:
    """All that decides an image. Equal input and equal base: equal digest (on one zlib version)."""

    name: str
    artifact: Path  # a built artifact: `bundle/` and everything that runs
    base: str  # `scratch`, `oci:FOLDER[@NAME]` or a reference
    command: tuple[str, ...]
    requirements: tuple[str, ...] = ()
    closed: bool = False  # they are all that is needed
    python: str = "3.11"
    workdir: str = "/app"
    env: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    port: int | None = None
    platform: Platform = LINUX_AMD64
    budget_mb: float | None = None  # bytes that travel, base included; 1 MB is 10^6 bytes


@dataclass(frozen=True, kw_only=True)
class Image:
    """A built image in a layout. Base layers may not be there yet: they are fetched when a registry asks for them."""

    name: str
    manifest: Descriptor
    config: Descriptor
    base: Base
    layers: tuple[Layer, ...]  # ours, on top of the base's
    layout: Layout

    @property
    def total_bytes(self) -> int:
        """Bytes that a host pulls: all layers as they travel, and the config."""
        return self.base.bytes + sum(layer.blob.size for layer in self.layers) + self.config.size

    @property
    def parts(self) -> dict[str, int]:
        """Bytes as they travel, by part: base, packages, weights, code."""
        return {"base": self.base.bytes, **{layer.name: layer.blob.size for layer in self.layers}}


def build_image(given: ImageInput, store: Path, connect: Connect, progress: Progress) -> Image:
    """Build into the layout below `store`; nothing is pushed.

    Raises ProviderError (base image), SourceError (packages), BundleError (weights), StorageError (disk),
    UnsupportedError (over budget). What it began and did not finish is removed.
    """
    layout = Layout.create(store / "layout")
    _sweep(store)
    progress(f"base image {given.base}", None)
    base = open_base(given.base, given.platform, connect)
    bundle = Bundle.open(given.artifact / BUNDLE_DIR)
    packages = _packages_layer(given, layout, store, progress)
    weights, locked = _weights_layer(given, bundle, layout, store, progress)
    progress("code layer", None)
    code = _code_layer(given, layout, store, locked)
    image = _assemble(given, base, (packages, weights, code), layout)
    if given.budget_mb is not None and image.total_bytes > given.budget_mb * 1e6:
        parts = ", ".join(f"{name} {size / 1e6:.1f}" for name, size in image.parts.items())
        raise UnsupportedError(
            f"the image of {given.name} has {image.total_bytes / 1e6:.1f} MB ({parts}), image_budget_mb allows "
            f"{given.budget_mb:g}; choose a smaller precision, a smaller base, or raise the budget"
        )
    layout.set_ref(given.name, image.manifest, given.platform)
    layout.prune()
    return image


def _packages_layer(given: ImageInput, layout: Layout, store: Path, progress: Progress) -> Layer:
    packages = Packages(given.requirements, given.python, given.platform, given.closed)
    how = sha256(Path(slim.__file__)) if given.closed else "as pip resolves"
    compiled = can_compile(given.python)
    if not compiled:
        progress(f"no python{given.python} on PATH: the image gets no bytecode, and compiles at every start", None)
    key = cache.key("packages", given.requirements, given.python, str(given.platform), SITE, str(compiled), how)
    if layer := cache.load(store, key, layout):
        return layer
    progress(f"installing {len(given.requirements)} packages for Python {given.python}", None)
    with _workspace(store) as work:
        site = install(packages, work)
        progress("packages layer", None)
        entries = walk(site, SITE) or [Entry(SITE, "dir", 0o755)]
        return cache.save(store, key, write_layer(layout, "packages", entries))


def _weights_layer(
    given: ImageInput, bundle: Bundle, layout: Layout, store: Path, progress: Progress
) -> tuple[Layer, lock.WeightsLock]:
    """One uncompressed layer: weights hardly shrink, and unpacking them costs a cold start more than pulling them."""
    folder = f"{given.workdir.strip('/')}/{BUNDLE_DIR}"
    entries = walk(bundle.root, folder)
    listing = tuple(f"{entry.path} {entry.kind} {entry.mode} {entry.size} {entry.target}" for entry in entries)
    key = cache.key("weights", bundle.digest, sha256(bundle.root / BUNDLE_MANIFEST), *listing)
    layer = cache.load(store, key, layout)
    if layer is None:
        total, done = max(1, sum(entry.size for entry in entries)), 0

        def advance(read: int) -> None:
            nonlocal done
            done += read
            progress("weights layer", done / total)

        layer = write_layer(layout, "weights", entries, "none", advance)
        locked = lock.lock(bundle, layer, folder)  # before the cache: damaged weights must not get in
        cache.save(store, key, layer)
        return layer, locked
    return layer, lock.lock(bundle, layer, folder)


def _code_layer(given: ImageInput, layout: Layout, store: Path, locked: lock.WeightsLock) -> Layer:
    """Everything of the artifact but the weights, with bytecode and the weights' lock."""

    def keep(path: str) -> bool:
        first = path.split("/")[0]
        return first != BUNDLE_DIR and path not in _LEFT_OUT and "__pycache__" not in path.split("/")

    with _workspace(store) as work:
        folder = work / "code"
        folder.mkdir()
        for entry in walk(given.artifact, "", keep):
            target = folder / entry.path
            if entry.kind == "dir":
                target.mkdir(exist_ok=True)
            elif entry.kind == "link":
                target.symlink_to(entry.target)
            elif entry.source is not None:
                shutil.copy(entry.source, target)
        (folder / lock.NAME).write_bytes(lock.encode(locked))
        compile_tree(folder, given.python, given.workdir.strip("/"))
        return write_layer(layout, "code", walk(folder, given.workdir))


def _assemble(given: ImageInput, base: Base, layers: tuple[Layer, ...], layout: Layout) -> Image:
    value = {
        "architecture": given.platform.architecture,
        "os": given.platform.os,
        "created": oci.EPOCH,
        "config": _run_config(given, base),
        "rootfs": {
            "type": "layers",
            "diff_ids": [*(base.config.get("rootfs") or {}).get("diff_ids", []), *(layer.diff_id for layer in layers)],
        },
        "history": [
            *_base_history(base),
            *({"created": oci.EPOCH, "created_by": f"lukewarm: {layer.name}"} for layer in layers),
        ],
    }
    config = layout.write_json(value, oci.CONFIG)
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": oci.MANIFEST,
        "config": config.to_json(),
        "layers": [blob.to_json() for blob in (*base.layers, *(layer.blob for layer in layers))],
    }
    if base.reference is not None:  # a path on this machine is nobody's business
        manifest["annotations"] = {
            "org.opencontainers.image.base.name": base.reference.name,
            "org.opencontainers.image.base.digest": str(base.reference.digest),
        }
    return Image(
        name=given.name, manifest=layout.write_json(manifest, oci.MANIFEST), config=config, base=base, layers=layers,
        layout=layout,
    )  # fmt: skip


def _run_config(given: ImageInput, base: Base) -> dict[str, Any]:
    config = dict(base.config.get("config") or {})
    env = dict(line.partition("=")[::2] for line in config.get("Env") or [])
    path = env.get("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    env |= {**given.env, "PATH": f"/{SITE}/bin:{given.env.get('PATH', path)}"}
    env["PYTHONPATH"] = ":".join(filter(None, (given.env.get("PYTHONPATH"), f"/{SITE}")))
    config["Env"] = [f"{name}={value}" for name, value in env.items()]
    config["WorkingDir"] = given.workdir
    config.pop("Entrypoint", None)
    config["Cmd"] = list(given.command)
    labels = {**(config.get("Labels") or {}), **given.labels}
    if labels:
        config["Labels"] = labels
    if given.port is not None:
        config["ExposedPorts"] = {**(config.get("ExposedPorts") or {}), f"{given.port}/tcp": {}}
    return config


def _base_history(base: Base) -> list[dict[str, Any]]:
    """The base's history if it accounts for its layers, else one line per layer: consumers compare the counts."""
    history = list(base.config.get("history") or [])
    if sum(not item.get("empty_layer") for item in history) == len(base.layers):
        return history
    return [{"created": oci.EPOCH, "created_by": "base image"} for _ in base.layers]


def _sweep(store: Path) -> None:
    """Remove the work folders of builds that were killed."""
    for work in store.glob("work-*-*"):
        pid = work.name.split("-")[1]
        if pid.isdigit() and not is_alive(int(pid)):
            shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _workspace(store: Path) -> Iterator[Path]:
    with disk_errors(store):
        work = Path(tempfile.mkdtemp(prefix=f"work-{os.getpid()}-", dir=store))
    try:
        with disk_errors(work):
            yield work
    except shutil.Error as error:  # shutil wraps several OSErrors in one
        raise StorageError(f"{work} cannot be written: {error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
