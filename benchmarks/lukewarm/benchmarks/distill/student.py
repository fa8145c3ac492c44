"""The pupil: a standard MarianMTModel that starts as a copy of the package's student, and the delta that was learnt."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from lukewarm.convert.bergamot import Student
from lukewarm.predictors.errors import SourceError

DELTA = "enpt_decoder_delta.safetensors"
CREDIT = {
    "licence": "MPL-2.0",
    "credit": "derived from Mozilla's Firefox Translations en-pt student (mozilla/firefox-translations-models)",
}
_ATTENTION = (("q_proj", "q"), ("k_proj", "k"), ("v_proj", "v"), ("out_proj", "o"))


def initial_model(student: Student, max_positions: int = 512) -> Any:
    """A MarianMTModel in fp32: all weights copied but the SSRU blocks, whose candidate matrix becomes the value matrix.

    Deterministic, because the delta is a difference from it. The vocabulary has one more row: `<pad>`, all zeros, which
    is also the decoder's start, as Marian starts from a zero vector.
    """
    import torch
    from transformers import MarianConfig, MarianMTModel

    settings, pad = student.settings, student.vocab_size
    config = MarianConfig(
        vocab_size=pad + 1, decoder_vocab_size=pad + 1, d_model=settings.width, max_position_embeddings=max_positions,
        encoder_layers=settings.encoder_layers, decoder_layers=settings.decoder_layers,
        encoder_attention_heads=settings.heads, decoder_attention_heads=settings.heads,
        encoder_ffn_dim=settings.ffn, decoder_ffn_dim=settings.ffn, activation_function="relu", scale_embedding=True,
        pad_token_id=pad, eos_token_id=0, bos_token_id=None, forced_eos_token_id=None, decoder_start_token_id=pad,
        dropout=0.0, attention_dropout=0.0, activation_dropout=0.0,
        share_encoder_decoder_embeddings=True, tie_word_embeddings=True,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MarianMTModel(config).float()
    state = _copied(student)
    table = torch.cat([student.weights["Wemb"], torch.zeros(1, settings.width)])
    for key in model.state_dict():
        if key.endswith(("shared.weight", "embed_tokens.weight", "lm_head.weight")):
            state[key] = table
    model.load_state_dict(state, strict=False)
    model.tie_weights()
    # nothing random is left in the two new blocks
    for layer in model.model.decoder.layers:
        for name in ("q_proj", "k_proj"):
            _identity(getattr(layer.self_attn, name), 0.1)
        _identity(layer.self_attn.out_proj, 1.0)
        torch.nn.init.zeros_(layer.self_attn.v_proj.bias)
    return model.eval()


def _identity(linear: Any, scale: float) -> None:
    import torch

    with torch.no_grad():
        linear.weight.copy_(torch.eye(linear.weight.shape[0]) * scale)
        linear.bias.zero_()


def _copied(student: Student) -> dict[str, Any]:
    import torch

    w = student.weights
    out = {"final_logits_bias": torch.cat([w["decoder_ff_logit_out_b"], torch.full((1, 1), -1e4)], 1)}

    def linear(target: str, prefix: str, letter: str) -> None:
        out[f"{target}.weight"] = w[f"{prefix}_W{letter}"].T.contiguous()
        out[f"{target}.bias"] = w[f"{prefix}_b{letter}"][0]

    def norm(target: str, prefix: str) -> None:
        out[f"{target}.weight"] = w[f"{prefix}_ln_scale"][0]
        out[f"{target}.bias"] = w[f"{prefix}_ln_bias"][0]

    def block(target: str, attention: str, prefix: str) -> None:
        for name, letter in _ATTENTION:
            linear(f"{target}.{attention}.{name}", prefix, letter)
        norm(f"{target}.{attention}_layer_norm", f"{prefix}_Wo")

    def feed_forward(target: str, prefix: str) -> None:
        linear(f"{target}.fc1", prefix, "1")
        linear(f"{target}.fc2", prefix, "2")
        norm(f"{target}.final_layer_norm", f"{prefix}_ffn")

    for index in range(student.settings.encoder_layers):
        target = f"model.encoder.layers.{index}"
        block(target, "self_attn", f"encoder_l{index + 1}_self")
        feed_forward(target, f"encoder_l{index + 1}_ffn")
    for index in range(student.settings.decoder_layers):
        target, prefix = f"model.decoder.layers.{index}", f"decoder_l{index + 1}"
        block(target, "encoder_attn", f"{prefix}_context")
        feed_forward(target, f"{prefix}_ffn")
        norm(f"{target}.self_attn_layer_norm", f"{prefix}_rnn_ffn")
        out[f"{target}.self_attn.v_proj.weight"] = w[f"{prefix}_rnn_W"].T.contiguous()
    return out


def decoder_parameters(model: Any) -> dict[str, Any]:
    """The parameters that training may change: every decoder layer, by their names in the state."""
    return {name: p for name, p in model.named_parameters() if name.startswith("model.decoder.layers.")}


def save_delta(model: Any, student: Student, path: Path, metadata: dict[str, str]) -> None:
    """Write the trained decoder minus the initial one as fp16 safetensors."""
    from safetensors.torch import save_file

    before = decoder_parameters(initial_model(student))
    delta = {
        name: (value.detach() - before[name].detach()).half().contiguous()
        for name, value in decoder_parameters(model).items()
    }
    save_file(delta, str(path), metadata=metadata)


def apply_delta(model: Any, path: Path) -> None:
    """Add a delta file to an initial model, in place. Raises SourceError if it is of another shape."""
    import torch
    from safetensors.torch import load_file

    delta = load_file(str(path))
    parameters = decoder_parameters(model)
    if {name: tuple(value.shape) for name, value in delta.items()} != {
        name: tuple(value.shape) for name, value in parameters.items()
    }:
        raise SourceError(f"{path} does not fit this model: it holds other decoder layers")
    with torch.no_grad():
        for name, value in delta.items():
            parameters[name].add_(value.float())


def shipped_delta() -> Any:
    """A context manager that gives the path of the delta that lukewarm ships (English to Portuguese)."""
    return as_file(files("lukewarm.benchmarks.distill").joinpath("data", DELTA))


def save_directory(model: Any, student: Student, target: Path, languages: tuple[str, str]) -> None:
    """Write a Hugging Face directory: fp16 safetensors, generation config and the Marian tokenizer's own files."""
    import sentencepiece
    from transformers import GenerationConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(student.vocabulary))
    pad = student.vocab_size
    vocabulary = {pieces.id_to_piece(index): index for index in range(pad)} | {"<pad>": pad}
    target.mkdir(parents=True, exist_ok=True)
    (target / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), "utf-8")
    for name in ("source.spm", "target.spm"):
        (target / name).write_bytes(student.vocabulary.read_bytes())
    settings = {
        "tokenizer_class": "MarianTokenizer", "source_lang": languages[0], "target_lang": languages[1],
        "model_max_length": 512, "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>",
    }  # fmt: skip
    (target / "tokenizer_config.json").write_text(json.dumps(settings, indent=1), "utf-8")
    model.generation_config = GenerationConfig(
        decoder_start_token_id=pad, eos_token_id=0, pad_token_id=pad, bad_words_ids=[[pad]], max_length=512, num_beams=1
    )
    model.half().save_pretrained(target)


def translate(model: Any, rows: Sequence[Sequence[int]]) -> list[list[int]]:
    """Greedy translations of token rows by transformers' `generate`."""
    from lukewarm.predictors.hf.text_to_text import generate
    from lukewarm.predictors.text_to_text import Rules, SearchSettings

    pad = model.config.pad_token_id
    rules = Rules(start_ids=(pad,), eos_ids=(0,), suppress_ids=(pad,))
    return [found.tokens for found in generate(model, rows, SearchSettings(160), rules, pad)]
