"""Embeddings and text classification with ONNX Runtime: `model/encoder.onnx`, ids and mask in, one tensor out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lukewarm.predictors.embeddings import Embedder
from lukewarm.predictors.ort.session import open_bundle
from lukewarm.predictors.predictor import Predictor
from lukewarm.predictors.text_classification import TextClassifier

if TYPE_CHECKING:
    from lukewarm.predictors.embeddings import FloatArray, IntArray


class OrtEmbedder(Embedder):
    """The graph's output is the last hidden state."""

    def load(self) -> None:
        self._session: Any = _open(self)

    def hidden_states(self, ids: IntArray, mask: IntArray) -> FloatArray:
        return _run(self._session, ids, mask)

    def close(self) -> None:
        self._session = None


class OrtTextClassifier(TextClassifier):
    """The graph's output is the logits."""

    def load(self) -> None:
        self._session: Any = _open(self)

    def logits(self, ids: IntArray, mask: IntArray, types: IntArray | None) -> FloatArray:
        return _run(self._session, ids, mask, types)

    def close(self) -> None:
        self._session = None


def _open(predictor: Predictor) -> Any:
    (session,) = open_bundle(predictor.bundle, predictor.runtime)
    return session


def _run(session: Any, ids: IntArray, mask: IntArray, types: IntArray | None = None) -> FloatArray:
    given = {"input_ids": ids, "attention_mask": mask} | ({} if types is None else {"token_type_ids": types})
    values: FloatArray = session.run(None, given)[0]
    return values
