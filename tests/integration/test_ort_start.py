"""How an ort bundle is opened: ahead or not, by the C library or the Python package, alone or to be forked."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lukewarm.convert import convert_model
from lukewarm.predictors import Bundle, Runtime, ahead, load_predictor
from lukewarm.predictors.errors import BundleError
from lukewarm.predictors.ort import capi
from lukewarm.predictors.spec import ModelSpec
from support.text_generation import answers, asked
from support.tiny_models import prompts, session_root, tiny_model

pytestmark = pytest.mark.models

TEXTS = prompts(4)
# forks twice, one child after the other; each says what it answered and how many threads it then has
FORKED = """
import gc, os, sys
from lukewarm.predictors import load_predictor
from lukewarm.predictors.tasks import TextGenerationRequest
text = sys.argv[2]
model = load_predictor(sys.argv[1], threads=3, device="cpu", forks=True, warm_up=True)
ask = lambda: model.predict(TextGenerationRequest(prompt=text, max_new_tokens=8)).text
print("parent", len(os.listdir("/proc/self/task")), ask(), flush=True)
def child():
    if not (pid := os.fork()):
        print("child", len(os.listdir("/proc/self/task")), ask(), flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
child(), child()
model.close()
del model, ask
gc.collect()
if not (pid := os.fork()):
    print("closed", len(os.listdir("/proc/self/task")), "-", flush=True)
    os._exit(0)
os.waitpid(pid, 0)
"""


@functools.cache
def bundle() -> Bundle:
    bundles = session_root() / ".lukewarm" / "bundles"
    spec = ModelSpec(name="tiny-llama", source=str(tiny_model("llama")), backend="ort", precision="fp32")
    return convert_model(spec, bundles, bundles)


def test_begun_ahead_or_not_and_by_library_or_package_it_answers_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    root, requests = bundle().root, [asked(text) for text in TEXTS]
    taken: list[bool] = []
    take = ahead.take

    def noted(root: Path, settings: ahead.Settings) -> object:
        found = take(root, settings)
        taken.append(found is not None)
        return found

    monkeypatch.setattr("lukewarm.predictors.ort.session.take", noted)
    monkeypatch.setattr(ahead, "_LEAST_CPUS", 1)
    begun = answers(load_predictor(root, threads=2, device="cpu"), requests)
    later = answers(load_predictor(bundle(), Runtime(threads=2, device="cpu")), requests)
    assert taken == [True, False]
    monkeypatch.setattr(capi, "_opened", [None])
    package = answers(load_predictor(root, threads=2, device="cpu"), requests)
    assert [one.text for one in begun] == [one.text for one in later] == [one.text for one in package]


@pytest.mark.parametrize("library", [True, False])
def test_a_damaged_graph_is_one_error_and_leaves_nothing(
    library: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not library:
        monkeypatch.setattr(capi, "_opened", [None])
    copy = tmp_path / "bundle"
    (copy / "model").mkdir(parents=True)
    for path in bundle().root.rglob("*"):
        if path.is_file():
            (copy / path.relative_to(bundle().root)).write_bytes(path.read_bytes())
    for graph in (copy / "model").glob("*.onnx"):
        graph.write_bytes(graph.read_bytes()[:200].ljust(graph.stat().st_size, b"\xff"))
    for _ in range(2):
        with pytest.raises(BundleError, match=r"cannot be loaded: .+; run: lukewarm convert --force"):
            load_predictor(copy, threads=2, device="cpu")
    assert ahead._begun == {}


def test_children_of_one_model_have_threads_of_their_own() -> None:
    expected = answers(load_predictor(bundle(), Runtime(threads=1, device="cpu")), [asked(TEXTS[0], max_new_tokens=8)])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", FORKED, str(bundle().root), TEXTS[0]]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    lines = [line.split(" ", 2) for line in done.stdout.splitlines()]
    assert [(who, text) for who, _, text in lines[:3]] == [
        ("parent", expected[0].text), ("child", expected[0].text), ("child", expected[0].text)
    ]  # fmt: skip
    sessions = 1  # a small graph is not cut in two
    assert [int(threads) for _, threads, _ in lines] == [1, 1 + 2 * sessions, 1 + 2 * sessions, 1]


# answers without numpy, which cannot be imported; then, with it, one that draws its tokens
LIGHT = """
import json, sys
sys.modules["numpy"] = None
from lukewarm.predictors import load_predictor
from lukewarm.predictors.tasks import TextGenerationRequest
texts = sys.argv[2:]
model = load_predictor(sys.argv[1], threads=1, device="cpu", warm_up=True)
requests = [TextGenerationRequest(prompt=text, max_new_tokens=4 + 3 * place) for place, text in enumerate(texts)]
print(json.dumps([answer.text for answer in model.predict_batch(requests)]))
del sys.modules["numpy"]
drawn = TextGenerationRequest(prompt=texts[0], max_new_tokens=8, temperature=1.0, seed=7)
print(json.dumps(model.predict(drawn).text))
"""


def test_who_takes_the_best_token_needs_no_numpy() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", LIGHT, str(bundle().root), *TEXTS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    best, drawn = map(json.loads, done.stdout.splitlines())
    model = load_predictor(bundle(), Runtime(threads=1, device="cpu"))
    requests = [asked(text, max_new_tokens=4 + 3 * place) for place, text in enumerate(TEXTS)]
    assert best == [answer.text for answer in answers(model, requests)]
    assert drawn == answers(model, [asked(TEXTS[0], max_new_tokens=8, temperature=1.0, seed=7)])[0].text


def test_a_graph_that_does_not_choose_answers_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As bundles of older recipes are."""
    from lukewarm.convert.to_ort import passes

    monkeypatch.setattr(passes, "_choose", lambda _model: None)
    spec = ModelSpec(name="older", source=str(tiny_model("llama")), backend="ort", precision="fp32")
    older = load_predictor(convert_model(spec, tmp_path, tmp_path), Runtime(threads=1, device="cpu"))
    assert not older._parts.chooses  # type: ignore[attr-defined]
    requests = [asked(text, ignore_eos=place % 2 == 0) for place, text in enumerate(TEXTS)]
    newer = load_predictor(bundle(), Runtime(threads=1, device="cpu"))
    assert newer._parts.chooses  # type: ignore[attr-defined]
    assert answers(older, requests) == answers(newer, requests)
