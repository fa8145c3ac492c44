"""What CTranslate2's converter needs to read configurations and classes as transformers 5 has them."""

from __future__ import annotations

from typing import Any

from lukewarm.predictors.errors import UnsupportedError

# fields that ctranslate2 4.8 asks configurations for and transformers 5 has dropped, with the value they always had
_DROPPED = (
    ("BertConfig", "position_embedding_type", "absolute"),
    ("RobertaConfig", "position_embedding_type", "absolute"),
    ("XLMRobertaConfig", "position_embedding_type", "absolute"),
    ("CamembertConfig", "position_embedding_type", "absolute"),
    ("BartConfig", "normalize_before", False),
    ("MBartConfig", "normalize_before", True),
    ("PegasusConfig", "normalize_before", True),
    ("PegasusConfig", "normalize_embedding", False),
)


def install(library: Any) -> None:
    """Give `library` (transformers) back what the converter asks for, and the converter a loader for Phi."""
    from ctranslate2.converters import transformers as converters

    for name, field, value in _DROPPED:
        config = getattr(library, name)
        if not hasattr(config, field):
            setattr(config, field, value)
    if not hasattr(library.GPTNeoXConfig, "rotary_pct"):
        library.GPTNeoXConfig.rotary_pct = property(_plain_rotary)
    if not hasattr(library.GPTNeoXForCausalLM, "embed_out"):
        library.GPTNeoXForCausalLM.embed_out = property(lambda model: model.get_output_embeddings())
    converters._MODEL_LOADERS["PhiConfig"] = _phi_loader(converters)


def _plain_rotary(config: Any) -> float:
    """The rotated part of a head. The converter knows no other base than 10,000 and no scaling for this class."""
    if (base := _rotary(config)[1]) != 10_000:
        raise UnsupportedError(f"CTranslate2 has no rotary base of {base:g} for {type(config).__name__}; try ort or hf")
    return _rotary(config)[0]


def _rotary(config: Any) -> tuple[float, float]:
    """(rotated part, base) of an unscaled rotary embedding. Raises UnsupportedError if it is scaled."""
    rotary = config.rope_parameters or {}
    if (kind := rotary.get("rope_type", "default")) != "default":
        raise UnsupportedError(
            f"CTranslate2 has no rotary scaling {kind!r} for {type(config).__name__}; try backend ort or hf"
        )
    return float(rotary.get("partial_rotary_factor", 1.0)), float(rotary.get("rope_theta", 10_000))


def _phi_loader(converters: Any) -> Any:
    """A loader for Phi as transformers has it; the converter's own reads the layout of its first, remote code."""
    from ctranslate2.converters import utils
    from ctranslate2.specs import common_spec, transformer_spec

    class PhiLoader(converters.PhiLoader):  # type: ignore[misc]  # the library has no types
        def get_model_spec(self, model: Any) -> Any:
            config = model.config
            if config.qk_layernorm:
                raise UnsupportedError("CTranslate2 has no Phi with qk_layernorm; try backend ort or hf")
            heads, part, base = config.num_attention_heads, *_rotary(config)
            shared = getattr(config, "num_key_value_heads", None) or heads
            spec = transformer_spec.TransformerDecoderModelSpec.from_config(
                num_layers=config.num_hidden_layers,
                num_heads=heads,
                num_heads_kv=None if shared == heads else shared,
                pre_norm=True,
                activation=converters._SUPPORTED_ACTIVATIONS[config.hidden_act],
                rotary_dim=int(part * (config.hidden_size // heads)),
                rotary_interleave=False,
                rotary_base=base,
                parallel_residual=True,
                shared_layer_norm=True,
            )
            decoder = spec.decoder
            decoder.scale_embeddings = False
            self.set_embeddings(decoder.embeddings, model.model.embed_tokens)
            self.set_layer_norm(decoder.layer_norm, model.model.final_layernorm)
            self.set_linear(decoder.projection, model.lm_head)
            for layer_spec, layer in zip(decoder.layer, model.model.layers, strict=True):
                self._set_layer(layer_spec, layer)
            return spec

        def _set_layer(self, spec: Any, layer: Any) -> None:
            self.set_layer_norm(spec.shared_layer_norm, layer.input_layernorm)
            attention = layer.self_attn
            parts = [common_spec.LinearSpec() for _ in range(3)]
            for part, module in zip(parts, (attention.q_proj, attention.k_proj, attention.v_proj), strict=True):
                self.set_linear(part, module)
            utils.fuse_linear(spec.self_attention.linear[0], parts)
            self.set_linear(spec.self_attention.linear[1], attention.dense)
            self.set_linear(spec.ffn.linear_0, layer.mlp.fc1)
            self.set_linear(spec.ffn.linear_1, layer.mlp.fc2)

    return PhiLoader()
