"""A model begun ahead is taken once by its own predictor, and dropped where nobody takes it."""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
from pathlib import Path

import pytest

import lukewarm.predictors
from lukewarm.predictors import ahead
from lukewarm.predictors.errors import BundleError
from lukewarm.predictors.predictor import Runtime


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    calls: list[str] = []
    monkeypatch.setattr(ahead, "_begin", lambda root, settings: lambda: calls.append(root) or f"opened {root}")
    return calls


def test_it_is_taken_once_and_by_its_own_settings_only(tmp_path: Path, waited: list[str]) -> None:
    begun = ahead.Settings(2, "auto", {"a": 1})
    others = [ahead.Settings(1, "auto", {"a": 1}), ahead.Settings(2, "cpu", {"a": 1}), ahead.Settings(2)]
    others.append(ahead.Settings(2, "auto", {"a": 1}, forks=True))
    with ahead.begun(tmp_path, begun):
        assert [ahead.take(tmp_path, other) for other in others] == [None] * 4
        assert ahead.take(tmp_path / "other", begun) is None
        found = ahead.take(tmp_path / "." / ".." / tmp_path.name, ahead.Settings(2, "auto", {"a": "1"}))
        assert found is not None
        assert ahead.take(tmp_path, begun) is None
        assert waited == []
        assert found() == f"opened {tmp_path}"
    assert waited == [str(tmp_path)]


def test_what_nobody_takes_is_waited_for(tmp_path: Path, waited: list[str]) -> None:
    with ahead.begun(tmp_path, ahead.Settings()):
        pass
    assert waited == [str(tmp_path)]
    assert ahead.take(tmp_path, ahead.Settings()) is None


def test_the_interpreter_is_left_as_it_was(tmp_path: Path, waited: list[str]) -> None:
    before = sys.getswitchinterval()
    with contextlib.suppress(RuntimeError), ahead.begun(tmp_path, ahead.Settings()):
        assert not gc.isenabled()
        raise RuntimeError
    assert gc.isenabled()
    assert sys.getswitchinterval() == before


_ORT = '{"backend": "ort", "task": "text-generation", "options": '
BROKEN = {
    "missing": None,
    "empty": "",
    "a list": "[]",
    "half": '{"backend": "ort"',
    "parts": _ORT + '{"parts": 7}}',
    "foreign": _ORT + '{"parts": ["../../x.onnx"]}}',
}


@pytest.mark.parametrize("name", BROKEN)
def test_whatever_is_wrong_with_a_bundle_is_said_by_the_predictor(name: str, tmp_path: Path) -> None:
    if (text := BROKEN[name]) is not None:
        (tmp_path / "bundle.json").write_text(text)
    threads = threading.active_count()
    with pytest.raises(BundleError, match=r"bundle"):
        lukewarm.predictors.load_predictor(tmp_path)
    assert threading.active_count() == threads


def test_the_package_offers_what_it_names() -> None:
    for name in lukewarm.predictors.__all__:
        assert getattr(lukewarm.predictors, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing"):
        _ = lukewarm.predictors.nothing


def test_settings_are_those_of_a_runtime(tmp_path: Path) -> None:
    fields = set(Runtime.__struct_fields__)
    assert set(vars(ahead.Settings())) == fields
    assert {name: getattr(Runtime(), name) for name in fields} == vars(ahead.Settings())
    with pytest.raises(TypeError, match="threads"):
        lukewarm.predictors.load_predictor(tmp_path, Runtime(), threads=2)
