"""`lukewarm convert` as typed: with a spec, without one, many at once, JSON, exit codes. Conversions are fakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lukewarm.cli.main import run
from lukewarm.convert import table
from support import fake_conversion
from support.sources import write_source


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A spec and its source in the current directory; hf and ct2 are fakes that convert in a moment."""
    monkeypatch.setattr(table, "CONVERTERS", dict(table.CONVERTERS))
    monkeypatch.setattr(table, "MEASURES", dict(table.MEASURES))
    monkeypatch.setattr(fake_conversion.FakeMeasure, "ratio", 1.0)
    fake_conversion.install()
    for backend in ("hf", "ort"):
        table.CONVERTERS[("text-generation", backend)] = "fake_conversion"
    table.CONVERTERS.pop(("text-generation", "bnb"))
    write_source(tmp_path / "model")
    (tmp_path / "lukewarm.yaml").write_text("name: tiny\nsource: model\nbackend: ct2\nprecision: int8\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def bundles(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def test_one_line_for_one_bundle(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["convert"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("tiny-ct2-int8: 0.1 MB, ")
    assert "perplexity ×1.000" in captured.out
    assert captured.out.count("\n") == 1
    assert run(["convert"]) == 0
    assert "unchanged" in capsys.readouterr().out
    assert bundles(project / ".lukewarm" / "bundles") == ["tiny-ct2-int8"]


def test_several_backends_and_precisions(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["convert", "--backend", "hf", "--backend", "ct2", "--precision", "fp32", "--precision", "int8"]) == 0
    assert bundles(project / ".lukewarm" / "bundles") == ["tiny-ct2-fp32", "tiny-ct2-int8", "tiny-hf-fp32"]


def test_a_backend_without_the_specs_precision_takes_its_safest(project: Path) -> None:
    assert run(["convert", "--backend", "hf"]) == 0
    assert bundles(project / ".lukewarm" / "bundles") == ["tiny-hf-fp32"]


@pytest.mark.parametrize(
    "verb", [["predict", "hi"], ["build", "bento"], ["serve", "--request", "{}"], ["push", "modal", "--dry-run"]]
)
def test_what_convert_took_is_what_the_other_verbs_look_for(
    project: Path, verb: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "lukewarm.yaml").write_text("name: tiny\nsource: model\nbackend: hf\n")
    assert run(verb) == 6
    assert "tiny-hf-fp32 (bundle.json is missing)" in capsys.readouterr().err


def test_a_precision_that_nobody_has_is_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "lukewarm.yaml").write_text("name: tiny\nsource: model\nbackend: ct2\nprecision: int9\n")
    for verb in (["convert"], ["predict", "hi"], ["build", "bento"]):
        assert run(verb) == 5
        assert "unknown precision for text-generation on ct2 'int9' (did you mean 'int8'?)" in capsys.readouterr().err
    assert not (project / ".lukewarm").exists()


def test_all_prints_json_of_every_bundle(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["convert", "--all", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {(row["backend"], row["precision"]) for row in rows} >= {("hf", "bf16"), ("ct2", "int8w"), ("ort", "int4")}
    assert all(Path(row["path"]).is_dir() and row["bytes"] > 0 and row["refused"] == "" for row in rows)


def test_without_a_spec(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "lukewarm.yaml").unlink()
    assert run(["convert", "--source", "model", "--backend", "ct2", "--precision", "int8", "--out", "here"]) == 0
    assert bundles(project / "here") == ["model-ct2-int8"]
    assert not (project / "cache").exists(), "nothing is written beside the user's folder"


def test_no_spec_and_no_source(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "lukewarm.yaml").unlink()
    assert run(["convert"]) == 3
    assert "lukewarm init" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--source", "absent"], 4, "there is no folder"),
        (["--precision", "int3"], 5, "unknown precision for text-generation 'int3'"),
        (["--backend", "ctranslate"], 5, "unknown backend 'ctranslate'"),
        (["--backend", "hf", "--precision", "int4"], 5, "known: bf16, fp16, fp32"),
        (["--task", "embeddings"], 2, "the spec says task: text-generation"),
    ],
)
def test_wrong_use_is_one_message(
    arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["convert", *arguments]) == code
    assert words in capsys.readouterr().err


def test_over_budget_is_exit_7_and_no_bundle(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fake_conversion.FakeMeasure, "ratio", 2.0)
    assert run(["convert"]) == 7
    assert "lost too much" in capsys.readouterr().err
    assert bundles(project / ".lukewarm" / "bundles") == []
    assert run(["convert", "--keep-over-budget"]) == 0
    assert run(["convert", "--no-accuracy", "--force"]) == 0


def test_of_many_the_good_ones_are_kept(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measured(self: object, job: object, bundle: fake_conversion.Bundle) -> dict[str, float]:
        return {"perplexity_ratio": 2.0 if bundle.manifest.precision == "int8" else 1.0}

    monkeypatch.setattr(fake_conversion.FakeMeasure, "measure", measured)
    assert run(["convert", "--backend", "ct2", "--precision", "fp32", "--precision", "int8"]) == 7
    assert "tiny-ct2-int8: refused: " in capsys.readouterr().out
    assert bundles(project / ".lukewarm" / "bundles") == ["tiny-ct2-fp32"]
