"""Tiny random models with a real byte-level BPE tokenizer, made in about a second each and kept for the test session.

Weights are drawn wide (`initializer_range`), so that the best token leads clearly and fp32 runtimes agree on it.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

VOCAB_SIZE = 512
CONTEXT_TOKENS = 256
START, TURN, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"  # ids 0, 1, 2
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('unknown role ' ~ message['role']) }}{% endif %}"
    "{{ '<|im_start|>' ~ message['role'] ~ '\n' ~ message['content'] ~ '<|im_end|>' ~ '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_SHAPE: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT_TOKENS,
    "initializer_range": 0.2,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 2,
}
_GPT2: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "n_embd": 64,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": CONTEXT_TOKENS,
    "initializer_range": 0.2,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
# architecture -> (transformers' config class, its arguments)
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {**_SHAPE, "num_key_value_heads": 2, "tie_word_embeddings": True}),
    "gpt2": ("GPT2Config", _GPT2),
    "qwen2": ("Qwen2Config", {**_SHAPE, "num_key_value_heads": 2}),
    "mistral": ("MistralConfig", {**_SHAPE, "num_key_value_heads": 2, "sliding_window": None}),
    "opt": (
        "OPTConfig",
        {
            "vocab_size": VOCAB_SIZE,
            "hidden_size": 64,
            "ffn_dim": 128,
            "word_embed_proj_dim": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": CONTEXT_TOKENS,
            "init_std": 0.2,
            "bos_token_id": 0,
            "eos_token_id": 2,
            "pad_token_id": 2,
        },
    ),
    "gpt_neox": ("GPTNeoXConfig", _SHAPE),
    "phi": ("PhiConfig", _SHAPE),
    "bloom": (
        "BloomConfig",
        {
            "vocab_size": VOCAB_SIZE,
            "hidden_size": 64,
            "n_layer": 2,
            "n_head": 4,
            "initializer_range": 0.2,
            "bos_token_id": 0,
            "eos_token_id": 2,
            "pad_token_id": 2,
        },
    ),
}
PROMPT_TEXT = (
    "the model answers a request when its weights are in memory and the first token comes after the prompt was read "
    "so a cold start is the time from nothing to that token; naïve café déjà vu – 東京 🙂 numbers 0 1 2 3 42"
)
PROMPT_WORDS = PROMPT_TEXT.split()


def prompts(count: int, longest_words: int = 20) -> list[str]:
    """Different prompts of different lengths, always the same ones."""
    import random

    source = random.Random(7)
    return [" ".join(source.choices(PROMPT_WORDS, k=source.randint(1, longest_words))) for _ in range(count)]


@functools.cache
def session_root() -> Path:
    """A directory that lives as long as the test session."""
    root = Path(tempfile.mkdtemp(prefix="lukewarm-tiny-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return root


def forget() -> None:
    """Delete what this session made."""
    if session_root.cache_info().currsize:
        shutil.rmtree(session_root(), ignore_errors=True)


def _corpus() -> list[str]:
    """Text that comes with Python itself."""
    import argparse
    import subprocess
    import typing

    return [Path(str(module.__file__)).read_text("utf-8") for module in (argparse, subprocess, typing)] + [
        " ".join(PROMPT_WORDS)
    ] * 20


@functools.cache
def byte_level_tokenizer(start: bool = False) -> Any:
    """A trained byte-level BPE (GPT-2's kind); `start` makes its post-processor add the start token (Llama 3's way)."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        _corpus(),
        trainers.BpeTrainer(
            vocab_size=VOCAB_SIZE,
            special_tokens=[START, TURN, END],
            initial_alphabet=sorted(alphabet),
            show_progress=False,
        ),
    )
    if start:
        core.post_processor = processors.TemplateProcessing(single=f"{START} $A", special_tokens=[(START, 0)])
    return core


@functools.cache
def metaspace_tokenizer() -> Any:
    """A BPE in sentencepiece's manner (Llama 2's): spaces as U+2581, a leading one added, byte fallback."""
    from tokenizers import Tokenizer, decoders, models, normalizers, trainers

    core = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    words = [word for text in _corpus() for word in text.split() if word.isascii()]
    core.train_from_iterator(
        words, trainers.BpeTrainer(vocab_size=1000, special_tokens=special, limit_alphabet=80, show_progress=False)
    )
    # the trainer marks byte tokens as special; in real models they are ordinary, and decoding would leave them out
    data = json.loads(core.to_str())
    data["added_tokens"] = [token for token in data["added_tokens"] if not token["content"].startswith("<0x")]
    return Tokenizer.from_str(json.dumps(data))


@functools.cache
def tiny_model(architecture: str = "llama", *, seed: int = 0) -> Path:
    """A Hugging Face directory of one architecture: safetensors, tokenizer with chat template, generation config."""
    import torch
    import transformers

    config_class, arguments = ARCHITECTURES[architecture]
    config = getattr(transformers, config_class)(**arguments)
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    target = session_root() / f"{architecture}-{seed}"
    model.generation_config = transformers.GenerationConfig(bos_token_id=0, eos_token_id=2, pad_token_id=2)
    model.save_pretrained(target)
    save_tokenizer(target, start=architecture in ("llama", "mistral"))
    return target


def save_tokenizer(target: Path, *, start: bool = False) -> None:
    import transformers

    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=byte_level_tokenizer(start),
        bos_token=START,
        eos_token=END,
        unk_token=START,  # as in GPT-2; CTranslate2 loads no model without one
        pad_token=END,
        model_max_length=CONTEXT_TOKENS,
        chat_template=CHAT_TEMPLATE,
    )
    tokenizer.save_pretrained(target)


def hf_bundle(source: Path, target: Path, *, backend: str = "hf", precision: str = "fp32", **manifest: Any) -> Path:
    """A text-generation bundle around a copy of a Hugging Face directory."""
    return _bundle(target, source, backend, precision, manifest, lambda model: _copy_model(source, model))


def bnb_bundle(source: Path, target: Path, *, precision: str) -> Path:
    """A text-generation bundle with weights saved quantized by bitsandbytes, on the CPU."""
    import torch
    import transformers

    if precision == "int8":
        config = transformers.BitsAndBytesConfig(load_in_8bit=True)
    else:
        config = transformers.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32
        )
    quantized = session_root() / f"{source.name}-{precision}"
    model = transformers.AutoModelForCausalLM.from_pretrained(source, quantization_config=config, device_map="cpu")
    model.save_pretrained(quantized)
    shutil.copyfile(source / "tokenizer.json", quantized / "tokenizer.json")
    return hf_bundle(quantized, target, backend="bnb", precision=precision)


def ct2_bundle(source: Path, target: Path, *, precision: str = "fp32", **manifest: Any) -> Path:
    """A text-generation bundle by CTranslate2's own converter."""
    from ctranslate2.converters import TransformersConverter

    quantization = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "int8w": "int8"}.get(precision, precision)
    return _bundle(
        target,
        source,
        "ct2",
        precision,
        manifest,
        lambda model: TransformersConverter(str(source)).convert(str(model), quantization=quantization, force=True),
    )


def _copy_model(source: Path, model: Path) -> None:
    model.mkdir()
    for path in source.iterdir():
        if path.suffix == ".safetensors" or path.name in ("config.json", "generation_config.json"):
            shutil.copyfile(path, model / path.name)


def _bundle(
    target: Path, source: Path, backend: str, precision: str, manifest: dict[str, Any], write: Callable[[Path], object]
) -> Path:
    from lukewarm.predictors.bundle import Manifest, list_files, write_manifest
    from lukewarm.predictors.tokenization import compact

    target.mkdir(parents=True)
    write(target / "model")
    (target / "tokenizer.json").write_bytes(compact((source / "tokenizer.json").read_bytes()))
    (target / "chat_template.jinja").write_text(CHAT_TEMPLATE, "utf-8")
    fields: dict[str, Any] = {
        "eos_token_ids": [2],
        "bos_token_id": 0,
        "pad_token_id": 2,
        "max_context_tokens": CONTEXT_TOKENS,
        "vocab_size": VOCAB_SIZE,
        "options": {"special_tokens": {"bos_token": START, "eos_token": END, "pad_token": END}},
        **manifest,
    }
    write_manifest(
        target,
        Manifest(
            format=1,
            name=source.name,
            task="text-generation",
            backend=backend,
            precision=precision,
            files=list_files(target),
            **fields,
        ),
    )
    return target
