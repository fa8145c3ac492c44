"""Images: same input, same bytes; layers are what the spec and our promises say; failures leave nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import tracemalloc
from pathlib import Path
from typing import Any

import httpx
import pytest

from lukewarm.images import SCRATCH, ImageInput, build_image, lock, parse_reference
from lukewarm.images.layers import write_layer
from lukewarm.images.layout import Layout
from lukewarm.images.registry import Registry
from lukewarm.images.tree import walk
from lukewarm.predictors.errors import BundleError, ProviderError, SourceError, StorageError, UnsupportedError
from support.images import connect_with, fill_disk_at, make_artifact, silent
from support.oci_check import check_layout, members


def build(artifact: Path, store: Path, **more: Any) -> Any:
    given = ImageInput(name="demo", artifact=artifact, base=SCRATCH, command=("python", "main.py"), **more)
    store.mkdir(exist_ok=True)
    return build_image(given, store, connect_with(), silent)


def test_layout_is_valid_and_layers_hold_what_they_should(tmp_path: Path) -> None:
    image = build(make_artifact(tmp_path / "a"), tmp_path / "store", port=8080, env={"A": "b"}, labels={"l": "1"})
    layout = tmp_path / "store" / "layout"
    (checked,) = check_layout(layout).values()
    packages, weights, code = (members(layout, layer) for layer in checked["manifest"]["layers"])
    assert set(weights) == {"app", "app/bundle", "app/bundle/bundle.json", "app/bundle/weights.bin"}
    assert {"app/main.py", "app/weights.lock", "app/package/__init__.py", "app/lukewarm.json"} <= set(code)
    assert any(name.startswith("app/__pycache__/main.cpython-") for name in code)
    assert not any("bundle" in name for name in code)
    assert "opt/lukewarm/site" in packages
    config = checked["config"]["config"]
    assert config["Cmd"] == ["python", "main.py"]
    assert "PYTHONPATH=/opt/lukewarm/site" in config["Env"]
    assert "A=b" in config["Env"]
    assert config["ExposedPorts"] == {"8080/tcp": {}}
    assert config["Labels"] == {"l": "1"}
    assert image.total_bytes == sum(layer["size"] for layer in checked["manifest"]["layers"]) + image.config.size


def test_weights_travel_uncompressed_in_a_layer_of_their_own(tmp_path: Path) -> None:
    build(make_artifact(tmp_path / "a", weights=b"\0" * 50_000), tmp_path / "store")
    (checked,) = check_layout(tmp_path / "store" / "layout").values()
    layer = checked["manifest"]["layers"][1]
    assert layer["mediaType"] == "application/vnd.oci.image.layer.v1.tar"
    assert layer["size"] > 50_000


def test_same_input_twice_gives_the_same_digest(tmp_path: Path) -> None:
    first = build(make_artifact(tmp_path / "a"), tmp_path / "one")
    artifact = make_artifact(tmp_path / "b")
    for path in artifact.rglob("*"):
        os.utime(path, (time.time() - 10_000, 12345))
    (artifact / "main.py").chmod(0o600)
    second = build(artifact, tmp_path / "two")
    assert first.manifest == second.manifest


def test_other_code_changes_the_code_layer_only(tmp_path: Path) -> None:
    first = build(make_artifact(tmp_path / "a"), tmp_path / "store")
    second = build(make_artifact(tmp_path / "b", code="print('other')\n"), tmp_path / "store")
    assert [x.blob == y.blob for x, y in zip(first.layers, second.layers, strict=True)] == [True, True, False]
    assert first.manifest != second.manifest


def test_unchanged_weights_are_not_read_again(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path / "a")
    first = build(artifact, tmp_path / "store")
    (artifact / "bundle" / "weights.bin").chmod(0o644)
    said: list[str] = []
    given = ImageInput(name="demo", artifact=artifact, base=SCRATCH, command=("x",))
    second = build_image(given, tmp_path / "store", connect_with(), lambda message, _f: said.append(message))
    assert "weights layer" not in said
    assert second.layers[1] == first.layers[1]


def test_lock_lists_the_layer_and_verifies_the_folder(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path / "a")
    image = build(artifact, tmp_path / "store")
    written = tmp_path / "weights.lock"
    from lukewarm.predictors.bundle import Bundle

    value = lock.lock(Bundle.open(artifact / "bundle"), image.layers[1], "app/bundle")
    written.write_bytes(lock.encode(value))
    assert lock.read(written) == value
    assert value.layer.digest == image.layers[1].blob.digest
    lock.verify(value, artifact / "bundle")
    (artifact / "bundle" / "weights.bin").write_bytes(b"x" * 3000)
    with pytest.raises(BundleError, match="not the locked file"):
        lock.verify(value, artifact / "bundle")


def test_damaged_weights_do_not_get_into_an_image(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path / "a")
    (artifact / "bundle" / "weights.bin").write_bytes(b"x" * 3000)  # same size, other content
    with pytest.raises(BundleError, match="does not match its sha256"):
        build(artifact, tmp_path / "store")
    assert json.loads((tmp_path / "store" / "layout" / "index.json").read_bytes())["manifests"] == []


def test_budget_refuses_and_says_what_is_large(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path / "a", weights=os.urandom(200_000))
    with pytest.raises(UnsupportedError, match=r"weights 0\.2.*image_budget_mb allows 0\.1"):
        build(artifact, tmp_path / "store", budget_mb=0.1)


def test_full_disk_raises_storage_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout.create(tmp_path / "layout")
    source = tmp_path / "big"
    source.write_bytes(b"x" * 100_000)
    fill_disk_at(monkeypatch, 50_000)
    with pytest.raises(StorageError, match="No space left"):
        write_layer(layout, "weights", walk(source, "w"), "none")
    assert list(layout.incoming.iterdir()) == []
    assert list(layout.blobs.iterdir()) == []


def test_links_inside_stay_links_and_links_outside_become_files(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "d").mkdir(parents=True)
    (tree / "d" / "real").write_text("1")
    (tree / "inside").symlink_to("d/real")
    (tmp_path / "elsewhere").write_text("22")
    (tree / "outside").symlink_to(tmp_path / "elsewhere")
    kinds = {entry.path: (entry.kind, entry.size) for entry in walk(tree, "p")}
    assert kinds == {"p/d": ("dir", 0), "p/d/real": ("file", 1), "p/inside": ("link", 0), "p/outside": ("file", 2)}


@pytest.mark.parametrize("what", ["dangling", "folder", "pipe"])
def test_what_an_image_cannot_hold_is_refused_by_name(tmp_path: Path, what: str) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    bad = tree / "bad"
    if what == "dangling":
        bad.symlink_to("nowhere")
    elif what == "folder":
        bad.symlink_to(tmp_path)
    else:
        os.mkfifo(bad)
    with pytest.raises(SourceError, match="bad"):
        walk(tree, "p")


def test_a_file_that_shrinks_or_vanishes_meanwhile_is_named(tmp_path: Path) -> None:
    layout = Layout.create(tmp_path / "layout")
    source = tmp_path / "f"
    source.write_text("12345")
    entries = walk(source, "f")
    source.write_text("1")
    with pytest.raises(SourceError, match="shrank"):
        write_layer(layout, "x", entries)
    source.write_text("123456789")
    with pytest.raises(SourceError, match="grew"):
        write_layer(layout, "x", entries)
    source.unlink()
    with pytest.raises(SourceError, match="vanished"):
        write_layer(layout, "x", entries)
    assert list(layout.blobs.iterdir()) == []


def test_interrupted_runs_leave_nothing_behind(tmp_path: Path) -> None:
    layout = Layout.create(tmp_path / "layout")
    layout.incoming.mkdir()
    (layout.incoming / "999999999-abc").write_bytes(b"half")  # no such process
    (layout.incoming / f"{os.getpid()}-abc").write_bytes(b"at work")
    Layout.create(tmp_path / "layout")
    assert [path.name for path in layout.incoming.iterdir()] == [f"{os.getpid()}-abc"]
    (tmp_path / "store" / "work-999999999-x").mkdir(parents=True)
    build(make_artifact(tmp_path / "a"), tmp_path / "store")
    assert not list((tmp_path / "store").glob("work-*"))


def test_a_layer_is_never_in_memory(tmp_path: Path) -> None:
    """Neither when it is written nor when it is sent."""
    size = 64 << 20
    source = tmp_path / "weights"
    with source.open("wb") as stream:
        stream.truncate(size)
    layout = Layout.create(tmp_path / "layout")

    class Counting(httpx.BaseTransport):  # httpx's own mock reads a body whole
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            sent = sum(len(piece) for piece in request.stream)  # type: ignore[union-attr]
            assert sent > size or request.method != "PUT"
            status = 201 if request.method == "PUT" else 202
            return httpx.Response(status, headers={"location": "/v2/x/blobs/uploads/1"}, request=request)

    tracemalloc.start()
    layer = write_layer(layout, "weights", walk(source, "w"), "none")
    with Registry(parse_reference("127.0.0.1:1/x"), chunk_bytes=1 << 40, http=Counting()) as client:
        client.upload(layer.blob, layout.blob_path(layer.blob.digest))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_prune_keeps_what_images_use(tmp_path: Path) -> None:
    image = build(make_artifact(tmp_path / "a"), tmp_path / "store")
    image.layout.write_bytes(b"nobody's", "text/plain")
    before = check_layout(image.layout.root)
    assert image.layout.prune() == 0  # another build may have just written it
    assert image.layout.prune(min_age_s=0) == len(b"nobody's")
    assert check_layout(image.layout.root) == before


def test_a_layout_is_a_base_image_too(tmp_path: Path) -> None:
    first = build(make_artifact(tmp_path / "a"), tmp_path / "store", env={"FROM_BASE": "1"})
    given = ImageInput(
        name="child", artifact=tmp_path / "a", base=f"oci:{first.layout.root}", command=("y",), workdir="/srv"
    )
    (tmp_path / "store2").mkdir()
    child = build_image(given, tmp_path / "store2", connect_with(), silent)
    assert child.base.bytes == sum(layer.blob.size for layer in first.layers)
    config = child.layout.read_json(child.config)
    assert "FROM_BASE=1" in config["config"]["Env"]
    assert config["config"]["Cmd"] == ["y"]
    assert str(tmp_path) not in json.dumps(child.layout.read_json(child.manifest))


@pytest.mark.parametrize(
    ("base", "says"), [("oci:/nowhere", "not an OCI image layout"), ("127.0.0.1:9/x", "cannot be reached")]
)
def test_a_base_that_is_not_there(tmp_path: Path, base: str, says: str) -> None:
    given = ImageInput(name="demo", artifact=make_artifact(tmp_path / "a"), base=base, command=("x",))
    (tmp_path / "store").mkdir()
    with pytest.raises(ProviderError, match=says):
        build_image(given, tmp_path / "store", connect_with(), silent)


@pytest.mark.engine
def test_skopeo_accepts_the_layout(tmp_path: Path) -> None:
    assert shutil.which("skopeo"), "the engine lane needs skopeo: apt-get install skopeo"
    image = build(make_artifact(tmp_path / "a"), tmp_path / "store")
    name = f"oci:{image.layout.root}:demo"
    done = subprocess.run(["skopeo", "inspect", "--raw", name], capture_output=True, check=True)
    assert json.loads(done.stdout) == image.layout.read_json(image.manifest)
    copied = subprocess.run(
        ["skopeo", "copy", "--insecure-policy", name, f"dir:{tmp_path / 'copy'}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert copied.returncode == 0, copied.stderr
