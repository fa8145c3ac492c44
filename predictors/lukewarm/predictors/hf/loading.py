"""Loads transformers models: offline, safetensors only, no code from the model's directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lukewarm.predictors.errors import BundleError, MissingExtra, UnsupportedError
from lukewarm.predictors.predictor import Runtime

if TYPE_CHECKING:
    import torch

_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def prepare_torch(runtime: Runtime) -> torch.device:
    """Set torch's threads and choose the device. Raises MissingExtra, UnsupportedError (no such device)."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when huggingface_hub is imported: a bundle needs no network
    try:
        import torch
    except ImportError as error:
        raise MissingExtra("torch", "hf") from error
    torch.set_num_threads(runtime.thread_count())
    wanted = runtime.device
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise UnsupportedError(f"unknown device {wanted!r}; known: auto, cpu, cuda, cuda:N") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UnsupportedError(
            f"device {wanted!r} is not here ({torch.cuda.device_count()} CUDA devices); use cpu or run: lukewarm doctor"
        )
    return device


def torch_dtype(precision: str) -> torch.dtype:
    """torch's type for a precision of ours."""
    import torch

    dtype: torch.dtype = getattr(torch, _DTYPES[precision])
    return dtype


def load_model(auto_class: str, folder: Path, device: torch.device, **arguments: Any) -> Any:
    """A model by one of transformers' auto classes, in evaluation mode. Raises BundleError, MissingExtra.

    `arguments` go to `from_pretrained`. Weights that are missing or of another shape are an error: transformers would
    go on with random ones.
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingExtra("transformers", "hf") from error
    transformers.utils.logging.disable_progress_bar()
    try:
        model, info = getattr(transformers, auto_class).from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            device_map={"": device},  # weights go to the device as they are read
            **arguments,
        )
    except Exception as error:  # transformers, safetensors and torch raise any class for files that do not fit
        raise BundleError(f"{folder} cannot be loaded: {_short(error)}; run: lukewarm convert --force") from error
    for kind in ("missing_keys", "mismatched_keys", "error_msgs"):
        if found := info.get(kind):
            names = ", ".join(sorted(map(str, found))[:3])
            raise BundleError(f"{folder} does not fit its config ({kind}: {names}); run: lukewarm convert --force")
    return model.eval()


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}"
