"""Folders and files that look like a model and are none that can be converted: one line each, with the way out."""

from __future__ import annotations

from pathlib import Path

from lukewarm.convert.weights import read_json
from lukewarm.predictors.errors import SourceError, UnsupportedError

_FORMATS = (
    ("*.gguf", "GGUF"),
    ("*.onnx", "ONNX"),
    ("*.tflite", "TFLite"),
    ("*.nemo", "NeMo"),
    ("*.engine", "TensorRT"),
)


def check(root: Path) -> None:
    """Raise UnsupportedError or SourceError for a source that is another format or only a part of a model."""
    if root.is_file():
        kind = next((name for pattern, name in _FORMATS if root.match(pattern)), None)
        if kind is not None:
            raise UnsupportedError(f"{root} is a {kind} file; {_ORIGINAL}")
        raise SourceError(f"{root} is a file; source is the folder that holds config.json")
    if (root / "adapter_config.json").is_file():
        base = read_json(root / "adapter_config.json").get("base_model_name_or_path")
        raise UnsupportedError(
            f"{root} is an adapter (LoRA or the like){f' of {base}' if base else ''}, no whole model; "
            "merge it with peft (merge_and_unload), save the result with its tokenizer, and set source to that folder"
        )
    if (root / "config.json").exists():
        return
    for pattern, name in _FORMATS:
        if found := sorted(root.glob(pattern)):
            raise UnsupportedError(f"{root} holds {name} ({found[0].name}) and no config.json; {_ORIGINAL}")


_ORIGINAL = "lukewarm reads safetensors; set source to the original model's Hugging Face directory"
