"""Building: whole or not at all, nothing foreign overwritten, weights linked, sources vendored, budgets kept."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lukewarm.adapters import build as builder
from lukewarm.adapters.build import MARK, Artifact, build
from lukewarm.adapters.requirements import installed_bytes
from lukewarm.adapters.vendor import included_files, shipped_sources
from lukewarm.predictors.ahead import MANIFEST
from lukewarm.predictors.bundle import list_files
from lukewarm.predictors.errors import BundleError, SpecError, StorageError, UnsupportedError
from lukewarm.predictors.spec import ModelSpec
from support.echo_bundle import write_echo_bundle

SPEC = ModelSpec(name="echo", backend="echo", precision="none")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    root = write_echo_bundle(tmp_path / "bundle")
    (root / "weights.bin").write_bytes(b"w" * 1000)
    manifest = json.loads((root / MANIFEST).read_bytes())
    manifest["files"] = msgspec.to_builtins(list_files(root))
    (root / MANIFEST).write_text(json.dumps(manifest))
    return root


def make(tmp_path: Path, bundle: Path, spec: ModelSpec = SPEC, target: str = "cloudrun") -> Artifact:
    return build(target, spec, tmp_path, bundle, tmp_path / "out" / target)


def test_every_file_is_listed_with_its_digest(tmp_path: Path, bundle: Path) -> None:
    artifact = make(tmp_path, bundle)
    listed = {file.path: file for file in artifact.manifest.files}
    found = {path.relative_to(artifact.root).as_posix() for path in artifact.root.rglob("*") if path.is_file()}
    assert found == {*listed, MARK}
    for path, file in listed.items():
        content = (artifact.root / path).read_bytes()
        assert (file.bytes, file.sha256) == (len(content), hashlib.sha256(content).hexdigest()), path
    assert artifact.manifest.weights_bytes == 1000
    assert artifact.manifest.total_bytes == sum(file.bytes for file in listed.values())
    assert Artifact.open(artifact.root).manifest == artifact.manifest


def test_weights_are_linked_not_copied(tmp_path: Path, bundle: Path) -> None:
    root = make(tmp_path, bundle).root
    assert (root / "bundle/weights.bin").samefile(bundle / "weights.bin")
    assert not (root / "lukewarm/predictors/echo.py").samefile(shipped_sources()["lukewarm/predictors/echo.py"])


def test_weights_are_copied_where_links_are_refused(
    tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    root = make(tmp_path, bundle).root
    assert (root / "bundle/weights.bin").read_bytes() == b"w" * 1000


def test_an_unchanged_artifact_is_left_alone_and_a_changed_one_replaced(tmp_path: Path, bundle: Path) -> None:
    first = make(tmp_path, bundle)
    stamp = (first.root / MARK).stat().st_mtime_ns
    again = make(tmp_path, bundle)
    assert (first.fresh, again.fresh) == (True, False)
    assert (again.root / MARK).stat().st_mtime_ns == stamp
    (first.root / "requirements.txt").write_text("damaged by hand")
    assert make(tmp_path, bundle).fresh
    other = make(tmp_path, bundle, msgspec.structs.replace(SPEC, env={"A": "b"}))
    assert other.fresh
    assert other.manifest.key != first.manifest.key


def test_a_foreign_folder_is_not_touched(tmp_path: Path, bundle: Path) -> None:
    mine = tmp_path / "out/cloudrun/thesis.tex"
    mine.parent.mkdir(parents=True)
    mine.write_text("precious")
    with pytest.raises(StorageError, match=r"not written by lukewarm; choose another with --out"):
        make(tmp_path, bundle)
    assert mine.read_text() == "precious"
    assert list(mine.parent.iterdir()) == [mine]


def test_a_failure_leaves_what_was_there(tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = make(tmp_path, bundle)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(builder, "_link_or_copy", full)
    with pytest.raises(StorageError, match=f"cannot write below {before.root.parent}: No space"):
        make(tmp_path, bundle, msgspec.structs.replace(SPEC, env={"A": "b"}))
    assert Artifact.open(before.root).manifest == before.manifest
    assert [path.name for path in before.root.parent.iterdir()] == ["cloudrun"]


def test_a_damaged_bundle_is_refused_before_anything_is_written(tmp_path: Path, bundle: Path) -> None:
    (bundle / "weights.bin").write_bytes(b"x" * 1000)
    with pytest.raises(BundleError, match="sha256"):
        make(tmp_path, bundle)
    assert not (tmp_path / "out").exists()


def test_a_bundle_of_another_backend_is_refused(tmp_path: Path, bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"text-generation on echo, the spec says text-generation on ct2"):
        make(tmp_path, bundle, msgspec.structs.replace(SPEC, backend="ct2", precision="int8"))


def test_the_budget_counts_weights_and_packages(tmp_path: Path, bundle: Path) -> None:
    packages = installed_bytes(("msgspec",))
    assert packages > 100_000
    assert installed_bytes(("no-such-package",)) == 0
    with pytest.raises(UnsupportedError, match=r"image_budget_mb allows 0.01"):
        make(tmp_path, bundle, msgspec.structs.replace(SPEC, image_budget_mb=0.01))
    assert not (tmp_path / "out").exists()
    assert make(tmp_path, bundle, msgspec.structs.replace(SPEC, image_budget_mb=1000.0)).fresh


def test_the_users_files_go_along(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/model.py").write_text("x = 1\n")
    (tmp_path / "mine/__pycache__").mkdir()
    (tmp_path / "mine/__pycache__/model.pyc").write_text("")
    root = make(tmp_path, bundle, msgspec.structs.replace(SPEC, include=["mine"])).root
    assert (root / "mine/model.py").read_text() == "x = 1\n"
    assert not (root / "mine/__pycache__").exists()


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", ".", "absent", "link"])
def test_what_may_not_go_along(tmp_path: Path, name: str) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "secret").write_text("s")
    (tmp_path / "project/link").symlink_to(tmp_path / "secret")
    with pytest.raises(SpecError, match="include"):
        included_files([name], tmp_path / "project")


def test_the_vendored_sources_serve_alone(tmp_path: Path, bundle: Path) -> None:
    """In a process that cannot see the installed package, the artifact's copy answers."""
    root = make(tmp_path, bundle).root
    code = (
        "import msgspec, sys; from pathlib import Path; from lukewarm.serving.engine import Engine; "
        "import lukewarm.predictors as p; assert Path(p.__file__).is_relative_to(Path.cwd()), p.__file__; "
        "e = Engine.open(Path('.')); e.start(); print(e.predict({'prompt': 'a b'})['text']); e.close()"
    )
    site = Path(msgspec.__file__).parents[1]
    # -S keeps the editable install's .pth out
    prelude = f"import sys; sys.path[:0] = ['', {str(site)!r}]\n"
    done = subprocess.run(
        [sys.executable, "-S", "-c", prelude + code], cwd=root, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.returncode) == ("a b\n", 0), done.stderr


def test_options_of_a_target_that_does_not_exist_are_refused(tmp_path: Path, bundle: Path) -> None:
    with pytest.raises(SpecError, match=r"targets.cogg: unknown target 'cogg' \(did you mean 'cog'\?\)"):
        make(tmp_path, bundle, msgspec.structs.replace(SPEC, targets={"cogg": {}}))


def _own_class(tmp_path: Path, **spec: Any) -> ModelSpec:
    from lukewarm.convert import convert_model

    own = ModelSpec(name="up", task="custom", backend="custom", precision="none", predictor="up:Up", **spec)
    convert_model(own, tmp_path, tmp_path / "bundles")
    return own


def test_the_file_of_ones_own_class_needs_no_include(tmp_path: Path) -> None:
    source = "class Up:\n    def predict(self, text: str) -> str:\n        return text.upper()\n"
    (tmp_path / "up.py").write_text(source)
    artifact = build("cloudrun", _own_class(tmp_path), tmp_path, tmp_path / "bundles/up-custom-none", tmp_path / "out")
    assert (artifact.root / "up.py").is_file()
    elsewhere = tmp_path / "elsewhere"
    with pytest.raises(SpecError, match=r"there is no up\.py"):
        build("cloudrun", _own_class(tmp_path), elsewhere, tmp_path / "bundles/up-custom-none", tmp_path / "other")


def test_sections_of_the_spec_reach_an_engine_over_a_bundle(tmp_path: Path) -> None:
    from lukewarm.serving.engine import Engine
    from support.echo_bundle import write_echo_bundle

    bundle = write_echo_bundle(tmp_path / "echo")
    assert Engine.open(bundle, spec={"limits": {"max_new_tokens": 7}}).spec.limits.max_new_tokens == 7
    assert Engine.open(bundle).spec.limits.max_new_tokens == 1024
