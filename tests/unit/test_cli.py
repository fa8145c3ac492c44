"""Every verb has help, every wrong use one clear message and its documented exit code."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from lukewarm.cli.command import EPILOG, VERBS
from lukewarm.cli.doctor import Check, project
from lukewarm.cli.main import run
from lukewarm.predictors import errors, specfile
from lukewarm.predictors.bundle import Manifest, list_files, write_manifest

ALL_ERRORS = [
    value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.LukewarmError)
]


def echo_project(folder: Path) -> Path:
    """A project whose bundle needs no model."""
    (folder / "lukewarm.yaml").write_text("name: echo\nbackend: echo\nprecision: none\n")
    bundle = folder / ".lukewarm/bundles/echo-echo-none"
    bundle.mkdir(parents=True)
    (bundle / "tokens.txt").write_text("a b c\n")
    write_manifest(
        bundle,
        Manifest(
            format=1, name="echo", task="text-generation", backend="echo", precision="none", files=list_files(bundle)
        ),
    )
    return bundle


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([verb, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"Usage: lukewarm {verb}")
    assert len(text.splitlines()) > 4


def test_unknown_verb_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["conver"]) == 2
    assert "did you mean 'convert'?" in capsys.readouterr().err


def test_unknown_option_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["predict", "hi", "--max-tokens", "3"]) == 2
    assert "--max-tokens" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["nan", "inf", "1e999"])
def test_a_number_that_is_not_finite_is_refused_before_a_model_loads(
    value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for verb, option in (("predict", "--temperature"), ("bench", "--limit"), ("serve", "--timeout")):
        assert run([verb, "-f", str(tmp_path), option, value]) == 2
        assert f"'{option}': '{value}' is not a finite number" in capsys.readouterr().err


def test_a_backend_without_precisions_needs_none_in_the_spec(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lukewarm.yaml").write_text("name: e\nbackend: echo\n")
    assert run(["convert", "-f", str(tmp_path)]) == 0
    capsys.readouterr()
    assert run(["predict", "one two", "-f", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "one two\n"


def test_a_failing_predictor_is_one_line_and_exit_14(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "lukewarm.yaml").write_text("name: own\npredictor: own_failing:Own\n")
    (tmp_path / "own_failing.py").write_text(
        "class Own:\n    def predict(self, text: str):\n        raise ValueError('two\\nlines')\n"
    )
    assert run(["convert", "-f", str(tmp_path)]) == 0
    capsys.readouterr()
    assert run(["predict", "-f", str(tmp_path), "--request", '{"inputs": {"text": "a"}}']) == 14
    said = capsys.readouterr().err
    assert re.fullmatch(r"error: own_failing:Own failed in predict: ValueError: two lines \(.*:3\)\n", said)


@pytest.mark.parametrize("arguments", [["predict", "hi"], ["convert"], ["build", "bento"], ["bench"]])
def test_no_spec_is_exit_3(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*arguments, "-f", str(tmp_path)]) == 3
    assert "lukewarm init" in capsys.readouterr().err


def test_exit_codes_are_documented() -> None:
    """The tree in errors.py, the classes and the help agree."""
    for error in ALL_ERRORS:
        assert re.search(rf"\b{error.__name__} \({error.exit_code}\)", errors.__doc__ or ""), error
        assert re.search(rf"\b{error.exit_code} \w", EPILOG), error


def test_init_writes_a_spec_that_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", str(tmp_path), "--source", "org/My_Model-1.5B@main", "--backend", "ct2"]) == 0
    spec = specfile.load(tmp_path)
    assert (spec.name, spec.source, spec.backend) == ("my-model-1-5b", "org/My_Model-1.5B@main", "ct2")
    before = (tmp_path / "lukewarm.yaml").read_text()
    assert run(["init", str(tmp_path)]) == 3
    assert "--force" in capsys.readouterr().err
    assert (tmp_path / "lukewarm.yaml").read_text() == before


@pytest.mark.parametrize("source", ["a: b # c", "'quoted\"", "- x", "*star", "null", "ünï", "x\ny"])
def test_init_keeps_strange_sources_whole(source: str, tmp_path: Path) -> None:
    code = run(["init", str(tmp_path), "--source", source, "--name", "x"])
    if "\n" in source:
        assert code == 3
        assert not (tmp_path / "lukewarm.yaml").exists()
    else:
        assert specfile.load(tmp_path).source == source


def test_schema_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema"]) == 0
    assert "ModelSpec" in json.loads(capsys.readouterr().out)["$defs"]


def test_predict_answers_and_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    echo_project(tmp_path)
    assert run(["predict", "one two three", "-f", str(tmp_path), "--max-new-tokens", "2", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["text"], answer["finish_reason"]) == ("one two", "length")
    assert run(["predict", "one two", "-f", str(tmp_path), "--stream"]) == 0
    assert capsys.readouterr().out == "one two\n"
    assert run(["predict", "-f", str(tmp_path), "--request", '{"prompt": "x", "top_q": 1}']) == 11
    assert "top_q" in capsys.readouterr().err
    assert run(["predict", "-f", str(tmp_path)]) == 2
    assert run(["predict", "x", "-f", str(tmp_path), "--precision", "int9"]) == 6


def test_damaged_bundles_are_exit_6(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = echo_project(tmp_path)
    (bundle / "tokens.txt").write_text("a b")
    assert run(["predict", "x", "-f", str(tmp_path)]) == 6
    assert "tokens.txt" in capsys.readouterr().err
    (bundle / "bundle.json").write_text("{")
    assert run(["predict", "x", "-f", str(tmp_path)]) == 6
    assert "bundle.json is damaged" in capsys.readouterr().err


def test_doctor_reports_spec_and_bundles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = echo_project(tmp_path)
    assert run(["doctor", "-f", str(tmp_path), "--json"]) == 0
    found = {check["name"]: check["status"] for check in json.loads(capsys.readouterr().out)}
    assert found["bundle echo-echo-none"] == "ok"
    (bundle / "tokens.txt").write_text("x b c\n")  # same size: only the digest sees it
    assert statuses(project(tmp_path, verify=False))["bundle echo-echo-none"] == "ok"
    assert statuses(project(tmp_path, verify=True))["bundle echo-echo-none"] == "fail"
    assert run(["doctor", "-f", str(tmp_path), "--verify"]) == 1


def test_doctor_never_prints_a_credential(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("RUNPOD_API_KEY", "rpa_planted_secret")
    assert run(["doctor", "-f", os.devnull]) in (0, 1)
    shown = capsys.readouterr()
    assert "from RUNPOD_API_KEY" in shown.out
    assert "planted" not in shown.out + shown.err


def statuses(checks: object) -> dict[str, str]:
    assert hasattr(checks, "__iter__")
    return {check.name: check.status for check in checks if isinstance(check, Check)}


@pytest.mark.parametrize("arguments", [["convert", "-f", "x" * 5000], ["init", "/proc/nowhere", "--source", "a/b"]])
def test_paths_that_cannot_be_are_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 9
    said = capsys.readouterr().err.strip()
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1
    assert len(said) < 500


def test_a_bundle_that_is_none_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["predict", "hi", "--bundle", str(tmp_path / "nowhere")]) == 6
    assert "nowhere is no folder; name a bundle that lukewarm convert made" in capsys.readouterr().err
    assert run(["predict", "hi", "--bundle", str(tmp_path)]) == 6
    assert "has neither bundle.json nor a folder bundle/" in capsys.readouterr().err
