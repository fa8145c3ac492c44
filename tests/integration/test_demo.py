"""The real demo model, after `make demo`: runtimes agree, and the root example answers as `lukewarm predict` does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lukewarm.adapters import local
from lukewarm.adapters.bento import adapter
from lukewarm.predictors.predictor import load_predictor
from lukewarm.predictors.tasks import TextGenerationRequest

ROOT = Path(__file__).parents[2]
BUNDLES = ROOT / ".lukewarm/bundles"
PROMPTS = ["The capital of France is", "Water boils at", "def fibonacci(n):", "Once upon a time", "2 + 2 ="]
pytestmark = [pytest.mark.demo, pytest.mark.timeout(600)]


def texts(backend: str, precision: str, prompts: list[str]) -> list[str]:
    predictor = load_predictor(BUNDLES / f"smollm2-135m-instruct-{backend}-{precision}")
    try:
        requests = [TextGenerationRequest(prompt=prompt, max_new_tokens=16) for prompt in prompts]
        return [getattr(result, "text", "") for result in predictor.predict_batch(requests)]
    finally:
        predictor.close()


def test_ort_and_ct2_write_the_same_in_fp32() -> None:
    found = texts("ort", "fp32", PROMPTS)
    assert all(found)
    assert found == texts("ct2", "fp32", PROMPTS)


def test_every_backend_was_measured() -> None:
    rows = [json.loads(line) for line in (ROOT / "report/records.jsonl").read_text("utf-8").splitlines()]
    cases = [row for row in rows if row["kind"] == "measured"]
    reasons = [
        f"{row['case']['backend']} {row['case']['precision']}: {row['reason']}" for row in cases if row.get("reason")
    ]
    measured = {row["case"]["backend"] for row in cases if row.get("phases")}
    assert {"hf", "ort", "ct2", "bnb"} <= measured, reasons


def test_bentoml_serve_in_the_repository_root_answers_as_predict() -> None:
    (expected,) = texts("ort", "int8", PROMPTS[:1])
    running = local.start(adapter, ROOT)
    try:
        answer = running.request({"prompt": PROMPTS[0], "max_new_tokens": 16})
    finally:
        running.stop()
    assert answer.body["text"] == expected
