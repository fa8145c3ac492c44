"""Families of encoders and encoder-decoders that the other tests do not name, and sentence-transformers' folders."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lukewarm.convert.api import ConvertOptions, convert_model
from lukewarm.predictors.errors import UnsupportedError
from lukewarm.predictors.predictor import Runtime, load_predictor
from lukewarm.predictors.spec import ModelSpec
from lukewarm.predictors.tasks import ClassificationRequest, EmbeddingRequest, TextToTextRequest
from support import unseen_tasks
from support.tiny_tasks import SENTENCES

pytestmark = pytest.mark.models

CT2_ENCODERS = ("bert", "camembert", "distilbert", "roberta", "xlm-roberta")
NO_GRAPH = ("xlnet",)  # torch.onnx says so at conversion
GENERATING = tuple(unseen_tasks.SEQ2SEQ)
NO_DECODER_GRAPH = (  # no graph, or one that says other things
    "bert2bert", "bigbird-pegasus", "fsmt", "led", "nllb-moe", "pegasus-x", "prophetnet", "switch",
)  # fmt: skip


def _load(source: Path, out: Path, task: Any, backend: str) -> Any:
    spec = ModelSpec(name="x", source=str(source), task=task, backend=backend, precision="fp32")
    bundle = convert_model(spec, out, out, options=ConvertOptions(), progress=lambda _text, _part: None)
    return load_predictor(bundle, Runtime(threads=1, device="cpu"), warm_up=True)


def _states(source: Path, kind: str, rows: list[list[int]]) -> list[Any]:
    import torch
    import transformers

    auto = transformers.T5EncoderModel if kind == "t5-encoder" else transformers.AutoModel
    model = auto.from_pretrained(source).eval()
    with torch.inference_mode():
        return [model(input_ids=torch.tensor([row])).last_hidden_state[0] for row in rows]


def _vectors(predictor: Any, texts: list[str]) -> Any:
    return np.array([result.embedding for result in predictor.predict_batch([EmbeddingRequest(text=t) for t in texts])])


@pytest.mark.parametrize("backend", ["hf", pytest.param("ort", marks=pytest.mark.slow)])
def test_sentence_transformers_modules_in_their_order(tmp_path: Path, backend: str) -> None:
    """The encoder of a T5, a prompt, lower case, a mean, two dense layers, normalised, then cut: sentence-t5's kind."""
    import torch
    from safetensors.torch import load_file

    dense = [{"in_features": 32, "out_features": 48, "bias": True,
              "activation_function": "torch.nn.modules.activation.Tanh"},
             {"in_features": 48, "out_features": 16, "bias": False,
              "activation_function": "torch.nn.modules.linear.Identity"}]  # fmt: skip
    modules = [("Pooling", {"pooling_mode": ["mean", "max"][:1]}), *(("Dense", layer) for layer in dense)]
    source = unseen_tasks.sentence_transformers(
        unseen_tasks.encoder("t5-encoder"), [*modules, ("Normalize", {})],
        config_sentence_transformers={"prompts": {"q": "Query: "}, "default_prompt_name": "q", "truncate_dim": 8},
        sentence_bert_config={"max_seq_length": 90, "do_lower_case": True},
    )  # fmt: skip
    predictor = _load(source, tmp_path, "embeddings", backend)
    from tokenizers import Tokenizer

    reader = Tokenizer.from_file(str(source / "tokenizer.json"))
    rows = [reader.encode(("Query: " + text).lower()).ids for text in SENTENCES]
    first, second = (load_file(source / f"{place}_Dense" / "model.safetensors") for place in (2, 3))
    wanted = []
    for states in _states(source, "t5-encoder", rows):
        vector = torch.tanh(states.mean(0) @ first["linear.weight"].T + first["linear.bias"])
        wanted.append(torch.nn.functional.normalize(vector @ second["linear.weight"].T, dim=0)[:8].numpy())
    assert np.abs(_vectors(predictor, SENTENCES) - np.stack(wanted)).max() < 1e-4


def test_modules_that_are_not_carried_are_refused(tmp_path: Path) -> None:
    root = unseen_tasks.encoder("distilbert")
    pooling = ("Pooling", {"pooling_mode": "mean"})
    layer = {"in_features": 32, "out_features": 8, "activation_function": "torch.nn.modules.activation.Softplus"}
    for modules, words in (
        ([pooling, ("LSTM", {})], "LSTM"),
        ([pooling, ("Dense", layer)], "softplus"),
        ([pooling, ("Normalize", {}), ("Dense", {**layer, "activation_function": "x.Tanh"})], "order"),
    ):
        with pytest.raises(UnsupportedError, match=words):
            _load(unseen_tasks.sentence_transformers(root, modules), tmp_path, "embeddings", "hf")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["hf", "ort", "ct2"])
@pytest.mark.parametrize("kind", list(unseen_tasks.ENCODERS))
def test_embeddings_of_every_family(tmp_path: Path, kind: str, backend: str) -> None:
    source = unseen_tasks.encoder(kind)
    if (backend == "ct2" and kind not in CT2_ENCODERS) or (backend == "ort" and kind in NO_GRAPH):
        with pytest.raises(UnsupportedError, match="hf"):
            _load(source, tmp_path, "embeddings", backend)
        return
    predictor = _load(source, tmp_path, "embeddings", backend)
    wanted = np.stack([s.mean(0).numpy() for s in _states(source, kind, predictor.token_rows(SENTENCES))])
    assert np.abs(_vectors(predictor, SENTENCES) - wanted).max() < 1e-4 * max(1, np.abs(wanted).max())


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["hf", "ort"])
@pytest.mark.parametrize("kind", [kind for kind in unseen_tasks.ENCODERS if kind != "t5-encoder"])
def test_classification_of_every_family(tmp_path: Path, kind: str, backend: str) -> None:
    import transformers

    source = unseen_tasks.encoder(kind, "AutoModelForSequenceClassification")
    if backend == "ort" and kind in NO_GRAPH:
        with pytest.raises(UnsupportedError, match="hf"):
            _load(source, tmp_path, "text-classification", backend)
        return
    predictor = _load(source, tmp_path, "text-classification", backend)
    pipeline = transformers.pipeline("text-classification", model=str(source), top_k=None)
    found = predictor.predict_batch([ClassificationRequest(text=text) for text in SENTENCES])
    for wanted, result in zip(pipeline(SENTENCES), found, strict=True):
        scores = {label.label: label.score for label in result.labels}
        assert all(abs(scores[entry["label"]] - entry["score"]) < 1e-4 for entry in wanted)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["hf", "ort"])
@pytest.mark.parametrize("kind", GENERATING)
def test_texts_of_every_encoder_decoder(tmp_path: Path, kind: str, backend: str) -> None:
    import torch
    import transformers

    source = unseen_tasks.seq2seq(kind)
    if backend == "ort" and kind in NO_DECODER_GRAPH:
        with pytest.raises(UnsupportedError, match="hf"):
            _load(source, tmp_path, "text-to-text", backend)
        return
    predictor = _load(source, tmp_path, "text-to-text", backend)
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(source).eval()
    for beams, penalty in itertools.product((1, 4), (1.0, 2.0)):
        fields = {"num_beams": beams, "length_penalty": penalty, "max_new_tokens": 12}
        wanted = []
        for text in SENTENCES:
            ids = torch.tensor([predictor.codec.encode(text)])
            out = model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), max_length=None, do_sample=False, **fields
            )
            wanted.append(predictor.codec.decode(out[0].tolist()))
        found = predictor.predict_batch([TextToTextRequest(text=text, **fields) for text in SENTENCES])
        assert [result.text for result in found] == wanted
