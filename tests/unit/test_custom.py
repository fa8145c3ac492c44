"""The user's own predictor: found, typed by its signature, streamed, and never fatal."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from lukewarm.predictors import load_predictor
from lukewarm.predictors.bundle import Manifest, list_files, write_manifest
from lukewarm.predictors.custom import CustomPredictor
from lukewarm.predictors.errors import BundleError, CancelledError, PredictorError, RequestError
from lukewarm.predictors.tasks import CustomRequest, CustomResult

BASIC = """
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Optional

class Upper:
    def setup(self, bundle_dir: Path) -> None:
        self.suffix = (bundle_dir / "suffix.txt").read_text()

    def predict(self, text: str, times: int = 1, mode: Literal["up", "low"] = "up", tags: list = []) -> str:
        tags.append(text)
        assert len(tags) == 1, "a default is shared between requests"
        return (text.upper() if mode == "up" else text.lower()) * times + self.suffix
"""


def make(tmp_path: Path, source: str, path: str = "user_code:Upper", place: str = "bundle") -> CustomPredictor:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "suffix.txt").write_text("!", "utf-8")
    (tmp_path / place / f"{path.partition(':')[0]}.py").write_text(source, "utf-8")
    manifest = Manifest(
        format=1, name="m", task="custom", backend="custom", precision="none", predictor=path, files=list_files(bundle)
    )
    write_manifest(bundle, manifest)
    predictor = load_predictor(bundle)
    assert isinstance(predictor, CustomPredictor)
    return predictor


def ask(predictor: CustomPredictor, **inputs: Any) -> Any:
    result = predictor.predict(CustomRequest(inputs=inputs))
    assert isinstance(result, CustomResult)
    return result.output


def test_predicts_with_defaults_and_the_bundle_directory(tmp_path: Path) -> None:
    predictor = make(tmp_path, BASIC)
    assert ask(predictor, text="a", times=2) == "AA!"
    assert ask(predictor, text="A", mode="low") == "a!"


def test_found_beside_the_bundle(tmp_path: Path) -> None:
    assert ask(make(tmp_path, BASIC, place="."), text="b") == "B!"


def test_two_bundles_may_have_modules_of_one_name(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    first = make(tmp_path / "one", BASIC)
    second = make(tmp_path / "two", BASIC.replace("text.upper()", "text.title()"))
    assert (ask(first, text="ab"), ask(second, text="ab")) == ("AB!", "Ab!")


@pytest.mark.parametrize(
    ("inputs", "code", "path"),
    [
        ({}, "missing_key", "$.inputs"),
        ({"text": 1}, "wrong_type", "$.inputs.text"),
        ({"text": "a", "times": "2"}, "wrong_type", "$.inputs.times"),
        ({"text": "a", "tims": 2}, "unknown_key", "$.inputs.tims"),
        ({"text": "a", "mode": "side"}, "out_of_range", "$.inputs.mode"),
    ],
)
def test_inputs_are_strict(tmp_path: Path, inputs: dict[str, Any], code: str, path: str) -> None:
    predictor = make(tmp_path, BASIC)
    with pytest.raises(RequestError) as caught:
        predictor.check(CustomRequest(inputs=inputs))
    assert (caught.value.code, caught.value.path) == (code, path)


def test_generators_stream_and_join(tmp_path: Path) -> None:
    predictor = make(
        tmp_path,
        "class Upper:\n    def predict(self, n: int):\n        for i in range(n):\n            yield f'{i} '\n",
    )
    deltas = list(predictor.stream(CustomRequest(inputs={"n": 3})))
    assert [delta.text for delta in deltas] == ["0 ", "1 ", "2 ", ""]
    assert deltas[-1].result == CustomResult(output="0 1 2 ")
    assert ask(predictor, n=2) == "0 1 "


def test_pieces_that_are_not_text(tmp_path: Path) -> None:
    predictor = make(tmp_path, "class Upper:\n    def predict(self):\n        yield {'a': 1}\n        yield [2.5]\n")
    assert ask(predictor) == [{"a": 1}, [2.5]]
    assert [d.text for d in predictor.stream(CustomRequest(inputs={}))] == ['{"a":1}\n', "[2.5]\n", ""]


def test_cancel_ends_a_stream_and_its_generator(tmp_path: Path) -> None:
    source = (
        "class Upper:\n    closed = False\n    def predict(self):\n        try:\n            while True:\n"
        "                yield 'x'\n        finally:\n            Upper.closed = True\n"
    )
    predictor = make(tmp_path, source)
    cancel = threading.Event()
    stream = predictor.stream(CustomRequest(inputs={}), cancel)
    next(stream)
    cancel.set()
    with pytest.raises(CancelledError):
        list(stream)
    assert type(predictor._instance).closed is True


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return 1 / 0", "ZeroDivisionError"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("return object()", "returned object, which JSON cannot carry"),
        ("raise RecursionError", "RecursionError"),
    ],
)
def test_faults_name_the_line_and_leave_the_process(tmp_path: Path, body: str, words: str) -> None:
    predictor = make(tmp_path, f"class Upper:\n    def predict(self):\n        {body}\n")
    with pytest.raises(PredictorError, match="user_code:Upper failed in predict") as caught:
        ask(predictor)
    assert words in str(caught.value)
    if "object" not in body:
        assert "user_code.py:3" in str(caught.value)


BLAMES = """
from lukewarm.predictors.errors import RequestError

class Upper:
    def predict(self, n: int):
        raise RequestError("too_big", "n is over 9", "$.inputs.n")
"""
NUMPY = """
import numpy as np

class Upper:
    def predict(self) -> object:
        return {"v": np.ones(2), "s": np.float32(2)}
"""


def test_a_user_may_blame_the_request(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="n is over 9"):
        ask(make(tmp_path, BLAMES), n=10)


def test_async_predict(tmp_path: Path) -> None:
    assert (
        ask(make(tmp_path, "class Upper:\n    async def predict(self, n: int) -> int:\n        return n + 1\n"), n=1)
        == 2
    )


def test_numpy_comes_out_as_numbers(tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    assert ask(make(tmp_path, NUMPY)) == {"v": [1.0, 1.0], "s": 2.0}


def test_kwargs_take_further_keys(tmp_path: Path) -> None:
    predictor = make(
        tmp_path, "class Upper:\n    def predict(self, a: int, **rest) -> list:\n        return [a, rest]\n"
    )
    assert ask(predictor, a=1, b="x") == [1, {"b": "x"}]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("class Lower:\n    pass\n", "has no class 'Upper'"),
        ("class Upper:\n    pass\n", "no method predict"),
        ("class Upper:\n    def predict(self, *texts: str): pass\n", "by position"),
        (
            "import collections\nclass Upper:\n    def predict(self, a: collections.ChainMap): pass\n",
            "JSON cannot carry",
        ),
        ("class Upper:\n    def predict(self, a: 'Missing'): pass\n", "annotations"),
        ("class Upper:\n    async def predict(self):\n        yield 1\n", "async generator"),
    ],
)
def test_what_cannot_work_is_said_at_setup(tmp_path: Path, source: str, words: str) -> None:
    with pytest.raises(BundleError, match=words):
        make(tmp_path, source)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import a_module_nobody_has\n", "failed in import: ModuleNotFoundError"),
        ("class Upper\n", "failed in import: SyntaxError"),
        (
            "class Upper:\n    def setup(self):\n        open('/no/such/file')\n    def predict(self): pass\n",
            "failed in setup",
        ),
    ],
)
def test_faults_at_setup(tmp_path: Path, source: str, words: str) -> None:
    with pytest.raises(PredictorError, match=words):
        make(tmp_path, source)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("raise KeyboardInterrupt", "KeyboardInterrupt: no message"),
        ("import asyncio; raise asyncio.CancelledError", "CancelledError: no message"),
        ("raise type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})", "Odd: its message cannot be read"),
        ("return complex(1, 2)", "returned complex, which JSON cannot carry; return text"),
        ("return [chr(0xD800)]", "surrogates not allowed"),
    ],
)
def test_odd_faults_end_one_request_and_name_the_users_file(tmp_path: Path, line: str, words: str) -> None:
    predictor = make(tmp_path, f"class Upper:\n    def predict(self):\n        {line}\n")
    caught: list[BaseException] = []

    def run() -> None:  # as in a server: not in the main thread, which Ctrl-C interrupts
        try:
            ask(predictor)
        except BaseException as error:  # noqa: BLE001 - judged below
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    assert isinstance(caught[0], PredictorError)
    assert words in str(caught[0])
    assert "user_code.py:" in str(caught[0])


def test_a_value_that_was_not_yielded_streams_as_itself(tmp_path: Path) -> None:
    predictor = make(tmp_path, "class Upper:\n    def predict(self):\n        return {'a': float('nan'), 'b': b'x'}\n")
    *_, last = predictor.stream(CustomRequest(inputs={}))
    assert ask(predictor)["b"] == "eA=="
    assert repr(last.result) == repr(CustomResult(output=ask(predictor)))  # by repr: NaN is not equal to itself


def test_a_data_uri_is_the_file_that_it_holds(tmp_path: Path) -> None:
    source = (
        "class Upper:\n    def predict(self, file: bytes, more: list[bytes] = [], text: str = '') -> list:\n"
        "        return [file.decode(), [one.decode() for one in more], text]\n"
    )
    predictor = make(tmp_path, source)
    uri = "data:image/png;base64,YWI="
    assert ask(predictor, file=uri, more=["YQ==", uri], text=uri) == ["ab", ["a", "ab"], uri]
    with pytest.raises(RequestError, match="base64") as caught:
        ask(predictor, file="data:text/plain,ab")
    assert (caught.value.code, caught.value.path) == ("invalid_base64", "$.inputs.file")
