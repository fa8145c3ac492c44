"""A source model in 20 kB, made without torch: config, tokenizer and a safetensors file written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

VOCAB_SIZE = 8
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 4,
    "max_position_embeddings": 64,
    "eos_token_id": 2,
    "bos_token_id": 1,
}
TOKENIZER: dict[str, Any] = {
    "version": "1.0",
    "added_tokens": [],
    "pre_tokenizer": {"type": "WhitespaceSplit"},
    "model": {
        "type": "WordLevel",
        "vocab": {word: i for i, word in enumerate(["<unk>", "<s>", "</s>", "a", "b", "c", "d", "e"])},
        "unk_token": "<unk>",
    },
}


def safetensors(tensors: dict[str, np.ndarray[Any, Any]], *, dtype: str | None = None) -> bytes:
    """The bytes of a safetensors file; `dtype` overrides the names of the types."""
    names = {"float32": "F32", "float16": "F16", "uint16": "BF16", "int64": "I64"}
    header: dict[str, Any] = {}
    position = 0
    for name, array in tensors.items():
        end = position + array.nbytes
        kind = dtype or names[str(array.dtype)]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [position, end]}
        position = end
    return with_header(header, b"".join(array.tobytes() for array in tensors.values()))


def with_header(header: dict[str, Any], data: bytes) -> bytes:
    raw = json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + data


def weights() -> dict[str, np.ndarray[Any, Any]]:
    generator = np.random.default_rng(0)
    return {
        "model.embed_tokens.weight": generator.standard_normal((VOCAB_SIZE, 4)).astype(np.float32),
        "model.norm.weight": np.ones(4, np.float32),
    }


def write_source(root: Path, **config: Any) -> Path:
    """A complete source below `root`."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "config.json").write_text(json.dumps({**CONFIG, **config}), "utf-8")
    (root / "tokenizer.json").write_text(json.dumps(TOKENIZER), "utf-8")
    (root / "model.safetensors").write_bytes(safetensors(weights()))
    return root
