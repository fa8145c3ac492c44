"""Embeddings with CTranslate2's Encoder; pooling needs numpy, which ctranslate2 brings along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lukewarm.predictors.ct2.exact import to_numpy
from lukewarm.predictors.ct2.loading import load_model
from lukewarm.predictors.embeddings import Embedder

if TYPE_CHECKING:
    from lukewarm.predictors.embeddings import FloatArray, IntArray


class Ct2Embedder(Embedder):
    """The bundle's `model/` is a CTranslate2 encoder directory."""

    def load(self) -> None:
        manifest = self.bundle.manifest
        self._model: Any = load_model("Encoder", self.bundle.root / "model", manifest.precision, self.runtime)

    def hidden_states(self, ids: IntArray, mask: IntArray) -> FloatArray:
        import ctranslate2

        view = ctranslate2.StorageView.from_array(ids.astype(np.int32))
        lengths = ctranslate2.StorageView.from_array(mask.sum(1).astype(np.int32))
        return to_numpy(self._model.forward_batch(view, lengths).last_hidden_state)

    def close(self) -> None:
        self._model.unload_model()
