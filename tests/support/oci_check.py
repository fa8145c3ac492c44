"""Strict checks of an OCI image layout, written from the image spec and independent of the code that builds it."""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any


def read_blob(layout: Path, descriptor: dict[str, Any]) -> bytes:
    algorithm, _, encoded = descriptor["digest"].partition(":")
    assert algorithm == "sha256"
    data = (layout / "blobs" / "sha256" / encoded).read_bytes()
    assert hashlib.sha256(data).hexdigest() == encoded, f"{descriptor['digest']} is not what its name says"
    assert len(data) == descriptor["size"]
    return data


def check_layout(layout: Path) -> dict[str, dict[str, Any]]:
    """Check everything in a layout; returns config and manifest of each image by its reference name."""
    assert json.loads((layout / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads((layout / "index.json").read_bytes())
    assert index["schemaVersion"] == 2
    found = {}
    for item in index["manifests"]:
        assert item["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
        manifest = json.loads(read_blob(layout, item))
        found[item["annotations"]["org.opencontainers.image.ref.name"]] = {
            "manifest": manifest,
            "config": check_image(layout, manifest),
        }
    return found


def check_image(layout: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    assert manifest["schemaVersion"] == 2
    assert manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert manifest["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
    config: dict[str, Any] = json.loads(read_blob(layout, manifest["config"]))
    assert config["os"] == "linux"
    assert config["rootfs"]["type"] == "layers"
    assert len(config["rootfs"]["diff_ids"]) == len(manifest["layers"])
    assert sum(not h.get("empty_layer") for h in config["history"]) == len(manifest["layers"])
    for layer, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
        data = unpacked(layout, layer)
        assert "sha256:" + hashlib.sha256(data).hexdigest() == diff_id
    return config


def unpacked(layout: Path, layer: dict[str, Any]) -> bytes:
    data = read_blob(layout, layer)
    if layer["mediaType"].endswith("+gzip"):
        return gzip.decompress(data)
    assert layer["mediaType"] == "application/vnd.oci.image.layer.v1.tar"
    return data


def members(layout: Path, layer: dict[str, Any]) -> dict[str, tarfile.TarInfo]:
    """The tar's entries, each checked for what a layer of ours promises: owner 0, time 0, sane names, parents first."""
    import io

    found: dict[str, tarfile.TarInfo] = {}
    with tarfile.open(fileobj=io.BytesIO(unpacked(layout, layer))) as tar:
        for info in tar:
            assert not info.name.startswith(("/", "../")), info.name
            assert "/../" not in info.name
            assert (info.uid, info.gid, info.mtime, info.uname, info.gname) == (0, 0, 0, "", "")
            assert info.name not in found, f"{info.name} stands twice"
            parent = info.name.rpartition("/")[0]
            assert not parent or found[parent].isdir(), f"{parent} does not come before {info.name}"
            found[info.name] = info
    return found
