"""The bad requests of every task: in-process against a tiny model of each, and once over a real server."""

from __future__ import annotations

import base64
import functools
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lukewarm.predictors.errors import RequestError
from lukewarm.serving.conformance import BadRequest, json_cases, send, violations
from lukewarm.serving.corpus import GOOD, media_cases, task_cases
from lukewarm.serving.engine import Engine, error_body
from support import tiny_tasks
from support.converted import converted
from support.serving import running
from support.serving_engine import Scripted, engine_of, result

SOURCES: dict[str, Callable[[], Path]] = {
    "text-to-text": tiny_tasks.marian,
    "embeddings": lambda: tiny_tasks.encoder("bert", pooling_mode_mean_tokens=True),
    "text-classification": lambda: tiny_tasks.encoder("bert", "ForSequenceClassification"),
    "image-to-text": tiny_tasks.vision,
    "speech-to-text": lambda: tiny_tasks.whisper("en"),
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("bundles")
    return functools.cache(lambda task: converted(SOURCES[task](), root, task, name=task))


class Reads(Scripted):
    """Reads what a model of the task would read, and runs none."""

    def check(self, request: Any) -> None:
        from lukewarm.predictors import picture, sound

        if self.task == "image-to-text":
            picture.read_pixels(request.data, {})
        elif self.task == "speech-to-text":
            samples, rate = sound.read_sound(request.data)
            if len(samples) > 30 * rate:
                raise RequestError("sound_too_long", "over 30 s", "$.data")

    def predict_batch(self, requests: Any, cancel: Any = None) -> Any:
        return [result("answered", "eos") for _ in requests]


@pytest.mark.parametrize("task", ["text-generation", *SOURCES])
def test_every_bad_request_is_refused_without_a_model(task: Any) -> None:
    with engine_of(type("Reading", (Reads,), {"task": task}), start=False) as engine:
        assert faults(engine, task) == {}
        assert engine.predict(good(task))["text"] == "answered"


@pytest.mark.slow
@pytest.mark.models
@pytest.mark.parametrize("task", SOURCES)
def test_every_bad_request_is_refused(bundle: Callable[[str], Path], task: Any) -> None:
    with Engine.open(bundle(task)) as engine:
        assert faults(engine, task) == {}
        assert engine.predict(good(task))["meta"]["boot_id"] == engine.boot_id, "and a good one is answered after them"


def faults(engine: Engine, task: Any) -> dict[str, list[str]]:
    cases = [*task_cases(task), *(case for case in json_cases() if b"prompt" not in case.body)]
    assert len({case.name for case in cases}) == len(cases) > 20
    return {case.name: found for case in cases if (found := judged(engine, case))}


def judged(engine: Engine, case: BadRequest) -> list[str]:
    try:
        return [f"answered: {engine.predict(case.body)}"[:200]]
    except RequestError as error:
        return violations(case, error.status, error_body(error))


def good(task: str) -> dict[str, Any]:
    data = {"image-to-text": tiny_tasks.png, "speech-to-text": lambda: tiny_tasks.wav([0.1, 0.5] * 800)}
    if task in data:
        return {"data": base64.b64encode(data[task]()).decode(), "max_new_tokens": 2}
    return dict(GOOD[task])  # type: ignore[index]


@pytest.mark.models
@pytest.mark.servers
def test_every_bad_picture_is_refused_by_a_real_server(bundle: Callable[[str], Path]) -> None:
    with running(bundle("image-to-text")) as server:
        wrong = {}
        for case in task_cases("image-to-text"):
            if found := violations(case, *send(server.url, "/predict", case)):
                wrong[case.name] = found
        assert wrong == {}
        assert server.process.poll() is None
        assert not any("Traceback" in line for line in server.other)


def test_a_line_of_pixels_is_no_bomb() -> None:
    """60 million pixels in one row fit the limit of pixels; scaled to a model's shortest edge they would not."""
    from lukewarm.predictors.picture import read_pixels

    raw = zlib.compress(bytes(60_000_001), 1)
    with pytest.raises(RequestError) as caught:
        read_pixels(_png(60_000_000, 1, raw), {"size": {"shortest_edge": 224}})
    assert caught.value.code == "image_too_large"


def _png(width: int, height: int, packed: bytes) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def test_the_cases_of_media_are_many() -> None:
    assert len(list(media_cases("image-to-text"))) > 15
    assert len(list(media_cases("speech-to-text"))) > 20
    assert not list(media_cases("embeddings"))
