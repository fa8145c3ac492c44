"""GPT-2 at its real 124M shape with random weights, made here: for timing, where no real weights may be had."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

from lukewarm.predictors.errors import MissingExtra

NAME = "gpt2-124m-random"
VOCAB = 50_257


def prepare(out: Path, tokenizer_from: Path) -> Path:
    """Write a Hugging Face directory (fp32, 498 MB) unless it is there. Raises MissingExtra.

    The tokenizer is that of `tokenizer_from`, filled up to GPT-2's 50,257 entries with ones that no text contains.
    """
    if (out / "config.json").is_file():
        return out
    try:
        import torch
        from transformers import GPT2Config, GPT2LMHeadModel
    except ModuleNotFoundError as error:
        raise MissingExtra(f"{error.name}, needed to make {NAME},", "convert") from error
    out.parent.mkdir(parents=True, exist_ok=True)
    temp = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        torch.manual_seed(0)
        config = GPT2Config(vocab_size=VOCAB, bos_token_id=0, eos_token_id=2, pad_token_id=2)
        config.architectures = ["GPT2LMHeadModel"]
        GPT2LMHeadModel(config).save_pretrained(temp)
        _tokenizer(tokenizer_from, temp)
        for path in (temp, *temp.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        os.replace(temp, out)
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    return out


def _tokenizer(source: Path, target: Path) -> None:
    data = json.loads((source / "tokenizer.json").read_text("utf-8"))
    vocabulary = data["model"]["vocab"]
    for number in range(len(vocabulary), VOCAB):
        vocabulary[f"<|unused {number}|>"] = number
    (target / "tokenizer.json").write_text(json.dumps(data, ensure_ascii=False), "utf-8")
    shutil.copyfile(source / "tokenizer_config.json", target / "tokenizer_config.json")
