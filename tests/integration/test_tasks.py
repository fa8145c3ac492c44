"""Every task x backend cell but text generation, over tiny random models: converted, loaded, held to transformers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lukewarm.convert import onnx_graph
from lukewarm.convert.api import ConvertOptions, convert_model
from lukewarm.predictors.errors import RequestError, UnsupportedError
from lukewarm.predictors.predictor import Predictor, Runtime, load_predictor
from lukewarm.predictors.spec import Accuracy, ModelSpec
from lukewarm.predictors.tasks import BinaryRequest, ClassificationRequest, EmbeddingRequest, TextToTextRequest
from support import tiny_tasks
from support.shared_exports import shared

pytestmark = pytest.mark.models
Load = Callable[..., Predictor]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Load]:
    """Convert (once a module) and load a bundle."""
    root = tmp_path_factory.mktemp("bundles")
    made: dict[tuple[Any, ...], Predictor] = {}
    monkeypatch = pytest.MonkeyPatch()
    export = shared(onnx_graph.export, tmp_path_factory.mktemp("exports"))
    monkeypatch.setattr(onnx_graph, "export", export)

    def _load(source: Path, task: Any, backend: str, precision: str, **accuracy: Any) -> Predictor:
        key = (source, task, backend, precision)
        if key not in made:
            name = source.name.lower().replace("_", "-")
            spec = ModelSpec(
                name=name, source=str(source), task=task, backend=backend, precision=precision,
                accuracy=Accuracy(**accuracy),
            )  # fmt: skip
            # random weights lose more to 8 bits than trained ones: what is lost is asserted here, not refused there
            options = ConvertOptions(keep_over_budget=precision != "fp32")
            bundle = convert_model(spec, root, root, options=options, progress=lambda _text, _part: None)
            made[key] = load_predictor(bundle, Runtime(threads=1, device="cpu"), warm_up=True)
        return made[key]

    yield _load
    monkeypatch.undo()


def _texts(predictor: Predictor, **fields: Any) -> list[str]:
    requests = [TextToTextRequest(text=text, **fields) for text in tiny_tasks.SENTENCES]
    return [result.text for result in predictor.predict_batch(requests)]  # type: ignore[attr-defined]


@pytest.mark.parametrize("backend", ["hf", "ort", "ct2"])
@pytest.mark.parametrize("model", [tiny_tasks.marian, tiny_tasks.t5, tiny_tasks.bart], ids=lambda f: f.__name__)
def test_text_to_text_fp32_gives_transformers_texts(load: Load, model: Callable[[], Path], backend: str) -> None:
    import torch
    import transformers

    source = model()
    reference = transformers.AutoModelForSeq2SeqLM.from_pretrained(source).eval()
    predictor: Any = load(source, "text-to-text", backend, "fp32")
    for beams in (1, 3):
        wanted = []
        for text in tiny_tasks.SENTENCES:
            ids = torch.tensor([predictor.codec.encode(text)])
            out = reference.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), num_beams=beams, max_new_tokens=12, max_length=None,
                do_sample=False,
            )  # fmt: skip
            wanted.append(predictor.codec.decode(out[0].tolist()))
        if backend == "ct2" and beams > 1:
            # CTranslate2 ends its beam search by a rule of its own: near ties may fall the other way
            same = sum(
                a == b for a, b in zip(_texts(predictor, num_beams=beams, max_new_tokens=12), wanted, strict=True)
            )
            assert same >= 2
            continue
        assert _texts(predictor, num_beams=beams, max_new_tokens=12) == wanted
        alone = [
            predictor.predict(TextToTextRequest(text=t, num_beams=beams, max_new_tokens=12)).text
            for t in tiny_tasks.SENTENCES
        ]
        assert alone == wanted


@pytest.mark.parametrize(("backend", "precision"), [
    ("hf", "bf16"), ("hf", "fp16"), ("ort", "int8"), ("ct2", "int8"), ("ct2", "int8w"), ("ct2", "fp16"),
    ("ct2", "bf16"),
])  # fmt: skip
def test_text_to_text_at_other_precisions_answers(load: Load, backend: str, precision: str) -> None:
    predictor = load(tiny_tasks.marian(), "text-to-text", backend, precision)
    assert len(_texts(predictor, max_new_tokens=8)) == len(tiny_tasks.SENTENCES)
    measured = predictor.bundle.manifest.accuracy
    assert set(measured) == {"bleu_agreement", "chrf_agreement", "same_texts"}


def test_marian_pieces_are_those_of_sentencepiece(tmp_path: Path) -> None:
    import transformers

    from lukewarm.convert.marian_tokenizer import write_marian_tokenizers

    source = tiny_tasks.marian()
    assert write_marian_tokenizers(source, tmp_path) == ["tokenizer.json", "target_tokenizer.json"]
    from tokenizers import Tokenizer

    ours = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    theirs = transformers.AutoTokenizer.from_pretrained(source)
    unknown, size = theirs.unk_token_id, theirs.vocab_size
    for text in [*tiny_tasks.SENTENCES, " two  spaces ", "tab\tnew\nline", "ﬁ x²", ""]:
        found = [token if token < size else unknown for token in ours.encode(text).ids]
        assert found == theirs(text).input_ids, text


def _vectors(predictor: Predictor) -> Any:
    found = predictor.predict_batch([EmbeddingRequest(text=text) for text in tiny_tasks.SENTENCES])
    return np.array([result.embedding for result in found])  # type: ignore[attr-defined]


@pytest.mark.parametrize(("kind", "backend"), [
    *((kind, backend) for kind in ("bert", "roberta") for backend in ("hf", "ort", "ct2")),
        ("distilbert", "ct2"),
    ("mpnet", "hf"), ("mpnet", "ort"),
])  # fmt: skip
def test_embeddings_fp32_are_the_pooled_states_of_transformers(load: Load, kind: str, backend: str) -> None:
    import torch
    import transformers

    source = tiny_tasks.encoder(kind, pooling_mode_mean_tokens=True)
    reference = transformers.AutoModel.from_pretrained(source).eval()
    predictor: Any = load(source, "embeddings", backend, "fp32")
    wanted = []
    for row in predictor.token_rows(tiny_tasks.SENTENCES):
        ids = torch.tensor([row])
        with torch.inference_mode():
            states = reference(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        wanted.append(torch.nn.functional.normalize(states.mean(1), dim=-1)[0].numpy())
    assert np.abs(_vectors(predictor) - np.stack(wanted)).max() < 1e-4
    with pytest.raises(RequestError, match="room for 60 tokens"):
        predictor.check(EmbeddingRequest(text="word " * 100))  # sentence_bert_config.json allows 60


@pytest.mark.parametrize(("backend", "precision"), [
    ("hf", "bf16"), ("hf", "fp16"), ("ort", "int8"), ("ort", "dynamic-int8"), ("ct2", "int8"), ("ct2", "int8w"),
    ("ct2", "fp16"), ("ct2", "bf16"),
])  # fmt: skip
def test_embeddings_at_other_precisions_stay_near(load: Load, backend: str, precision: str) -> None:
    predictor = load(tiny_tasks.encoder("bert", pooling_mode_mean_tokens=True), "embeddings", backend, precision)
    assert predictor.bundle.manifest.accuracy["cosine_min"] > 0.8
    lengths = np.linalg.norm(_vectors(predictor), axis=1)
    assert np.allclose(lengths, 1, atol=1e-3)


@pytest.mark.parametrize(("backend", "precision"), [
    ("hf", "fp32"), ("ort", "fp32"), ("hf", "bf16"), ("hf", "fp16"), ("ort", "int8"), ("ort", "dynamic-int8"),
])  # fmt: skip
def test_classification_gives_the_pipelines_scores(load: Load, backend: str, precision: str) -> None:
    import transformers

    source = tiny_tasks.encoder("bert", "ForSequenceClassification")
    predictor = load(source, "text-classification", backend, precision)
    pipeline = transformers.pipeline("text-classification", model=str(source), top_k=None)
    texts = tiny_tasks.SENTENCES
    found = predictor.predict_batch([ClassificationRequest(text=text) for text in texts])
    allowed = 1e-4 if precision == "fp32" else 0.25
    for wanted, result in zip(pipeline(texts), found, strict=True):
        scores = {label.label: label.score for label in result.labels}  # type: ignore[attr-defined]
        assert set(scores) == {"cold", "warm", "hot"}
        assert all(abs(scores[entry["label"]] - entry["score"]) < allowed for entry in wanted)
    assert len(predictor.predict(ClassificationRequest(text="a", top_k=1)).labels) == 1  # type: ignore[attr-defined]
    pairs = [{"text": text, "text_pair": other} for text, other in itertools.pairwise(texts)]
    found = predictor.predict_batch([ClassificationRequest(**pair) for pair in pairs])
    for pair, result in zip(pairs, found, strict=True):
        scores = {label.label: label.score for label in result.labels}  # type: ignore[attr-defined]
        assert all(abs(scores[entry["label"]] - entry["score"]) < allowed for entry in pipeline(pair))


def _sounds() -> list[bytes]:
    time = np.arange(16_000) / 16_000
    return [tiny_tasks.wav(np.sin(2 * np.pi * hertz * time) * 0.5) for hertz in (220, 440, 1500)]


@pytest.mark.parametrize(("backend", "precision"), [
    ("hf", "fp32"), ("ort", "fp32"), ("ct2", "fp32"), ("hf", "bf16"), ("ort", "int8"), ("ct2", "int8"),
])  # fmt: skip
def test_whisper_hears_what_transformers_hears(load: Load, backend: str, precision: str) -> None:
    import torch
    import transformers

    # CTranslate2 hears languages by the numbers of OpenAI's own vocabulary only
    source = tiny_tasks.whisper("en" if backend == "ct2" else None)
    predictor: Any = load(source, "speech-to-text", backend, precision)
    requests = [BinaryRequest(data=sound, max_new_tokens=10) for sound in _sounds()]
    found = [result.text for result in predictor.predict_batch(requests)]
    assert len(found) == 3
    if precision != "fp32":
        return
    model = transformers.WhisperForConditionalGeneration.from_pretrained(source).eval()
    for request, text in zip(requests, found, strict=True):
        features = torch.from_numpy(predictor.features(predictor.windows(request)[0]))[None]
        # language by the first step, then transcribe and no timestamps, as the predictor asks
        with torch.inference_mode():
            first = model(input_features=features, decoder_input_ids=torch.tensor([[512]])).logits[0, -1]
        heard = 513 if backend == "ct2" else max((513, 514), key=lambda token: float(first[token]))
        prompt = torch.tensor([[512, heard, 515, 518]])
        out = _plain_greedy(model, features, prompt, 10)
        assert text == predictor.tokenizer.decode(out).strip()


def _plain_greedy(model: Any, features: Any, prompt: Any, limit: int) -> list[int]:
    """No cache, no search: the definition."""
    import torch

    new: list[int] = []
    for position in range(limit):
        ids = torch.cat([prompt, torch.tensor([new], dtype=torch.long)], 1)
        with torch.inference_mode():
            logits = model(input_features=features, decoder_input_ids=ids).logits[0, -1]
        logits = logits.clone()
        logits[[7, 9, *((220, 2) if position == 0 else ())]] = -torch.inf
        token = int(logits.argmax())
        if token == 2:
            break
        new.append(token)
    return new


@pytest.mark.parametrize(("backend", "precision"), [("hf", "fp32"), ("ort", "fp32"), ("hf", "bf16"), ("ort", "int8")])
def test_captions_are_those_of_transformers(load: Load, backend: str, precision: str) -> None:
    import torch
    import transformers

    source = tiny_tasks.vision()
    predictor: Any = load(source, "image-to-text", backend, precision)
    images = [tiny_tasks.png(seed) for seed in range(3)]
    found = [r.text for r in predictor.predict_batch([BinaryRequest(data=i, max_new_tokens=10) for i in images])]
    assert len(found) == 3
    if precision != "fp32":
        return
    model = transformers.VisionEncoderDecoderModel.from_pretrained(source).eval()
    for image, text in zip(images, found, strict=True):
        pixels = torch.from_numpy(predictor.features(predictor.windows(BinaryRequest(data=image))[0]))[None]
        out = model.generate(pixel_values=pixels, max_new_tokens=10, max_length=None, do_sample=False, num_beams=1)
        assert text == predictor.tokenizer.decode(out[0].tolist()).strip()


@pytest.mark.parametrize(("source", "task", "backend", "words"), [
    (tiny_tasks.vision, "image-to-text", "ct2", "hf, ort"),
    (lambda: tiny_tasks.encoder("bert", "ForSequenceClassification"), "text-classification", "ct2", "hf, ort"),
    (lambda: tiny_tasks.encoder("mpnet", pooling_mode_mean_tokens=True), "embeddings", "ct2", "hf, ort"),
    (tiny_tasks.bart, "text-to-text", "bnb", "hf, ort, ct2"),
    (lambda: tiny_tasks.encoder("bert", "ForSequenceClassification"), "embeddings", "ort", "text-classification"),
    (tiny_tasks.marian, "speech-to-text", "ort", "hf, ort and ct2"),
])  # fmt: skip
def test_what_is_not_carried_is_refused_and_names_what_is(
    tmp_path: Path, source: Callable[[], Path], task: Any, backend: str, words: str
) -> None:
    spec = ModelSpec(name="x", source=str(source()), task=task, backend=backend, precision="fp32")
    with pytest.raises(UnsupportedError, match=words):
        convert_model(spec, tmp_path, tmp_path, progress=lambda _text, _part: None)
    assert not list(tmp_path.glob("x-*"))
