"""Two callers that stream at once from one real server: both receive pieces as they are made, and the right ones."""

from __future__ import annotations

import itertools
import json
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from lukewarm.serving.engine import Engine
from support.converted import converted
from support.serving import echo_artifact, running

WORDS = 30
DELAY_S = 0.02
ATTEMPTS = 3  # a reader that was held up sees another order than the server's; a wrong server fails each time


def stream(url: str, prompt: str, arrivals: list[str], name: str) -> str:
    """The text of one stream; `name` is noted at each of its pieces."""
    text = ""
    body = {"prompt": prompt, "stream": True, "max_new_tokens": 100}
    with httpx.stream("POST", f"{url}/predict", json=body, timeout=60) as response:
        assert response.status_code == 200
        for line in response.iter_lines():
            if line.startswith("data: "):
                event = json.loads(line.removeprefix("data: "))
                arrivals.append(name)
                text += event.get("delta", "")
    return text


def two_streams(root: Path) -> list[str]:
    """Whose piece came when, of two streams that begin together."""
    arrivals: list[str] = []
    texts: dict[str, str] = {}
    prompts = {name: " ".join(f"{name}{number}" for number in range(WORDS)) for name in "ab"}
    with running(root) as server:

        def one(name: str) -> None:
            texts[name] = stream(server.url, prompts[name], arrivals, name)

        threads = [threading.Thread(target=one, args=[name]) for name in prompts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert texts == prompts
    return arrivals


@pytest.mark.alone
def test_two_streams_take_turns(tmp_path: Path) -> None:
    seen = []
    for attempt in range(ATTEMPTS):
        seen.append(two_streams(echo_artifact(tmp_path / str(attempt), DELAY_S, scaling={"concurrency": 2})))
        if max(len(list(group)) for _, group in itertools.groupby(seen[-1])) < WORDS / 2:
            return
    raise AssertionError(["".join(arrivals) for arrivals in seen])


@pytest.mark.alone
def test_one_stream_at_a_time_where_the_spec_says_so(tmp_path: Path) -> None:
    seen = []
    for attempt in range(ATTEMPTS):
        seen.append(two_streams(echo_artifact(tmp_path / str(attempt), DELAY_S, scaling={"concurrency": 1})))
        if len(list(itertools.groupby(seen[-1]))) == 2:
            return
    raise AssertionError(["".join(arrivals) for arrivals in seen])


@pytest.mark.models
@pytest.mark.parametrize("backend", ["ort", *(pytest.param(name, marks=pytest.mark.slow) for name in ("hf", "ct2"))])
def test_streams_of_a_model_say_what_they_say_alone(tmp_path: Path, backend: str) -> None:
    from support.tiny_models import tiny_model

    root = converted(tiny_model(), tmp_path, "text-generation", backend)
    prompts = ["the model answers", "a cold start of the server", "x"]
    with Engine.open(root, spec={"scaling": {"concurrency": 3}}) as engine:
        alone = [engine.predict(request(prompt))["text"] for prompt in prompts]
        together: dict[str, str] = {}

        def one(prompt: str) -> None:
            pieces = engine.stream({**request(prompt), "stream": True})
            together[prompt] = "".join(piece.get("delta", "") for piece in pieces)

        threads = [threading.Thread(target=one, args=[prompt]) for prompt in prompts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert [together[prompt] for prompt in prompts] == alone
    assert len(set(alone)) == len(prompts)


def request(prompt: str) -> dict[str, Any]:
    return {"prompt": prompt, "max_new_tokens": 24, "ignore_eos": True}
