"""The one place that imports torch and transformers for converters: quiet, offline, without remote code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lukewarm.convert.source import Source
from lukewarm.predictors.errors import MissingExtra, SourceError, UnsupportedError


def transformers() -> Any:
    """The transformers module, without progress bars and advice. Raises MissingExtra."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        import torch  # noqa: F401  (without it transformers imports, and fails later)
        import transformers
    except ModuleNotFoundError as error:
        raise MissingExtra(f"{error.name}, needed to convert,", "convert") from error
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def load_causal_lm(source: Source | Path, dtype: str = "float32", **options: Any) -> Any:
    """A causal language model in evaluation mode at a torch dtype's name. Raises SourceError, UnsupportedError."""
    root = source.root if isinstance(source, Source) else source
    library = transformers()
    import torch

    try:
        model, report = library.AutoModelForCausalLM.from_pretrained(
            root,
            dtype=getattr(torch, dtype),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            **options,
        )
    except (ValueError, KeyError, ImportError) as error:
        raise UnsupportedError(f"transformers cannot load {root} as a language model: {_first_line(error)}") from error
    except (OSError, RuntimeError) as error:
        raise SourceError(f"transformers cannot load {root}: {_first_line(error)}") from error
    # missing weights would be filled with random numbers, and only a warning would say so
    if missing := sorted(report["missing_keys"]):
        raise SourceError(f"{root} lacks {len(missing)} weights of its architecture, first {missing[0]}")
    return model.eval()


def configuration(source: Source) -> Any:
    """The source's configuration by transformers' class for it. Raises UnsupportedError."""
    try:
        return transformers().AutoConfig.from_pretrained(source.root, local_files_only=True, trust_remote_code=False)
    except (ValueError, KeyError) as error:
        raise UnsupportedError(f"transformers cannot read {source.root}: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    """One line of a library's message; some say what is wrong in the second one only."""
    if "ignore_mismatched_sizes" in (text := str(error)):  # it points to a report that was not printed
        return "its weights have other shapes than config.json says"
    if "does not recognize this architecture" in text:
        return "it has no such model type; code that a model brings along (auto_map) is never run"
    return " ".join(text.split())[:300] or type(error).__name__
