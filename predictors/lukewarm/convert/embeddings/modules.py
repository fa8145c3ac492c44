"""Reads the sentence-transformers files of a model: pooling, dense layers, normalisation, prompt, length."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lukewarm.convert import weights
from lukewarm.convert.encoders import length_options
from lukewarm.convert.source import Source
from lukewarm.convert.weights import read_json
from lukewarm.predictors.embeddings import ACTIVATIONS, POOLINGS
from lukewarm.predictors.errors import SourceError, UnsupportedError

_MODES = {f"pooling_mode_{name}": mode for name, mode in zip(
    ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"),
    ("cls", "mean", "max", "mean_sqrt_len", "weightedmean", "lasttoken"), strict=True,
)}  # fmt: skip
_KNOWN = ("Transformer", "Pooling", "Dense", "Normalize")  # in this order
_OWN_CLASS = "serve it with your own predictor class (predictor: module:Class)"


def options(source: Source) -> dict[str, Any]:
    """The options of `predictors/embeddings.py`. Without modules.json: the mean, not normalised.

    Raises UnsupportedError for modules that are not carried, SourceError for files that are wrong.
    """
    found: dict[str, Any] = {"pooling": ["mean"], "normalize": False, **length_options(source)}
    path = source.root / "modules.json"
    if not path.is_file():
        return found
    modules = _modules(path)
    kinds = [kind for kind, _ in modules]
    if other := [kind for kind in kinds if kind not in _KNOWN]:
        raise UnsupportedError(f"{path} has a {other[0]} module; lukewarm carries {', '.join(_KNOWN)}; {_OWN_CLASS}")
    if kinds != sorted(kinds, key=_KNOWN.index):
        raise UnsupportedError(f"{path} puts its modules in the order {', '.join(kinds)}; {_OWN_CLASS}")
    pooling = next((source.root / place / "config.json" for kind, place in modules if kind == "Pooling"), None)
    if pooling is not None:
        found["pooling"] = _modes(pooling)
    found["normalize"] = "Normalize" in kinds
    if dense := [_dense(source.root / place) for kind, place in modules if kind == "Dense"]:
        found["dense"] = dense
    return found | _text_options(source, pooling)


def write_dense(source: Source, out: Path) -> None:
    """Write the dense layers of a source into a bundle: `dense_<n>.npy` and `dense_<n>_bias.npy`, float32."""
    import numpy as np
    from safetensors import safe_open

    path = source.root / "modules.json"
    places = [place for kind, place in _modules(path) if kind == "Dense"] if path.is_file() else []
    for number, place in enumerate(places):
        file = source.root / place / "model.safetensors"
        weights.check_no_nan(weights.tensors([file]))
        with safe_open(file, "pt") as stream:
            for name, key in ((f"dense_{number}", "linear.weight"), (f"dense_{number}_bias", "linear.bias")):
                if key in stream.keys():  # noqa: SIM118 - not a dict
                    np.save(out / f"{name}.npy", stream.get_tensor(key).float().numpy(), allow_pickle=False)


def _modules(path: Path) -> list[tuple[str, str]]:
    try:
        return [
            (str(entry["type"]).rsplit(".", 1)[-1], str(entry["path"])) for entry in json.loads(path.read_text("utf-8"))
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{path} is damaged: {error!r}") from error


def _modes(path: Path) -> list[str]:
    config = read_json(path)
    given = config.get("pooling_mode")  # the newer spelling: one mode or several
    modes = [given] if isinstance(given, str) else given
    if modes is None:
        # sentence-transformers joins several in this order
        modes = [mode for key, mode in _MODES.items() if config.get(key)]
    if not isinstance(modes, list) or not modes:
        raise SourceError(f"{path} switches on no pooling mode")
    if unknown := [mode for mode in modes if mode not in POOLINGS]:
        raise UnsupportedError(f"{path}: pooling_mode {unknown[0]!r} is not known; known: {', '.join(POOLINGS)}")
    return modes


def _dense(folder: Path) -> dict[str, Any]:
    """Activation and bias of one dense layer; its weights are checked against its config."""
    config = read_json(folder / "config.json")
    activation = str(config.get("activation_function", "torch.nn.modules.activation.Tanh")).rsplit(".", 1)[-1].lower()
    if activation not in ACTIVATIONS or config.get("use_residual") or config.get("module_input_name", _DENSE) != _DENSE:
        what = f"activation {activation}" if activation not in ACTIVATIONS else "residual or other input"
        raise UnsupportedError(f"{folder} is a dense layer with {what}, which is not known here; {_OWN_CLASS}")
    if not (folder / "model.safetensors").is_file():
        raise SourceError(f"{folder} has no model.safetensors; save the model anew with sentence-transformers")
    found = {name: tensor.shape for name, tensor in weights.tensors([folder / "model.safetensors"]).items()}
    width = config.get("out_features")
    wanted = {"linear.weight": (width, config.get("in_features"))} | (
        {"linear.bias": (width,)} if config.get("bias", True) else {}
    )
    if found != wanted:
        raise SourceError(f"{folder / 'model.safetensors'} holds {found}, its config.json says {wanted}")
    return {"activation": activation, "bias": "linear.bias" in wanted}


_DENSE = "sentence_embedding"


def _text_options(source: Source, pooling: Path | None) -> dict[str, Any]:
    """Lower-casing, the prompt that stands before every text, and the width that vectors are cut to."""
    found: dict[str, Any] = {}
    files = [source.root / name for name in ("sentence_bert_config.json", "config_sentence_transformers.json")]
    bert, config = (read_json(path) if path.is_file() else {} for path in files)
    if bert.get("do_lower_case"):
        found["lowercase"] = True
    name = config.get("default_prompt_name")
    prompt = (config.get("prompts") or {}).get(name) if name is not None else None
    if name is not None and not isinstance(prompt, str):
        raise SourceError(f"{files[1]} names the default prompt {name!r}, which it does not hold")
    if prompt and pooling is not None and read_json(pooling).get("include_prompt") is False:
        raise UnsupportedError(f"{pooling} leaves the prompt out of the pooling, which is not known here; {_OWN_CLASS}")
    if prompt:
        found["prompt"] = prompt
    width = config.get("truncate_dim")
    if isinstance(width, int) and width > 0:
        found["truncate_dim"] = width
    return found
