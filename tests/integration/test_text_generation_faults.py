"""Around text generation: cancel, refusals, damaged weights, imports, precisions, devices."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from lukewarm.predictors import Bundle, Runtime, load_predictor
from lukewarm.predictors.bundle import list_files, write_manifest
from lukewarm.predictors.errors import BundleError, RequestError, UnsupportedError
from lukewarm.predictors.tasks import Message, TextGenerationRequest, TextGenerationResult
from support.text_generation import BACKENDS, answers, asked, predictor
from support.tiny_models import bnb_bundle, ct2_bundle, hf_bundle, prompts, tiny_model

pytestmark = pytest.mark.models


@pytest.mark.parametrize("backend", BACKENDS)
def test_cancel_in_a_stream(backend: str) -> None:
    cancel = threading.Event()
    stream = predictor(backend).stream(asked("the first token", max_new_tokens=200, ignore_eos=True), cancel)
    pieces = [next(stream)]
    cancel.set()
    pieces += stream
    result = cast(TextGenerationResult, pieces[-1].result)
    assert result.finish_reason == "cancelled"
    assert result.completion_tokens < 200
    assert "".join(piece.text for piece in pieces) == result.text


@pytest.mark.parametrize("backend", BACKENDS)
def test_cancel_before_a_batch(backend: str) -> None:
    cancel = threading.Event()
    cancel.set()
    results = predictor(backend).predict_batch([asked("a"), asked("b", temperature=1.0, seed=1)], cancel)
    assert [(r.finish_reason, r.completion_tokens) for r in results] == [("cancelled", 0)] * 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_abandoned_stream_leaves_the_predictor_usable(backend: str) -> None:
    model = predictor(backend)
    expected = answers(model, [asked("the first token")])
    stream = model.stream(asked("a cold start", max_new_tokens=200, ignore_eos=True))
    next(stream)
    stream.close()
    assert answers(model, [asked("the first token")]) == expected
    assert not [thread for thread in threading.enumerate() if thread.name == "lukewarm-ct2"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_requests_that_cannot_be_answered(backend: str) -> None:
    model = predictor(backend)
    for request, code in [
        (asked("the " * 400), "prompt_too_long"),
        (TextGenerationRequest(), "one_of"),
        (TextGenerationRequest(prompt="a", messages=[Message(role="user", content="b")]), "one_of"),
        (TextGenerationRequest(messages=[Message(role="wizard", content="b")]), "chat_template"),
    ]:
        for call in (model.check, model.predict, lambda request: list(model.stream(request))):
            with pytest.raises(RequestError) as caught:
                call(request)
            assert caught.value.code == code
    assert answers(model, [asked("still alive")])[0].completion_tokens > 0
    assert model.predict_batch([]) == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_answer_stays_within_the_context(backend: str) -> None:
    model = predictor(backend)
    request = asked("the model answers " * 20, max_new_tokens=1000, ignore_eos=True)
    result = answers(model, [request])[0]
    assert result.prompt_tokens + result.completion_tokens == 256
    assert result.finish_reason == "length"


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_empty_prompt_begins_with_the_start_token(backend: str) -> None:
    empty = answers(predictor(backend), [asked("")])[0]
    assert empty == answers(predictor(backend), [asked("<|endoftext|>")])[0]
    assert empty.prompt_tokens == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_messages_go_through_the_template(backend: str) -> None:
    model = predictor(backend)
    chat = TextGenerationRequest(messages=[Message(role="user", content="hi <there>")], max_new_tokens=8)
    plain = asked("<|im_start|>user\nhi <there><|im_end|>\n<|im_start|>assistant\n", max_new_tokens=8)
    assert answers(model, [chat]) == answers(model, [plain])


@pytest.fixture
def broken(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    backend, damage = request.param
    target = tmp_path / "bundle"
    shutil.copytree(predictor(backend).bundle.root, target)
    damage(next(p for p in (target / "model").iterdir() if p.suffix in (".safetensors", ".bin")))
    manifest = predictor(backend).bundle.manifest
    write_manifest(target, msgspec.structs.replace(manifest, files=list_files(target)))
    return target


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def foreign(path: Path) -> None:
    path.write_bytes(b"this is not a model" * 1000)


def without_a_tensor(path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(path)
    tensors.pop(sorted(name for name in tensors if "ln_f" not in name)[0])
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize(
    "broken",
    [*itertools.product(BACKENDS, [truncate, empty, foreign]), ("hf", without_a_tensor)],
    indirect=True,
    ids=lambda value: f"{value[0]}-{value[1].__name__}",
)
def test_damaged_weights_are_one_clear_error(broken: Path) -> None:
    with pytest.raises(BundleError, match="run: lukewarm convert --force"):
        load_predictor(broken)


def test_pickle_weights_are_never_read(tmp_path: Path) -> None:
    target = hf_bundle(tiny_model("gpt2"), tmp_path / "bundle")
    weights = target / "model" / "model.safetensors"
    weights.rename(weights.with_name("pytorch_model.bin"))
    bundle = Bundle(target, predictor("hf").bundle.manifest)
    with pytest.raises(BundleError, match="cannot be loaded"):
        load_predictor(bundle)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("device", "words"), [("tpu:x", "known: auto, cpu, cuda"), ("cuda:7", "is not here")])
def test_devices_that_are_not_here(backend: str, device: str, words: str) -> None:
    with pytest.raises(UnsupportedError, match=words):
        load_predictor(predictor(backend).bundle, Runtime(device=device))


def test_ct2_answers_without_torch_transformers_and_numpy() -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom lukewarm.predictors import load_predictor\n"
        "from lukewarm.predictors.tasks import TextGenerationRequest as R\n"
        f"model = load_predictor(Path({str(predictor('ct2').bundle.root)!r}), warm_up=True)\n"
        "result = model.predict(R(prompt='a cold start', temperature=0.7, top_k=9, top_p=0.9, stop=['x']))\n"
        "assert result.completion_tokens > 0\n"
        "print([name for name in ('torch', 'transformers', 'numpy', 'jinja2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


@pytest.mark.parametrize("end", ["model.predict(request)", "pieces = model.stream(request); next(pieces)"])
def test_a_process_ends_well_with_a_predictor_alive(end: str) -> None:
    """CTranslate2's worker would abort it, now and then, when it lets go of a callback too late."""
    code = (
        "from pathlib import Path\nfrom lukewarm.predictors import load_predictor\n"
        "from lukewarm.predictors.tasks import TextGenerationRequest as R\n"
        f"model = load_predictor(Path({str(predictor('ct2').bundle.root)!r}))\n"
        f"request = R(prompt='a', max_new_tokens=200, ignore_eos=True)\n{end}\n"
    )
    for _ in range(8):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("precision", ["fp32", "int8", "int8w", "fp16", "bf16"])
def test_ct2_precisions_run_here(precision: str, tmp_path: Path) -> None:
    model = load_predictor(ct2_bundle(tiny_model("gpt2"), tmp_path / "b", precision=precision), Runtime(threads=1))
    ids = list(range(5, 25))
    exact = predictor("hf").score(ids)
    agreement = (cast(Any, model).score(ids).argmax(-1) == exact.argmax(-1)).mean()
    assert agreement >= (0.5 if precision == "int8" else 0.8), "by chance it would be 0.002"
    assert answers(model, [asked("a cold start")])[0].completion_tokens > 0


@pytest.mark.parametrize("precision", ["int8", "nf4"])
def test_bnb_runs_on_a_cpu(precision: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = load_predictor(bnb_bundle(tiny_model("llama"), tmp_path / "b", precision=precision), Runtime(threads=1))
    weights = (tmp_path / "b/model/model.safetensors").stat().st_size
    assert weights < (tiny_model("llama") / "model.safetensors").stat().st_size * 0.7
    requests = [asked(text, max_new_tokens=8) for text in prompts(4)]
    caplog.clear()
    alone = [answers(model, [request])[0] for request in requests]
    assert all(result.completion_tokens > 0 for result in alone)
    if precision == "nf4":
        assert answers(model, requests) == alone
    assert not caplog.records, "bitsandbytes logs at every matrix product"


def test_bnb_refuses_plain_weights(tmp_path: Path) -> None:
    target = hf_bundle(tiny_model("llama"), tmp_path / "b", backend="bnb", precision="nf4")
    with pytest.raises(BundleError, match="no quantization_config with load_in_4bit"):
        load_predictor(target)


@pytest.mark.gpu
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_on_a_cuda_device(backend: str, precision: str, tmp_path: Path) -> None:
    make = hf_bundle if backend == "hf" else ct2_bundle
    target = make(tiny_model("llama"), tmp_path / "b", precision=precision)
    model = load_predictor(target, Runtime(device="cuda"))
    requests = [asked(text) for text in prompts(8)]
    results = answers(model, requests)
    if precision == "fp32":
        assert results == answers(predictor(backend, "llama"), requests)
    assert [answers(model, [request])[0].finish_reason for request in requests]
    seeded = [asked(text, temperature=1.0, seed=3) for text in prompts(4)]
    assert answers(model, seeded) == [answers(model, [request])[0] for request in seeded]


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["int8", "nf4"])
def test_bnb_on_a_cuda_device(precision: str, tmp_path: Path) -> None:
    target = bnb_bundle(tiny_model("llama"), tmp_path / "b", precision=precision)
    model = load_predictor(target, Runtime(device="cuda"))
    assert answers(model, [asked("a cold start")])[0].completion_tokens > 0
