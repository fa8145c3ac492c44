"""The model-free floor: answers with the prompt's words. A reading aid for Predictor, and the servers' reference."""

from __future__ import annotations

import math
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, cast

from lukewarm.predictors.bundle import Bundle
from lukewarm.predictors.errors import RequestError
from lukewarm.predictors.predictor import NEVER, Backend, Predictor, Runtime
from lukewarm.predictors.spec import Task
from lukewarm.predictors.tasks import (
    Delta,
    EmbeddingRequest,
    EmbeddingResult,
    FinishReason,
    Request,
    Result,
    TextGenerationRequest,
    TextGenerationResult,
)

WIDTH = 8  # of an embedding


class EchoPredictor(Predictor):
    """A token is a word. `options.delay_s` sleeps per token, so that tests can fill queues and cancel."""

    task: ClassVar[Task] = "text-generation"
    interleaves = True

    def setup(self) -> None:
        self.delay_s = float(self.bundle.manifest.options.get("delay_s", 0.0))

    def predict_batch(self, requests: Sequence[Request], cancel: threading.Event = NEVER) -> list[Result]:
        return [cast(Result, list(self.stream(request, cancel))[-1].result) for request in requests]

    def stream(self, request: Request, cancel: threading.Event = NEVER) -> Iterator[Delta]:
        self.check(request)
        assert isinstance(request, TextGenerationRequest)
        words = prompt_text(request).split()
        limit = request.max_new_tokens or 128
        sent: list[str] = []
        reason: FinishReason = "eos"
        for word in words:
            if len(sent) == limit:
                reason = "length"
                break
            if cancel.wait(self.delay_s) if self.delay_s else cancel.is_set():
                reason = "cancelled"
                break
            if word in (request.stop or ()):
                reason = "stop"
                break
            sent.append(word if not sent else f" {word}")
            yield Delta(text=sent[-1])
        yield Delta(
            result=TextGenerationResult(
                text="".join(sent), finish_reason=reason, prompt_tokens=len(words), completion_tokens=len(sent)
            )
        )

    def check(self, request: Request) -> None:
        prompt_text(request)


class EchoEmbedder(Predictor):
    """A vector of WIDTH numbers, of length 1: which words a text has, each counted in the place of its checksum."""

    task: ClassVar[Task] = "embeddings"

    def setup(self) -> None: ...

    def predict_batch(self, requests: Sequence[Request], cancel: threading.Event = NEVER) -> list[Result]:
        results: list[Result] = []
        for request in requests:
            words = cast(EmbeddingRequest, request).text.split()
            counts = [1.0] * WIDTH  # so that no text has the vector 0
            for word in words:
                counts[zlib.crc32(word.encode()) % WIDTH] += 1.0
            length = math.sqrt(sum(count * count for count in counts))
            results.append(EmbeddingResult(embedding=[count / length for count in counts], prompt_tokens=len(words)))
        return results


def prompt_text(request: Request) -> str:
    """The prompt, or the last message's content. Raises RequestError unless exactly one is given."""
    assert isinstance(request, TextGenerationRequest)
    if (request.prompt is None) == (request.messages is None):
        raise RequestError("one_of", "give exactly one of 'prompt' and 'messages'", allowed="prompt | messages")
    return request.prompt if request.prompt is not None else cast(list, request.messages)[-1].content  # type: ignore[type-arg]


class EchoBackend(Backend):
    name = "echo"
    survives_fork = True
    support: ClassVar[Mapping[Task, tuple[str, ...]]] = {"text-generation": ("none",), "embeddings": ("none",)}

    def answers_forked(self, runtime: Runtime) -> bool:
        return True  # it has no threads

    def create(self, bundle: Bundle, runtime: Runtime) -> Predictor:
        kind = EchoEmbedder if bundle.manifest.task == "embeddings" else EchoPredictor
        return kind(bundle, runtime)


backend = EchoBackend()
