"""Embeddings and text classification with transformers. The bundle's `model/` is a Hugging Face directory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lukewarm.predictors.embeddings import Embedder
from lukewarm.predictors.hf.loading import load_model, prepare_torch, torch_dtype
from lukewarm.predictors.predictor import Predictor
from lukewarm.predictors.text_classification import TextClassifier

if TYPE_CHECKING:
    from lukewarm.predictors.embeddings import FloatArray, IntArray


class HfEmbedder(Embedder):
    """fp32, bf16 or fp16 weights on a CPU or a CUDA device; `Runtime.options` go to `from_pretrained`."""

    def load(self) -> None:
        self._model: Any = _load(self, str(self.bundle.manifest.options.get("auto_class", "AutoModel")))

    def hidden_states(self, ids: IntArray, mask: IntArray) -> FloatArray:
        states: FloatArray = _run(self._model, ids, mask).last_hidden_state.float().cpu().numpy()
        return states

    def close(self) -> None:
        self._model = None


class HfTextClassifier(TextClassifier):
    """fp32, bf16 or fp16 weights on a CPU or a CUDA device; `Runtime.options` go to `from_pretrained`."""

    def load(self) -> None:
        self._model: Any = _load(self, "AutoModelForSequenceClassification")

    def logits(self, ids: IntArray, mask: IntArray, types: IntArray | None) -> FloatArray:
        values: FloatArray = _run(self._model, ids, mask, types).logits.float().cpu().numpy()
        return values

    def close(self) -> None:
        self._model = None


def _load(predictor: Predictor, auto_class: str) -> Any:
    device = prepare_torch(predictor.runtime)
    manifest = predictor.bundle.manifest
    arguments = {**manifest.options.get("arguments", {}), **predictor.runtime.options}
    return load_model(
        auto_class, predictor.bundle.root / "model", device, dtype=torch_dtype(manifest.precision), **arguments
    )


def _run(model: Any, ids: IntArray, mask: IntArray, types: IntArray | None = None) -> Any:
    import torch

    given = {"input_ids": ids, "attention_mask": mask} | ({} if types is None else {"token_type_ids": types})
    with torch.inference_mode():
        return model(**{name: torch.from_numpy(array).to(model.device) for name, array in given.items()})
