"""Tiny models through every converter: ort says what transformers says; each precision stays near its source."""

from __future__ import annotations

import functools
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lukewarm.convert import ConvertOptions, convert_model
from lukewarm.predictors import Bundle, Runtime, load_predictor
from lukewarm.predictors.errors import AccuracyError, CancelledError, UnsupportedError
from lukewarm.predictors.registry import BACKENDS
from lukewarm.predictors.spec import Accuracy, ModelSpec
from support.text_generation import answers, asked, generated, reference
from support.tiny_models import ARCHITECTURES, prompts, session_root, tiny_model

pytestmark = pytest.mark.models

NO_GRAPH = {"bloom"}  # ALiBi has no place in the attention operator
PAIRS = [(name, precision) for name in ("hf", "bnb", "ct2", "ort")
         for precision in BACKENDS.load(name).support["text-generation"]]  # fmt: skip
# four bits of a random model are hardly its own: what is held against these is that they are not noise
DEFAULT = Accuracy()
LOOSE = Accuracy(max_perplexity_ratio=3.0)


def spec(architecture: str, backend: str, precision: str, accuracy: Accuracy = DEFAULT) -> ModelSpec:
    return ModelSpec(
        name=f"tiny-{architecture.replace('_', '-')}", source=str(tiny_model(architecture)), backend=backend,
        precision=precision, accuracy=accuracy,
    )  # fmt: skip


@functools.cache
def converted(architecture: str, backend: str, precision: str = "fp32") -> Bundle:
    accuracy = Accuracy() if precision in ("fp32", "fp16", "bf16") else LOOSE
    bundles = session_root() / ".lukewarm" / "bundles"
    return convert_model(spec(architecture, backend, precision, accuracy), bundles, bundles)


@functools.cache
def ort(architecture: str) -> Any:
    return load_predictor(converted(architecture, "ort"), Runtime(threads=1, device="cpu"))


@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name not in NO_GRAPH])
def test_ort_greedy_text_is_that_of_transformers(architecture: str) -> None:
    """50 prompts of 1 to 20 words for the two best known models: alone, and all in one ragged batch."""
    texts = prompts(50 if architecture in ("llama", "gpt2") else 15)
    expected = [generated(architecture, text) for text in texts]
    requests = [asked(text) for text in texts]
    assert [result.text for result in answers(ort(architecture), requests)] == expected
    assert [answers(ort(architecture), [request])[0].text for request in requests] == expected
    assert len(set(expected)) > len(texts) / 2, "the model says the same to everything: no test"


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_scores_are_the_logits_of_transformers(architecture: str) -> None:
    import torch

    model, tokenizer = reference(architecture)
    ids = tokenizer(" ".join(prompts(5))).input_ids[:40]
    with torch.inference_mode():
        expected = model(torch.tensor([ids])).logits[0].numpy()
    np.testing.assert_allclose(ort(architecture).score(ids), expected, atol=2e-4)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_long_prompts_are_read_in_chunks_with_the_same_result(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lukewarm.predictors.ort import decoder

    requests = [asked(" ".join(prompts(count)), max_new_tokens=8) for count in (1, 6, 3)]
    whole = [result.text for result in answers(ort(architecture), requests)]
    monkeypatch.setattr(decoder, "_CHUNK_TOKENS", 7)
    assert [result.text for result in answers(ort(architecture), requests)] == whole


@pytest.mark.parametrize(("backend", "precision"), PAIRS)
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_every_precision_converts_measures_and_answers(architecture: str, backend: str, precision: str) -> None:
    bundle = converted(architecture, backend, precision)
    measured = bundle.manifest.accuracy
    assert measured["perplexity_ratio"] < 3
    if precision == "fp32":
        assert measured["logit_max_diff"] < 1e-3
        assert measured["top1_agreement"] == 1.0
    model = load_predictor(bundle, Runtime(threads=1, device="cpu"))
    result = answers(model, [asked("the model answers", max_new_tokens=5, ignore_eos=True)])[0]
    assert result.completion_tokens == 5
    model.close()


@pytest.mark.parametrize(
    ("backend", "low", "high"), [("ort", "int8", "fp32"), ("bnb", "nf4", "int8"), ("ct2", "int8", "fp32")]
)
def test_lower_precision_is_smaller_on_disk(backend: str, low: str, high: str) -> None:
    def weights(precision: str) -> int:
        return sum(
            f.bytes for f in converted("llama", backend, precision).manifest.files if f.path.startswith("model/")
        )

    assert weights(low) < weights(high)


def test_a_tied_embedding_is_stored_once() -> None:
    """Vocabulary 512, width 64: its 32,768 8-bit codes may appear once, in the lookup and in the output layer."""
    import onnx

    folder = converted("llama", "ort", "int8").root / "model"
    graph = onnx.load(folder / "model.onnx", load_external_data=False).graph
    by_name = {tensor.name: {e.key: e.value for e in tensor.external_data} for tensor in graph.initializer}
    lookup = next(node for node in graph.node if node.op_type == "GatherBlockQuantized")
    head = next(node for node in graph.node if "logits" in node.output)
    assert head.op_type == "MatMulNBits"
    assert by_name[lookup.input[0]] == by_name[head.input[1]]
    assert by_name[lookup.input[2]] == by_name[head.input[2]]


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_a_graph_cut_in_two_answers_as_the_whole(
    architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone, in a ragged batch whose rows end one by one, in chunks, in streams by turns; and it is cancelled."""
    from lukewarm.convert.to_ort import cut
    from lukewarm.predictors.ort import decoder

    whole = load_predictor(converted(architecture, "ort", "int8"), Runtime(threads=1, device="cpu"))
    monkeypatch.setattr(cut, "_WORTH_BYTES", 1)
    monkeypatch.setattr(cut, "_packed_bytes", lambda _node: 1)  # most weights of so small a model are not quantized
    bundle = convert_model(spec(architecture, "ort", "int8", LOOSE), tmp_path, tmp_path / ".lukewarm" / "bundles")
    assert len(bundle.manifest.options["parts"]) == 2
    halves: Any = load_predictor(bundle, Runtime(threads=2, device="cpu"))
    requests = [asked(text, max_new_tokens=3 + count) for count, text in enumerate(prompts(12))]
    expected = answers(whole, requests)
    assert answers(halves, requests) == expected
    assert [answers(halves, [request])[0] for request in requests] == expected
    streams = [list(deltas) for deltas in zip(halves.stream(requests[-1]), halves.stream(requests[-1]), strict=True)]
    assert [first for first, _ in streams] == [second for _, second in streams]
    assert streams[-1][0].result == expected[-1]
    monkeypatch.setattr(decoder, "_CHUNK_TOKENS", 7)
    assert answers(halves, requests) == expected
    for model in (whole, halves):
        assert bare_loop_ratios(model)
    assert from_a_fork(halves, requests[-1]) == expected[-1].text
    cancel = threading.Event()
    monkeypatch.setattr(decoder, "_WATCHED_TOKENS", 1)  # runs with RunOptions, both halves under one
    cancelled = halves.decoder(cancel)
    cancelled.prefill([[1] * 8], 16)
    cancel.set()
    with pytest.raises(CancelledError):
        cancelled.step([1])
    for before in ("_run", "_join"):  # what begins the first half, what stands between the two
        assert cancelled_inside(halves, before) == (before == "_join"), "whether the first half came to its end"
    assert answers(halves, requests) == expected


def from_a_fork(model: Any, request: Any) -> str:
    """The answer of a forked child, which has none of the parent's threads."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        signal.alarm(60)
        os.write(writer, answers(model, [request])[0].text.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        text = stream.read().decode()
    assert os.waitpid(child, 0)[1] == 0
    return text


def cancelled_inside(model: Any, before: str) -> bool:
    """Cancel a prefill in that method of `BoundRun`; go on when the runtime knows. Whether the halves were joined."""
    from lukewarm.predictors.ort.parts import BoundRun

    cancel, told, joined = threading.Event(), [], []

    def run(self: BoundRun, options: Any) -> None:
        told.append(options)
        if before == "_run":
            signal_it()
        real_run(self, options)

    def join(self: BoundRun, place: int) -> None:
        joined.append(place)
        if before == "_join":
            signal_it()
        real_join(self, place)

    def signal_it() -> None:
        cancel.set()
        limit_s = time.monotonic() + 60
        while not told[-1].terminate and time.monotonic() < limit_s:
            time.sleep(0.001)

    real_run, real_join = BoundRun._run, BoundRun._join
    decoder = model.decoder(cancel)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BoundRun, "_run", run)
        patch.setattr(BoundRun, "_join", join)
        with pytest.raises(CancelledError):
            decoder.prefill([[1] * 8], 16)
    return bool(joined)


def bare_loop_ratios(model: Any) -> Any:
    """What the performance suite measures: no figure unless the bare loop and the predictor say the same."""
    from lukewarm.benchmarks.contenders import bare, bundle

    sample: dict[str, Any] = {"figures": {}, "not_measured": {}}
    bare.measure(bundle, model, {"inputs": [prompts(1)[0]], "new_tokens": 5}, sample)
    assert sample["not_measured"] == {}
    return sample["figures"][bare.NAME][1]


def test_a_sliding_window_is_kept(tmp_path: Path) -> None:
    """A window of 16 in rows of 128 tokens: a graph that forgets it fails the accuracy check of fp32."""
    import json
    import shutil

    source = tmp_path / "mistral"
    shutil.copytree(tiny_model("mistral"), source)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "sliding_window": 16}))
    windowed = ModelSpec(name="windowed", source=str(source), backend="ort", precision="fp32")
    bundle = convert_model(windowed, tmp_path, tmp_path / ".lukewarm" / "bundles")
    assert bundle.manifest.options["graph"] == "torch.onnx"
    assert bundle.manifest.accuracy["logit_max_diff"] < 1e-3


def test_an_architecture_without_a_graph_names_other_ways() -> None:
    with pytest.raises(UnsupportedError, match="try backend ct2 or hf"):
        converted("bloom", "ort")


def test_noise_is_caught_and_leaves_no_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What signed int8 per channel did to a real model: weights that mean nothing, and no error anywhere."""
    from lukewarm.convert.to_ort import quantize

    right = quantize.blocks

    def wrong(weight: Any, bits: int, size: int = 32) -> tuple[Any, Any]:
        codes, scales = right(weight, bits, size)
        return codes, scales[::-1].copy()

    monkeypatch.setattr(quantize, "blocks", wrong)
    bundles = tmp_path / ".lukewarm" / "bundles"
    with pytest.raises(AccuracyError, match="perplexity") as caught:
        convert_model(spec("llama", "ort", "int8"), tmp_path, bundles)
    assert caught.value.measured["perplexity_ratio"] > 1.5
    assert [path for path in bundles.iterdir() if path.is_dir()] == []
    kept = convert_model(spec("llama", "ort", "int8"), tmp_path, bundles, options=ConvertOptions(keep_over_budget=True))
    assert kept.manifest.accuracy["perplexity_ratio"] > 1.5


def test_reference_logits_are_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lukewarm.convert import accuracy

    calls = []
    real = accuracy.source_outputs
    monkeypatch.setattr(accuracy, "source_outputs", lambda *args: calls.append(1) or real(*args))
    bundles = tmp_path / ".lukewarm" / "bundles"
    for backend, precision in (("hf", "fp32"), ("ct2", "int8w"), ("hf", "fp16")):
        convert_model(spec("llama", backend, precision), tmp_path, bundles)
    assert len(calls) == 1


def test_a_run_in_the_graph_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    from lukewarm.predictors.ort.decoder import OrtDecoder

    cancel = threading.Event()
    model = ort("llama")
    decoder = model.decoder(cancel)
    assert isinstance(decoder, OrtDecoder)
    decoder.prefill([[1] * 8], 16)
    cancel.set()
    with pytest.raises(CancelledError):
        decoder.step([1])
    result = answers(model, [asked("the model answers")])[0]
    assert result.finish_reason in ("eos", "length")
