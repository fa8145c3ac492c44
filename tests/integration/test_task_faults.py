"""Damaged bundles and impossible requests of every task but text generation: one clear error, then the next answer."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lukewarm.convert.api import ConvertOptions, convert_model
from lukewarm.predictors.bundle import Bundle, list_files, write_manifest
from lukewarm.predictors.errors import BundleError, RequestError
from lukewarm.predictors.predictor import Runtime, load_predictor
from lukewarm.predictors.spec import ModelSpec
from lukewarm.predictors.tasks import (
    BinaryRequest,
    ClassificationRequest,
    EmbeddingRequest,
    Request,
    SpeechRequest,
    TextToTextRequest,
)
from support import tiny_tasks

pytestmark = [pytest.mark.models, pytest.mark.timeout(900)]
RUNTIME = Runtime(threads=1, device="cpu")
TASKS: dict[str, tuple[Callable[[], Path], Callable[[], Request], Callable[[], Request]]] = {
    "embeddings": (
        tiny_tasks.encoder, lambda: EmbeddingRequest(text="a"), lambda: EmbeddingRequest(text="word " * 2_000_000),
    ),
    "text-classification": (
        lambda: tiny_tasks.encoder("bert", "ForSequenceClassification"), lambda: ClassificationRequest(text="a"),
        lambda: ClassificationRequest(text="word " * 2_000_000),
    ),
    "text-to-text": (
        tiny_tasks.bart, lambda: TextToTextRequest(text="a", max_new_tokens=3),
        lambda: TextToTextRequest(text="word " * 2_000_000),
    ),
    "image-to-text": (
        tiny_tasks.vision, lambda: BinaryRequest(data=tiny_tasks.png(), max_new_tokens=3),
        lambda: BinaryRequest(data=tiny_tasks.png()[:200]),
    ),
    "speech-to-text": (
        lambda: tiny_tasks.whisper("en"), lambda: SpeechRequest(data=tiny_tasks.wav([0.1] * 800), max_new_tokens=3),
        lambda: SpeechRequest(data=b"no sound"),
    ),
}  # fmt: skip
BACKENDS = {"hf": tuple(TASKS), "ort": tuple(TASKS), "ct2": ("embeddings", "text-to-text", "speech-to-text")}
CELLS = [
    pytest.param(task, backend, marks=() if backend == "hf" else pytest.mark.slow)
    for backend, tasks in BACKENDS.items() for task in tasks
]  # fmt: skip


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def foreign(path: Path) -> None:
    path.write_bytes(b"this is not a model" * 1000)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def damaged(bundle: Bundle, target: Path, damage: Callable[[Path], None], suffixes: tuple[str, ...]) -> Path:
    """A copy with one file spoilt and a manifest that does not tell."""
    shutil.copytree(bundle.root, target)
    damage(max((path for path in target.rglob("*") if path.suffix in suffixes), key=lambda path: path.stat().st_size))
    write_manifest(target, msgspec.structs.replace(bundle.manifest, files=list_files(target)))
    return target


@pytest.mark.parametrize(("task", "backend"), CELLS)
def test_faults_are_one_clear_error_and_the_next_request_is_answered(tmp_path: Path, task: Any, backend: str) -> None:
    source, good, bad = TASKS[task]
    spec = ModelSpec(name="x", source=str(source()), task=task, backend=backend, precision="fp32")
    options = ConvertOptions(check_accuracy=False)
    bundle = convert_model(spec, tmp_path, tmp_path / "good", options=options, progress=lambda _text, _part: None)
    for number, damage in enumerate((truncated, foreign, empty)):
        root = damaged(bundle, tmp_path / f"weights-{number}", damage, (".safetensors", ".bin"))
        with pytest.raises(BundleError, match="lukewarm convert"):
            load_predictor(root, RUNTIME, warm_up=True)
    with pytest.raises(BundleError, match=r"tokenizer\.json|target_tokenizer"):
        load_predictor(damaged(bundle, tmp_path / "words", foreign, (".json",)), RUNTIME)
    predictor: Any = load_predictor(bundle, RUNTIME, warm_up=True)
    wanted = predictor.predict(good())
    assert predictor.predict_batch([]) == []
    for call in (predictor.check, predictor.predict):
        with pytest.raises(RequestError) as caught:
            call(bad())
        assert caught.value.path in ("$.text", "$.data")
        assert len(str(caught.value).splitlines()) == 1
    assert predictor.predict(good()) == wanted
    predictor.close()
