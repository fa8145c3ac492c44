"""A Firefox Translations student on `ort`: its recurrent decoder gives the texts of the exact computation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lukewarm.benchmarks.distill.teacher import Teacher
from lukewarm.convert import bergamot, bergamot_graphs
from lukewarm.convert.api import ConvertOptions, convert_model
from lukewarm.predictors.errors import SourceError, UnsupportedError
from lukewarm.predictors.predictor import Runtime, load_predictor
from lukewarm.predictors.spec import ModelSpec
from lukewarm.predictors.tasks import TextToTextRequest
from lukewarm.predictors.text_to_text import SearchSettings
from support.shared_exports import shared
from support.tiny_student import student
from support.tiny_tasks import SENTENCES

pytestmark = pytest.mark.models


def _convert(source: Path, out: Path, backend: str = "ort", precision: str = "fp32") -> Any:
    spec = ModelSpec(name="x", source=str(source), task="text-to-text", backend=backend, precision=precision)
    options = ConvertOptions(check_accuracy=precision == "fp32")  # random weights lose more to 8 bits
    return convert_model(spec, out, out, options=options, progress=lambda _text, _part: None)


def test_graphs_give_the_texts_of_the_exact_computation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lukewarm.convert.onnx_graph.export", shared(bergamot_graphs.onnx_graph.export, tmp_path))
    source = student()
    bundle = _convert(source, tmp_path)
    assert bundle.manifest.accuracy["same_texts"] == 1.0
    predictor: Any = load_predictor(bundle, Runtime(threads=1, device="cpu"), warm_up=True)
    teacher = Teacher(source)
    rows = [teacher.ids(text) for text in SENTENCES]
    assert [predictor.codec.encode(text) for text in SENTENCES] == rows  # SentencePiece itself

    def texts(**fields: Any) -> list[str]:
        requests = [TextToTextRequest(text=text, max_new_tokens=9, **fields) for text in SENTENCES]
        return [result.text for result in predictor.predict_batch(requests)]

    greedy = [teacher.text(row[:9]) for row in teacher.translate(rows, 9)]
    assert texts() == greedy
    assert len(set(greedy)) > 1
    read = bergamot.load_student(source)
    # one by one: neither padding nor the other sentences' beams may be heard
    beams = [bergamot_graphs.source_ids(read, [row], SearchSettings(9, 3, 0.7), predictor.rules)[0] for row in rows]
    assert texts(num_beams=3, length_penalty=0.7) == [predictor.codec.decode(tokens) for tokens in beams]
    small = load_predictor(_convert(source, tmp_path, precision="int8"), Runtime(threads=1, device="cpu"))
    assert small.predict(TextToTextRequest(text="x", max_new_tokens=4)).completion_tokens <= 4  # type: ignore[attr-defined]


@pytest.mark.parametrize("backend", ["hf", "ct2"])
def test_backends_without_a_recurrent_decoder_name_the_one_that_has(tmp_path: Path, backend: str) -> None:
    with pytest.raises(UnsupportedError, match="this can: ort"):
        _convert(student(), tmp_path, backend)


@pytest.mark.parametrize(("spoil", "words"), [
    (lambda raw: raw[: len(raw) - 100], "truncated"),
    (lambda raw: b"PK\3\4" + raw[4:], "not a Marian binary model"),
    (lambda raw: raw[:8] + b"\xff" * 8 + raw[16:], "not a Marian binary model"),
    (lambda _raw: b"", "not a Marian binary model"),
])  # fmt: skip
def test_damaged_students_are_refused(tmp_path: Path, spoil: Any, words: str) -> None:
    folder = tmp_path / "student"
    folder.mkdir()
    (folder / "vocab.spm").write_bytes((student() / "vocab.spm").read_bytes())
    (folder / "model.bin").write_bytes(spoil((student() / "model.bin").read_bytes()))
    with pytest.raises(SourceError, match=words):
        _convert(folder, tmp_path / "out")
