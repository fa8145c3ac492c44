"""What text classification means on every backend: logits to labels with scores, as transformers' pipeline gives them.

In the bundle: tokenizer.json, `model/`, and options: `labels` (in the order of the outputs), `function` (softmax,
sigmoid or none), `max_tokens`, `equal_lengths` (the model reads its answer at the last place, padding or not),
`token_types` (the model is told which of two texts a token belongs to).
"""

from __future__ import annotations

import abc
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from lukewarm.predictors.embeddings import pad
from lukewarm.predictors.encoding import TextEncoder, batches
from lukewarm.predictors.errors import BundleError, CancelledError, RequestError
from lukewarm.predictors.predictor import NEVER, Predictor
from lukewarm.predictors.spec import Task
from lukewarm.predictors.tasks import ClassificationRequest, ClassificationResult, Label, Request, Result

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float32]
    IntArray = npt.NDArray[np.int64]

FUNCTIONS = ("softmax", "sigmoid", "none")


class TextClassifier(Predictor):
    """A backend gives `load` and `logits`."""

    task: ClassVar[Task] = "text-classification"

    @abc.abstractmethod
    def load(self) -> None:
        """Load the model. Raises BundleError."""

    @abc.abstractmethod
    def logits(self, ids: IntArray, mask: IntArray, types: IntArray | None) -> FloatArray:
        """float32 [rows, labels] of padded int64 ids, mask and, where the model takes them, types [rows, longest]."""

    def setup(self) -> None:
        options = self.bundle.manifest.options
        self._labels = [str(label) for label in options.get("labels", [])]
        self._function = str(options.get("function", "softmax"))
        if not self._labels or self._function not in FUNCTIONS:
            raise BundleError(f"{self.bundle.root} names no labels or no known function; run: lukewarm convert --force")
        self._equal_lengths = bool(options.get("equal_lengths"))
        self._takes_types = bool(options.get("token_types"))
        self._encoder = TextEncoder(self.bundle)
        self.load()

    def predict_batch(self, requests: Sequence[Request], cancel: threading.Event = NEVER) -> list[Result]:
        encoded = [self._encode(request) for request in requests]
        rows = [ids for ids, _ in encoded]
        results: dict[int, Result] = {}
        for indices in batches(rows, equal=self._equal_lengths):
            if cancel.is_set():
                raise CancelledError
            found = self.scores([rows[index] for index in indices], [encoded[index][1] for index in indices])
            for index, scores in zip(indices, found, strict=True):
                request = requests[index]
                assert isinstance(request, ClassificationRequest)
                results[index] = ClassificationResult(
                    labels=best(self._labels, scores.tolist(), request.top_k), prompt_tokens=len(rows[index])
                )
        return [results[index] for index in range(len(rows))]

    def token_rows(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts, shortened where they are too long: for measurements."""
        return self._encoder.rows(texts)

    def scores(self, rows: Sequence[Sequence[int]], types: Sequence[Sequence[int]] | None = None) -> FloatArray:
        """Scores float32 [rows, labels] of token rows; without `types` each row is one text."""
        ids, mask = pad(rows, self.bundle.manifest.pad_token_id or 0)
        given = None
        if self._takes_types:
            given = pad(types or [[0] * len(row) for row in rows], 0)[0]
        return apply(self._function, self.logits(ids, mask, given))

    def check(self, request: Request) -> None:
        self._encode(request)

    def warm_up(self) -> None:
        self.predict(ClassificationRequest(text="a"))

    def _encode(self, request: Request) -> tuple[list[int], list[int]]:
        assert isinstance(request, ClassificationRequest)
        if request.top_k is not None and request.top_k > len(self._labels):
            raise RequestError(
                "too_many_labels",
                f"top_k is {request.top_k}; the model has {len(self._labels)} labels",
                "$.top_k",
                allowed=f"1 to {len(self._labels)}",
            )
        return self._encoder.pair(request.text, request.text_pair)


def best(labels: Sequence[str], scores: Sequence[float], top_k: int | None) -> list[Label]:
    """The labels with the highest scores, best first; of equals the first."""
    order = sorted(range(len(labels)), key=lambda index: -scores[index])
    return [Label(labels[index], scores[index]) for index in order[:top_k]]


def apply(function: str, logits: FloatArray) -> FloatArray:
    """Softmax or sigmoid over float32 [rows, labels], without overflow."""
    import numpy as np

    if function == "none":
        return logits
    if function == "sigmoid":
        ends = np.exp(-np.abs(logits))
        sigmoid: FloatArray = np.where(logits >= 0, np.float32(1), ends) / (1 + ends)
        return sigmoid
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    softmax: FloatArray = powers / powers.sum(-1, keepdims=True)
    return softmax
