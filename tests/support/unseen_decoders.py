"""Tiny random models of every decoder that transformers can build, and of odd settings: for the sweep over backends.

Run `python tests/support/unseen_decoders.py [NAME ...]` (with tests/ on the path) for the whole table.
"""

from __future__ import annotations

import os
import shutil
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from support.tiny_models import prompts, save_tokenizer, session_root

MAX_PARAMETERS = 12_000_000
NEW_TOKENS = 12
# names under which configurations keep their sizes, and small values; only those that a class has are set
_SIZES: dict[str, Any] = {
    "vocab_size": 512, "vocab_size_per_layer_input": 512, "hidden_size": 64, "n_embd": 64, "d_model": 64, "dim": 64,
    "word_embed_proj_dim": 64, "hidden_size_per_layer_input": 16, "embedding_size": 64, "input_size": 64,
    "intermediate_size": 128, "ffn_dim": 128, "d_ff": 128, "n_inner": 128, "decoder_ffn_dim": 128,
    "encoder_ffn_dim": 128, "ffn_hidden_size": 128, "dff": 128, "d_inner": 128, "feed_forward_size": 128,
    "num_hidden_layers": 2, "n_layer": 2, "n_layers": 2, "num_layers": 2, "decoder_layers": 2, "encoder_layers": 2,
    "num_attention_heads": 4, "n_head": 4, "n_heads": 4, "num_heads": 4, "decoder_attention_heads": 4,
    "encoder_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "rotary_dim": 8, "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8, "v_head_dim": 16, "kv_lora_rank": 16, "q_lora_rank": 16, "global_head_dim": 16,
    "num_global_key_value_heads": 2, "max_position_embeddings": 256, "n_positions": 256, "n_ctx": 256,
    "max_seq_len": 256, "seq_length": 256, "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4,
    "num_experts_per_tok": 2, "moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 32, "n_group": 1,
    "topk_group": 1, "n_shared_experts": 1, "moe_topk": 2, "shared_expert_intermediate_size": 32,
    "moe_layer_start_index": 0, "first_k_dense_replace": 1, "expert_ffn_size": 32, "ffn_hidden_dim": 64,
    "shared_intermediate_size": 32, "mamba_d_state": 8, "state_size": 8, "mamba_n_heads": 8, "mamba_d_head": 16,
    "mamba_d_ssm": 128, "mamba_n_groups": 1, "linear_num_key_heads": 2, "linear_num_value_heads": 2,
    "linear_key_head_dim": 16, "linear_value_head_dim": 16, "num_kv_shared_layers": 0, "lru_width": 64,
    "initializer_range": 0.2, "init_std": 0.2, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 2,
    "dropout": 0.0, "num_nextn_predict_layers": 0, "altup_num_inputs": 2, "laurel_rank": 8, "alt_up": 2,
}  # fmt: skip
_SKIPPED = ("marian", "whisper", "trocr")  # decoders of other tasks' models


# what the slow test tries: those that a small configuration is known for
NAMES = (
    "afmoe", "apertus", "arcee", "bailing_hybrid", "biogpt", "bloom", "codegen", "cohere", "cohere2", "ctrl",
    "deepseek_v2", "deepseek_v4", "ernie4_5", "exaone4", "falcon", "falcon_mamba", "gemma", "gemma2", "gemma3_text",
    "gemma3n_text", "gemma4_text", "glm", "glm4", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox", "gpt_oss", "gptj",
    "granite", "helium", "hunyuan_v1_dense", "lfm2", "llama", "mamba", "mistral", "mixtral", "mpt", "nemotron",
    "olmo", "olmo2", "olmo_hybrid", "opt", "phi", "phi3", "qwen2", "qwen2_moe", "qwen3", "qwen3_5_text", "qwen3_moe",
    "qwen3_next", "smollm3", "stablelm", "starcoder2", "xglm",
)  # fmt: skip


def names() -> list[str]:
    """Model types that transformers calls causal language models."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as known

    return [name for name in known if name not in _SKIPPED]


def config(name: str) -> Any:
    """A small configuration of a model type."""
    import transformers

    kind = transformers.AutoConfig.for_model(name).__class__
    usual = kind()
    values = _small(usual)
    for part in ("text_config", "llm_config", "language_config"):
        nested = getattr(usual, part, None)
        if nested is not None and hasattr(nested, "to_dict"):
            values[part] = {**nested.to_dict(), **_small(nested)}
    return kind(**values)


def _small(usual: Any) -> dict[str, Any]:
    known = {**usual.to_dict(), **dict.fromkeys(getattr(usual, "attribute_map", {}))}
    values = {key: value for key, value in _SIZES.items() if key in known}
    layers = next((values[k] for k in ("num_hidden_layers", "n_layer", "n_layers", "num_layers") if k in values), 2)
    for key in ("layer_types", "layers_block_type", "mlp_layer_types", "no_rope_layers", "block_types"):
        if isinstance(old := known.get(key), list) and old:
            values[key] = _kinds(old, layers)
    if "sliding_window" in known and known["sliding_window"] is not None:
        values["sliding_window"] = 32
    return values


def _kinds(old: list[Any], layers: int) -> list[Any]:
    """One of each kind where two layers have room for it, the last kind last."""
    kinds = list(dict.fromkeys(old))
    return (kinds * layers)[:layers]


def build(name: str, target: Path) -> Path:
    """Save a model of this type with a byte-level tokenizer. Raises whatever transformers raises for such sizes."""
    import torch
    import transformers

    small = config(name)
    with torch.device("meta"):
        count = sum(p.numel() for p in transformers.AutoModelForCausalLM.from_config(small).parameters())
    if count > MAX_PARAMETERS:
        raise ValueError(f"{count:,} parameters: some size has a name that this file does not know")
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(small).eval()
    _widen(model)
    model.generation_config = transformers.GenerationConfig(bos_token_id=0, eos_token_id=2, pad_token_id=2)
    model.save_pretrained(target)
    save_tokenizer(target)
    return target


def _widen(model: Any) -> None:
    """Weights far enough apart that the best token leads clearly."""
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2 and 0 < parameter.std() < 0.1:
                parameter.normal_(0, 0.2)


def expected(source: Path, texts: Iterable[str]) -> list[str]:
    """Greedy texts of transformers in fp32."""
    import torch
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    found = []
    for text in texts:
        inputs = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
        output = model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
        found.append(tokenizer.decode(output[0, inputs.input_ids.shape[1] :], skip_special_tokens=True))
    return found


def outcome(source: Path, backend: str, precision: str, wanted: list[str], folder: Path) -> str:
    """`same`, `differs ...`, `runs`, `refused: ...` or `FAULT ...` for one conversion and its answers."""
    from lukewarm.convert import ConvertOptions, convert_model
    from lukewarm.predictors import Runtime, load_predictor
    from lukewarm.predictors.errors import AccuracyError, LukewarmError
    from lukewarm.predictors.spec import ModelSpec
    from lukewarm.predictors.tasks import TextGenerationRequest

    name = f"unseen-{source.name.replace('_', '-').lower()}"[:60]
    spec = ModelSpec(name=name, source=str(source), backend=backend, precision=precision)
    options = ConvertOptions(keep_over_budget=precision != "fp32")
    try:
        bundle = convert_model(spec, folder, folder / ".lukewarm" / "bundles", options=options)
        predictor = load_predictor(bundle, Runtime(threads=1, device="cpu"))
        asked = [TextGenerationRequest(prompt=text, max_new_tokens=NEW_TOKENS) for text in texts()]
        alone = [predictor.predict(request).text for request in asked]  # type: ignore[attr-defined]
        together = [result.text for result in predictor.predict_batch(asked)]  # type: ignore[attr-defined]
        predictor.close()
    except AccuracyError as error:
        # at fp32 the budget shows that a backend computes another model, and the error names those that may not
        return f"{'refused: AccuracyError' if 'try backend' in str(error) else 'over budget'}: {error}"
    except LukewarmError as error:
        return f"refused: {type(error).__name__}: {error}"
    except Exception as error:  # noqa: BLE001 - what this sweep looks for
        return f"FAULT {type(error).__name__}: {error}\n{traceback.format_exc()}"
    figure = f"perplexity x{bundle.manifest.accuracy.get('perplexity_ratio', 0):.3f}"
    if precision != "fp32":
        return f"runs, {figure}"
    for how, found in (("alone", alone), ("in a batch", together)):
        if found != wanted:
            different = sum(a != b for a, b in zip(found, wanted, strict=True))
            return f"differs {how}, {different} of {len(wanted)}, {figure}"
    return f"same, {figure}"


def texts() -> list[str]:
    return [*prompts(4), " ".join(prompts(8, 6))]


def sweep(name: str, pairs: list[tuple[str, str]], build_one: Any = build) -> dict[str, str]:
    """Every backend and precision for one model type."""
    folder = session_root() / "unseen" / name
    try:
        source = build_one(name, folder / name)
        wanted = expected(source, texts())
    except Exception as error:  # noqa: BLE001 - no such small model: nothing to hold the backends against
        return {"build": f"not built: {type(error).__name__}: {' '.join(str(error).split())[:200]}"}
    try:
        return {f"{b} {p}": outcome(source, b, p, wanted, folder) for b, p in pairs}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    import resource
    import signal

    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    torch.set_num_threads(1)
    pairs = [tuple(word.split(":")) for word in os.environ.get("PAIRS", "hf:fp32 ct2:fp32 ort:fp32").split()]
    for name in sys.argv[1:] or names():
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            signal.alarm(240)
            resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
            for row, text in sweep(name, pairs).items():  # type: ignore[arg-type]
                print(f"{name} | {row} | {text}", flush=True)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            print(f"{name} | DIED | {status}", flush=True)


if __name__ == "__main__":
    main()
