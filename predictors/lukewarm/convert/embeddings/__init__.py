"""Encoders to embedding bundles: pooling and normalisation as the model's sentence-transformers files say."""

from __future__ import annotations

import re
from typing import Any

from lukewarm.convert.encoders import check_common, length_options
from lukewarm.convert.source import Source
from lukewarm.convert.weights import read_json
from lukewarm.predictors.embeddings import POOLINGS
from lukewarm.predictors.errors import SourceError, UnsupportedError

# model types with an encoder loader in ctranslate2.converters.transformers (4.8)
CT2 = frozenset({"bert", "camembert", "distilbert", "roberta", "xlm-roberta"})
_MODES = {f"pooling_mode_{name}": mode for name, mode in zip(
    ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"),
    ("cls", "mean", "max", "mean_sqrt_len", "weightedmean", "lasttoken"), strict=True,
)}  # fmt: skip
_HEADS = re.compile(r"For(SequenceClassification|TokenClassification|QuestionAnswering|MultipleChoice)\Z")


def check(source: Source, backend: str) -> None:
    """Refuse what has no embeddings, or what the backend cannot carry. Imports nothing heavy."""
    name = source.architecture
    if match := _HEADS.search(name):
        hint = "; set task: text-classification" if match.group(1) == "SequenceClassification" else ""
        raise UnsupportedError(f"{name} has another head than an embedding model{hint}")
    if source.config.get("is_encoder_decoder") and not name.endswith("EncoderModel"):
        raise UnsupportedError(f"{name} is an encoder-decoder; set task: text-to-text")
    if backend == "ct2" and source.config.get("model_type") not in CT2:
        raise UnsupportedError(
            f"CTranslate2 has no encoder loader for {name}; these can: hf, ort (ct2 has: {', '.join(sorted(CT2))})"
        )
    check_common(source)
    pooling_options(source)


def pooling_options(source: Source) -> dict[str, Any]:
    """`pooling`, `normalize` and `max_tokens` of a bundle. Without modules.json: the mean, not normalised.

    Raises UnsupportedError for modules that are not carried, SourceError for files that are wrong.
    """
    path = source.root / "modules.json"
    if not path.is_file():
        return {"pooling": ["mean"], "normalize": False, **length_options(source)}
    import json

    try:
        modules = [
            (str(entry["type"]).rsplit(".", 1)[-1], str(entry["path"])) for entry in json.loads(path.read_text("utf-8"))
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{path} is damaged: {error!r}") from error
    known = {"Transformer", "Pooling", "Normalize"}
    if other := [kind for kind, _ in modules if kind not in known]:
        raise UnsupportedError(
            f"{path} has a {other[0]} module; lukewarm carries {', '.join(sorted(known))}; "
            "serve it with your own predictor class (predictor: module:Class)"
        )
    folder = next((place for kind, place in modules if kind == "Pooling"), None)
    pooling = ["mean"] if folder is None else _modes(source, folder)
    return {"pooling": pooling, "normalize": any(kind == "Normalize" for kind, _ in modules), **length_options(source)}


def _modes(source: Source, folder: str) -> list[str]:
    path = source.root / folder / "config.json"
    config = read_json(path)
    if isinstance(config.get("pooling_mode"), str):  # the newer spelling
        modes = [config["pooling_mode"]]
        if modes[0] not in POOLINGS:
            raise UnsupportedError(f"{path}: pooling_mode {modes[0]!r} is not known; known: {', '.join(POOLINGS)}")
        return modes
    # sentence-transformers joins several in this order
    modes = [mode for key, mode in _MODES.items() if config.get(key)]
    if not modes:
        raise SourceError(f"{path} switches on no pooling mode")
    return modes
