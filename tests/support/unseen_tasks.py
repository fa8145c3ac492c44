"""Tiny random models of many families, saved in the layouts that people really have: for the sweep over tasks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.tiny_models import VOCAB_SIZE, session_root
from support.tiny_tasks import _byte_level, _save

_BERT: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 130,
    "pad_token_id": 1,
    "initializer_range": 0.2,
}
_LLAMA = {**_BERT, "num_key_value_heads": 2, "bos_token_id": 0, "eos_token_id": 2, "head_dim": 8}
_T5 = {
    "vocab_size": VOCAB_SIZE,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 64,
    "num_layers": 2,
    "num_heads": 4,
    "eos_token_id": 2,
    "pad_token_id": 1,
    "decoder_start_token_id": 1,
    "dropout_rate": 0.0,
    "initializer_factor": 3.0,
}
_SMALL: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "dropout": 0.0,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 256,
    "init_std": 0.4,
    "vocab_size": VOCAB_SIZE,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
}
ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("BertConfig", _BERT),
    "roberta": ("RobertaConfig", _BERT),
    "camembert": ("CamembertConfig", _BERT),
    "xlm-roberta": ("XLMRobertaConfig", _BERT),
    "distilbert": (
        "DistilBertConfig",
        {
            "vocab_size": VOCAB_SIZE,
            "dim": 32,
            "n_layers": 2,
            "n_heads": 4,
            "hidden_dim": 64,
            "max_position_embeddings": 130,
            "pad_token_id": 1,
            "initializer_range": 0.2,
        },
    ),
    "mpnet": ("MPNetConfig", _BERT),
    "albert": ("AlbertConfig", {**_BERT, "embedding_size": 16}),
    "electra": ("ElectraConfig", {**_BERT, "embedding_size": 16}),
    "deberta": (
        "DebertaConfig",
        {
            **_BERT,
            "relative_attention": True,
            "pos_att_type": ["c2p", "p2c"],
            "max_relative_positions": -1,
            "position_biased_input": False,
        },
    ),
    "deberta-v2": (
        "DebertaV2Config",
        {
            **_BERT,
            "relative_attention": True,
            "pos_att_type": ["c2p", "p2c"],
            "position_buckets": 16,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "position_biased_input": False,
        },
    ),
    "modernbert": (
        "ModernBertConfig",
        {
            **_BERT,
            "num_hidden_layers": 4,
            "global_attn_every_n_layers": 2,
            "local_attention": 8,
            "bos_token_id": 0,
            "eos_token_id": 2,
            "cls_token_id": 0,
            "sep_token_id": 2,
        },
    ),
    "xlnet": (
        "XLNetConfig",
        {
            "vocab_size": VOCAB_SIZE,
            "d_model": 32,
            "n_layer": 2,
            "n_head": 4,
            "d_inner": 64,
            "pad_token_id": 1,
            "bos_token_id": 0,
            "eos_token_id": 2,
        },
    ),
    "qwen2": ("Qwen2Config", _LLAMA),
    "qwen3": ("Qwen3Config", _LLAMA),
    "llama": ("LlamaConfig", _LLAMA),
    "mistral": ("MistralConfig", {**_LLAMA, "sliding_window": None}),
    "gemma": ("GemmaConfig", _LLAMA),
    "gpt2": (
        "GPT2Config",
        {
            "vocab_size": VOCAB_SIZE,
            "n_embd": 32,
            "n_layer": 2,
            "n_head": 4,
            "n_positions": 130,
            "initializer_range": 0.2,
            "bos_token_id": 0,
            "eos_token_id": 2,
            "pad_token_id": 1,
        },
    ),
    "t5-encoder": ("T5Config", _T5),
    "nomic": ("NomicBertConfig", {**_BERT, "head_dim": 8}),
    "eurobert": ("EuroBertConfig", _LLAMA),
    "jina": ("JinaEmbeddingsV3Config", _BERT),
}
SEQ2SEQ: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "t5": ("T5Config", _T5, {}),
    "flan": ("T5Config", {**_T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}, {}),
    "mt5": ("MT5Config", {**_T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}, {}),
    "umt5": ("UMT5Config", _T5, {}),
    "longt5": ("LongT5Config", {**_T5, "local_radius": 4}, {}),
    "bart": (
        "BartConfig",
        _SMALL,
        {"forced_bos_token_id": 0, "forced_eos_token_id": 2, "no_repeat_ngram_size": 3, "min_length": 3},
    ),
    "mbart": ("MBartConfig", {**_SMALL, "scale_embedding": True}, {"forced_bos_token_id": 5, "forced_eos_token_id": 2}),
    "m2m100": ("M2M100Config", {**_SMALL, "scale_embedding": True}, {"forced_bos_token_id": 5}),
    "pegasus": ("PegasusConfig", {**_SMALL, "decoder_start_token_id": 1}, {"length_penalty": 0.8, "num_beams": 4}),
    "pegasus-x": (
        "PegasusXConfig",
        {**_SMALL, "decoder_start_token_id": 1, "block_size": 8, "num_global_tokens": 4},
        {},
    ),
    "blenderbot": ("BlenderbotConfig", _SMALL, {"encoder_no_repeat_ngram_size": 0, "no_repeat_ngram_size": 3}),
    "blenderbot-small": ("BlenderbotSmallConfig", _SMALL, {}),
    "led": (
        "LEDConfig",
        {
            **{k: v for k, v in _SMALL.items() if k != "max_position_embeddings"},
            "attention_window": 8,
            "max_encoder_position_embeddings": 256,
            "max_decoder_position_embeddings": 256,
        },
        {},
    ),
    "prophetnet": (
        "ProphetNetConfig",
        {
            "vocab_size": VOCAB_SIZE,
            "hidden_size": 32,
            "num_encoder_layers": 2,
            "num_decoder_layers": 2,
            "num_encoder_attention_heads": 4,
            "num_decoder_attention_heads": 4,
            "encoder_ffn_dim": 64,
            "decoder_ffn_dim": 64,
            "max_position_embeddings": 256,
            "pad_token_id": 0,  # its positions are counted as if no other number were possible
            "bos_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 2,
            "init_std": 0.4,
        },
        {},
    ),
    "fsmt": (
        "FSMTConfig",
        {**_SMALL, "src_vocab_size": VOCAB_SIZE, "tgt_vocab_size": VOCAB_SIZE, "langs": ["en", "de"]},
        {},
    ),
    "switch": ("SwitchTransformersConfig", {**_T5, "num_decoder_layers": 2, "num_experts": 4}, {}),
    "mvp": ("MvpConfig", _SMALL, {"forced_eos_token_id": 2}),
    "plbart": ("PLBartConfig", _SMALL, {}),
    "bigbird-pegasus": (
        "BigBirdPegasusConfig",
        {**_SMALL, "block_size": 4, "num_random_blocks": 1, "attention_type": "original_full"},
        {},
    ),
    "nllb-moe": ("NllbMoeConfig", {**_SMALL, "num_experts": 4}, {"forced_bos_token_id": 5}),
    "bert2bert": ("", {}, {}),
}


def encoder(
    kind: str, head: str = "AutoModel", *, labels: int = 3, shards: bool = False, dtype: str = "float32", **config: Any
) -> Path:
    """A Hugging Face directory of one encoder or decoder with a head."""
    import torch
    import transformers

    torch.manual_seed(0)
    name, shape = ENCODERS[kind]
    given = getattr(transformers, name)(**shape)
    if head != "AutoModel":
        given.num_labels = labels
        for key, value in config.items():
            setattr(given, key, value)
    if kind == "t5-encoder":
        model = transformers.T5EncoderModel(given)
    else:
        model = getattr(transformers, head).from_config(given)
    model = model.to(getattr(torch, dtype)).eval()
    target = session_root() / "-".join(
        ("unseen", kind, head, str(labels), dtype, *(f"{k}{v}" for k, v in config.items()), *("s" * shards))
    )
    model.save_pretrained(target, **({"max_shard_size": "20KB"} if shards else {}))
    _byte_level(target, start="<|endoftext|>", end="<|im_end|>", pad="<|im_start|>")
    return target


def seq2seq(kind: str) -> Path:
    """A Hugging Face directory of one encoder-decoder."""
    import torch
    import transformers

    torch.manual_seed(1)
    name, shape, generation = SEQ2SEQ[kind]
    if kind == "bert2bert":
        model: Any = transformers.EncoderDecoderModel(
            transformers.EncoderDecoderConfig.from_encoder_decoder_configs(
                transformers.BertConfig(**_BERT),
                transformers.BertConfig(**_BERT, is_decoder=True, add_cross_attention=True),
            )
        )
        model.config.decoder_start_token_id, model.config.pad_token_id, model.config.eos_token_id = 0, 1, 2
    else:
        model = transformers.AutoModelForSeq2SeqLM.from_config(getattr(transformers, name)(**shape))
    start = shape.get("decoder_start_token_id", 0)
    rules = {
        "decoder_start_token_id": start,
        "eos_token_id": 2,
        "bos_token_id": 0,
        "pad_token_id": shape.get("pad_token_id", 1),
        "max_length": 40,
        **generation,
    }
    target = _save(model, f"unseen-{kind}", **rules)
    _byte_level(target, end="<|im_end|>", pad="<|im_start|>")
    return target


def sentence_transformers(root: Path, modules: list[tuple[str, dict[str, Any]]], **files: Any) -> Path:
    """Turn a model's folder into one of sentence-transformers: `modules` are (type, config) behind the Transformer."""
    import shutil

    import torch
    from safetensors.torch import save_file

    target = root.with_name(root.name + "-st")
    number = 0
    while target.exists():
        number += 1
        target = root.with_name(f"{root.name}-st{number}")
    shutil.copytree(root, target)
    entries = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    for index, (kind, config) in enumerate(modules, 1):
        place = f"{index}_{kind}"
        entries.append(
            {"idx": index, "name": str(index), "path": place, "type": f"sentence_transformers.models.{kind}"}
        )
        (target / place).mkdir()
        if kind != "Normalize":
            (target / place / "config.json").write_text(json.dumps(config), "utf-8")
        if kind == "Dense":
            torch.manual_seed(index)
            weights = {"linear.weight": torch.randn(config["out_features"], config["in_features"]) * 0.3}
            if config.get("bias", True):
                weights["linear.bias"] = torch.randn(config["out_features"])
            save_file(weights, target / place / "model.safetensors")
    (target / "modules.json").write_text(json.dumps(entries), "utf-8")
    for name, value in files.items():
        (target / f"{name}.json").write_text(json.dumps(value), "utf-8")
    return target
