"""`dynamic-int8` on ort: near the source, and what stands beside a text in a batch changes nothing in its answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lukewarm.convert.api import ConvertOptions, convert_model
from lukewarm.convert.to_ort import whole_rows
from lukewarm.predictors import load_predictor
from lukewarm.predictors.bundle import Bundle
from lukewarm.predictors.spec import ModelSpec, Task
from lukewarm.predictors.tasks import EmbeddingRequest
from support import tiny_tasks
from support.text_generation import answers, asked
from support.tiny_models import prompts, tiny_model

pytestmark = pytest.mark.models


@pytest.fixture(autouse=True)
def _products_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_rows, "SMALL", 1)  # tiny models have none that is worth it


def _converted(source: Path, task: Task, folder: Path) -> Bundle:
    spec = ModelSpec(name="tiny", source=str(source), task=task, backend="ort", precision="dynamic-int8")
    return convert_model(spec, folder, folder, options=ConvertOptions(keep_over_budget=True))


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_a_decoder(architecture: str, tmp_path: Path) -> None:
    bundle = _converted(tiny_model(architecture), "text-generation", tmp_path)
    assert bundle.manifest.options["whole_rows"] >= 4, "nothing is in whole rows: no test"
    assert bundle.manifest.accuracy["perplexity_ratio"] < 1.01
    model: Any = load_predictor(bundle.root, threads=1, device="cpu")
    requests = [asked(text) for text in prompts(12)]
    together = [result.text for result in answers(model, requests)]
    assert together == [answers(model, [request])[0].text for request in requests]
    assert len(set(together)) > 4, "the model says the same to everything: no test"


def test_an_encoder(tmp_path: Path) -> None:
    source = tiny_tasks.encoder("bert", pooling_mode_mean_tokens=True)
    bundle = _converted(source, "embeddings", tmp_path)
    assert bundle.manifest.accuracy["cosine_min"] > 0.99
    model: Any = load_predictor(bundle.root, threads=1, device="cpu")
    requests = [EmbeddingRequest(text=text) for text in tiny_tasks.SENTENCES]
    together = np.array([result.embedding for result in model.predict_batch(requests)])
    alone = np.array([model.predict(request).embedding for request in requests])
    assert np.abs(together - alone).max() < 1e-5
