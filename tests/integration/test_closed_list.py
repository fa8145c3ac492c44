"""An artifact served by the packages of its closed list alone, slimmed: every task answers as it does with all others.

This is what makes `closure.NEVER_IMPORTED` and `slim.UNUSED` true: a package that is missing is a failed request here.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from lukewarm.adapters.build import Artifact, build
from lukewarm.adapters.examples import example_request
from lukewarm.convert.api import ConvertOptions, convert_model
from lukewarm.images.dependencies import Packages, install
from lukewarm.predictors.spec import ModelSpec
from lukewarm.serving.engine import Engine
from support import tiny_models, tiny_tasks
from support.serving import ServerProcess

pytestmark = [pytest.mark.wheel, pytest.mark.timeout(600)]
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
SOURCES: dict[str, Callable[[], Path]] = {
    "text-generation": tiny_models.tiny_model,
    "text-to-text": tiny_tasks.marian,
    "embeddings": tiny_tasks.encoder,
    "text-classification": lambda: tiny_tasks.encoder("bert", "ForSequenceClassification"),
    "speech-to-text": tiny_tasks.whisper,
    "image-to-text": tiny_tasks.vision,
}
WAYS: list[dict[str, Any]] = [  # of text generation: each goes another way through the code
    {"prompt": "the model", "max_new_tokens": 8},
    {"prompt": "the model", "max_new_tokens": 8, "seed": 3, "temperature": 0.9, "top_k": 20, "top_p": 0.9},
    {"prompt": "the model", "max_new_tokens": 8, "repetition_penalty": 1.3},
    {"messages": [{"role": "user", "content": "hello"}], "max_new_tokens": 8},
]
CELLS = [
    ("ct2", "text-generation"),
    ("ort", "embeddings"),
    *(
        pytest.param(backend, task, marks=pytest.mark.slow)
        for backend, tasks in {
            "ort": ("text-generation", "text-to-text", "text-classification", "speech-to-text", "image-to-text"),
            "ct2": ("text-to-text", "embeddings", "speech-to-text"),
        }.items()
        for task in tasks
    ),
]


def artifact_of(backend: str, task: Any, root: Path) -> Artifact:
    spec = ModelSpec(name="tiny", source=str(SOURCES[task]()), task=task, backend=backend, precision="fp32")
    options = ConvertOptions(keep_over_budget=True)
    bundle = convert_model(spec, root, root / "bundles", options=options, progress=lambda _text, _part: None)
    return build("cloudrun", spec, root, bundle.root, root / "artifact")


@contextmanager
def served_alone(artifact: Artifact, root: Path) -> Iterator[ServerProcess]:
    """By this Python without its packages: only the artifact and its list."""
    site = install(Packages(tuple(artifact.manifest.requirements), PYTHON, closed=True), root)
    env = {"PYTHONPATH": f"{artifact.root}:{site}", "ORT_DISABLE_TELEMETRY": "1"}
    server = ServerProcess(artifact.root, env=env, flags=("-S",))
    try:
        server.wait_ready(60)
        yield server
    finally:
        server.stop()


@pytest.mark.parametrize(("backend", "task"), CELLS)
def test_the_closed_list_serves_its_task(backend: str, task: str, tmp_path: Path) -> None:
    artifact = artifact_of(backend, task, tmp_path)
    assert artifact.manifest.closed
    generates = task == "text-generation"
    requests = WAYS if generates else [example_request(task)]  # type: ignore[arg-type]
    with_all = Engine.open(artifact.root)
    with_all.start()
    with served_alone(artifact, tmp_path) as server:
        for request in requests:
            reply = httpx.post(f"{server.url}/predict", json=request, timeout=60)
            assert reply.status_code == 200, (request, reply.text, server.lines[-3:])
            answer, wanted = reply.json(), with_all.predict(request)
            assert {**answer, "meta": 0} == {**wanted, "meta": 0}, request
        if generates:
            chat = {"model": "tiny", "messages": WAYS[3]["messages"], "max_tokens": 4, "stream": True}
            lines = httpx.post(f"{server.url}/v1/chat/completions", json=chat, timeout=60).text.splitlines()
            assert [line for line in lines if line.startswith("data: {")]
            assert "data: [DONE]" in lines
        assert httpx.get(f"{server.url}/livez", timeout=10).status_code == 200
    with_all.drain()


def test_what_is_left_out_is_really_absent(tmp_path: Path) -> None:
    """So that the test above can fail: the interpreter that serves sees no package but those of the list."""
    code = "import importlib.util as u; print([m for m in ('numpy', 'huggingface_hub', 'yaml') if u.find_spec(m)])"
    command = [sys.executable, "-S", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "[]"
