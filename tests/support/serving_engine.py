"""An Engine over a predictor written in a test."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from lukewarm.predictors.bundle import Bundle, Manifest
from lukewarm.predictors.errors import RequestError
from lukewarm.predictors.predictor import NEVER, Predictor, Runtime
from lukewarm.predictors.spec import ModelSpec, Task
from lukewarm.predictors.tasks import Delta, Request, Result, TextGenerationRequest, TextGenerationResult
from lukewarm.serving.engine import Engine


class Scripted(Predictor):
    """Does what its prompt says: `wait SECONDS`, `fail`, `exit`, `reject`, `short`; any other prompt is answered."""

    task: ClassVar[Task] = "text-generation"

    def setup(self) -> None:
        self.batches: list[list[str]] = []
        self.threads: set[int] = set()
        self.active = 0
        self.closed = False

    def check(self, request: Request) -> None:
        if prompt(request) == "reject":
            raise RequestError("too_long", "the prompt is too long", "$.prompt", "at most 3 tokens")
        if prompt(request) == "broken check":
            raise ValueError("secret detail")

    def predict_batch(self, requests: Sequence[Request], cancel: threading.Event = NEVER) -> list[Result]:
        self.threads.add(threading.get_ident())
        self.batches.append([prompt(request) for request in requests])
        results = [self._one(prompt(request), cancel) for request in requests]
        return results[:-1] if any(prompt(request) == "short" for request in requests) else results

    def _one(self, text: str, cancel: threading.Event) -> Result:
        if text == "fail":
            raise RuntimeError("secret detail /etc/passwd")
        if text == "exit":
            raise SystemExit(3)
        cancelled = text.startswith("wait") and cancel.wait(float(text.split()[1]))
        return result(text, "cancelled" if cancelled else "eos")

    def stream(self, request: Request, cancel: threading.Event = NEVER) -> Iterator[Delta]:
        text = prompt(request)
        for word in text.split():
            if word == "fail":
                raise RuntimeError("secret detail")
            if word == "nap" and cancel.wait(0.2):
                yield Delta(result=result("", "cancelled"))
                return
            yield Delta(text=word)
        if "short" not in text:
            yield Delta(result=result(text.replace(" ", ""), "eos"))

    def close(self) -> None:
        self.closed = True


def prompt(request: Request) -> str:
    assert isinstance(request, TextGenerationRequest)
    return request.prompt or ""


def result(text: str, reason: Any) -> TextGenerationResult:
    return TextGenerationResult(text=text, finish_reason=reason, prompt_tokens=1, completion_tokens=1)


class TestEngine(Engine):
    """An engine whose predictor is made in the test's process."""

    __test__ = False
    predictor_class: type[Predictor] = Scripted

    def _load(self) -> Predictor:
        self.predictor = self.predictor_class(self.bundle, Runtime())
        self.predictor.setup()
        return self.predictor


def engine_of(predictor: type[Predictor] = Scripted, *, start: bool = True, **spec: Any) -> TestEngine:
    """A started engine; `spec` holds the keys of lukewarm.yaml, nested."""
    values = msgspec.convert({"name": "echo", "backend": "echo", "precision": "none", **spec}, ModelSpec)
    manifest = Manifest(format=1, name="echo", task=predictor.task, backend="echo", precision="none")
    engine = TestEngine(Bundle(Path("."), manifest), values)
    engine.predictor_class = predictor
    if start:
        engine.start()
    return engine


def until(condition: Any, timeout_s: float = 60.0) -> None:
    """Wait for a condition that another thread makes true."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.002)
