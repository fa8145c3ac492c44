"""Parity: a bundle of each task gives the same answers on every target as from the engine, however long or foreign."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lukewarm.adapters import build, local
from lukewarm.adapters.base import Adapter
from lukewarm.adapters.targets import TARGETS
from lukewarm.predictors.errors import RequestError
from lukewarm.predictors.spec import ModelSpec
from lukewarm.serving.engine import Engine
from support.converted import converted

pytestmark = [pytest.mark.servers, pytest.mark.models, pytest.mark.timeout(900)]
FOREIGN = 'naïve café, 東京 🙂 \u202edrow \\ "quoted"\n\t\u0000 e\u0301'
REQUESTS: dict[str, list[dict[str, Any]]] = {
    "embeddings": [{"text": "a cold start"}, {"text": FOREIGN}, {"text": "a b " * 12}],
    "text-classification": [{"text": "a cold start"}, {"text": FOREIGN}, {"text": "x", "top_k": 2}],
    "text-to-text": [{"text": "a cold start", "max_new_tokens": 8}, {"text": FOREIGN, "max_new_tokens": 8}],
    "text-generation": [
        {"prompt": "the model answers", "max_new_tokens": 12},
        {"prompt": FOREIGN, "max_new_tokens": 12},
        {"messages": [{"role": "user", "content": FOREIGN}], "max_new_tokens": 12},
    ],
}
NEAR = 1e-4
START_S = {"truss": 600}  # its environment is made at the first start
ENDLESS = "word é " * 300_000  # two megabytes, more than any of these models reads
# the others: make test-fuzz
IN_CI = {("cog", "embeddings"), ("bento", "embeddings")}
CASES = [
    pytest.param(target, task, marks=() if (target, task) in IN_CI else pytest.mark.slow)
    for task in REQUESTS
    for target in TARGETS.names()
]


def source(task: str) -> Path:
    from support import tiny_models, tiny_tasks

    if task == "embeddings":
        return tiny_tasks.encoder("bert", pooling_mode_mean_tokens=True)
    if task == "text-classification":
        return tiny_tasks.encoder("bert", "ForSequenceClassification")
    return tiny_tasks.marian() if task == "text-to-text" else tiny_models.tiny_model()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("bundles")
    return functools.cache(lambda task: converted(source(task), root, task, name=task))


@pytest.mark.parametrize(("target", "task"), CASES)
def test_a_target_answers_as_the_engine(
    tmp_path: Path, bundle: Callable[[str], Path], target: str, task: Any
) -> None:  # fmt: skip
    root = bundle(task)
    with Engine.open(root) as engine:
        expected = [engine.predict(dict(request)) for request in REQUESTS[task]]
        with pytest.raises(RequestError) as too_long:
            engine.predict({next(iter(REQUESTS[task][0])): ENDLESS})
    adapter: Adapter = TARGETS.load(target)
    spec = ModelSpec(name=task, task=task, backend="ort", precision="fp32")
    artifact = build.build(target, spec, tmp_path, root, tmp_path / "artifact")
    with local.start(adapter, artifact.root, timeout_s=START_S.get(target, 120)) as server:
        for request, wanted in zip(REQUESTS[task], expected, strict=True):
            answer = server.request(request, timeout_s=60)
            assert answer.ok, (str(request)[:80], answer)
            same(answer.body, wanted)
        refused = server.request({next(iter(REQUESTS[task][0])): ENDLESS}, timeout_s=60)
        assert not refused.ok
        assert refused.code == too_long.value.code


def same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Equal but for the identity of the process, numbers of a model within NEAR."""
    assert found.keys() - {"meta"} == wanted.keys() - {"meta"}
    for key in wanted.keys() - {"meta"}:
        if key == "embedding":
            assert len(found[key]) == len(wanted[key]) > 0
            assert max(abs(a - b) for a, b in zip(found[key], wanted[key], strict=True)) < NEAR
        elif key == "labels":
            assert [one["label"] for one in found[key]] == [one["label"] for one in wanted[key]]
            assert all(abs(a["score"] - b["score"]) < NEAR for a, b in zip(found[key], wanted[key], strict=True))
        else:
            assert found[key] == wanted[key]
