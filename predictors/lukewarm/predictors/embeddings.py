"""What embeddings mean on every backend: encode, pool, normalise as the model's sentence-transformers files say.

In the bundle: tokenizer.json, `model/`, and options: `pooling` (modes of POOLINGS, joined in order), `dense` (layers
behind it, weights in `dense_<n>.npy`), `normalize`, `truncate_dim`; of the text `max_tokens`, `prompt`, `lowercase`.
"""

from __future__ import annotations

import abc
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from lukewarm.predictors.bundle import Bundle
from lukewarm.predictors.encoding import TextEncoder, batches
from lukewarm.predictors.errors import BundleError, CancelledError
from lukewarm.predictors.predictor import NEVER, Predictor
from lukewarm.predictors.spec import Task
from lukewarm.predictors.tasks import EmbeddingRequest, EmbeddingResult, Request, Result

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float32]
    IntArray = npt.NDArray[np.int64]

POOLINGS = ("cls", "mean", "max", "mean_sqrt_len", "weightedmean", "lasttoken")
ACTIVATIONS = ("identity", "tanh", "relu", "sigmoid")


class Embedder(Predictor):
    """A backend gives `load` and `hidden_states`."""

    task: ClassVar[Task] = "embeddings"

    @abc.abstractmethod
    def load(self) -> None:
        """Load the model. Raises BundleError."""

    @abc.abstractmethod
    def hidden_states(self, ids: IntArray, mask: IntArray) -> FloatArray:
        """The last hidden state float32 [rows, longest, width] of padded int64 ids and mask [rows, longest]."""

    def setup(self) -> None:
        options = self.bundle.manifest.options
        self.modes = tuple(options.get("pooling") or ("mean",))
        if unknown := [mode for mode in self.modes if mode not in POOLINGS]:
            raise BundleError(
                f"{self.bundle.root} asks for an unknown pooling {unknown[0]!r}; known: {', '.join(POOLINGS)}"
            )
        self._normalize = bool(options.get("normalize"))
        self._width: int | None = options.get("truncate_dim")
        self._dense = [_Dense.read(self.bundle, number, layer) for number, layer in enumerate(options.get("dense", []))]
        self._encoder = TextEncoder(self.bundle)
        self.load()

    def predict_batch(self, requests: Sequence[Request], cancel: threading.Event = NEVER) -> list[Result]:
        rows = [self._ids(request) for request in requests]
        results: dict[int, Result] = {}
        for indices in batches(rows):
            if cancel.is_set():
                raise CancelledError
            vectors = self.embed([rows[index] for index in indices])
            for index, vector in zip(indices, vectors.tolist(), strict=True):
                results[index] = EmbeddingResult(embedding=vector, prompt_tokens=len(rows[index]))
        return [results[index] for index in range(len(rows))]

    def token_rows(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts, shortened where they are too long: for measurements."""
        return self._encoder.rows(texts)

    def embed(self, rows: Sequence[Sequence[int]]) -> FloatArray:
        """Vectors float32 [rows, width] of token rows."""
        ids, mask = pad(rows, self.bundle.manifest.pad_token_id or 0)
        return self.head(self.hidden_states(ids, mask), mask)

    def head(self, hidden: FloatArray, mask: IntArray) -> FloatArray:
        """What follows the model: hidden states float32 [rows, longest, width] and their mask to vectors."""
        vectors = pool(hidden, mask, self.modes)
        for layer in self._dense:
            vectors = layer(vectors)
        vectors = normalize(vectors) if self._normalize else vectors
        return vectors[:, : self._width]

    def check(self, request: Request) -> None:
        self._ids(request)

    def warm_up(self) -> None:
        self.predict(EmbeddingRequest(text="a"))

    def _ids(self, request: Request) -> list[int]:
        assert isinstance(request, EmbeddingRequest)
        return self._encoder.ids(request.text)


@dataclass(frozen=True)
class _Dense:
    weight: FloatArray  # [out, in]
    bias: FloatArray | None
    activation: str

    @classmethod
    def read(cls, bundle: Bundle, number: int, options: Mapping[str, Any]) -> _Dense:
        import numpy as np

        names = [f"dense_{number}.npy", *([f"dense_{number}_bias.npy"] if options.get("bias") else [])]
        try:
            weight, *bias = (np.load(bundle.path(name), allow_pickle=False) for name in names)
        except (ValueError, EOFError) as error:
            raise BundleError(f"{bundle.root / names[0]} is damaged: {error}; run: lukewarm convert --force") from error
        return cls(weight, bias[0] if bias else None, str(options.get("activation")))

    def __call__(self, vectors: FloatArray) -> FloatArray:
        import numpy as np

        values: FloatArray = vectors @ self.weight.T
        if self.bias is not None:
            values += self.bias
        if self.activation == "tanh":
            np.tanh(values, out=values)
        elif self.activation == "relu":
            np.maximum(values, 0, out=values)
        elif self.activation == "sigmoid":
            values = (0.5 + 0.5 * np.tanh(values / 2)).astype(np.float32)
        return values


def pad(rows: Sequence[Sequence[int]], fill: int) -> tuple[IntArray, IntArray]:
    """Token rows -> ids and mask, int64 [rows, longest], padded on the right."""
    import numpy as np

    longest = max(map(len, rows))
    ids = np.full((len(rows), longest), fill, np.int64)
    mask = np.zeros((len(rows), longest), np.int64)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
        mask[index, : len(row)] = 1
    return ids, mask


def pool(hidden: FloatArray, mask: IntArray, modes: Sequence[str]) -> FloatArray:
    """float32 [rows, longest, width] -> [rows, width * modes], as sentence-transformers pools; padding is right."""
    import numpy as np

    real = mask[..., None].astype(np.float32)
    count = np.maximum(real.sum(1), 1e-9)
    parts: list[FloatArray] = []
    for mode in modes:
        if mode == "cls":
            parts.append(hidden[:, 0])
        elif mode == "max":
            parts.append(np.where(real > 0, hidden, -1e9).max(1))
        elif mode == "lasttoken":
            parts.append(hidden[np.arange(len(hidden)), mask.sum(1) - 1])
        elif mode == "weightedmean":
            weights = real * np.arange(1, hidden.shape[1] + 1, dtype=np.float32)[None, :, None]
            parts.append((hidden * weights).sum(1) / np.maximum(weights.sum(1), 1e-9))
        else:
            parts.append((hidden * real).sum(1) / (count if mode == "mean" else np.sqrt(count)))
    joined: FloatArray = np.concatenate(parts, 1).astype(np.float32)
    return joined


def normalize(vectors: FloatArray) -> FloatArray:
    """Each row divided by its length; a row of zeros stays."""
    import numpy as np

    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: FloatArray = vectors / np.maximum(lengths, 1e-12)
    return scaled
