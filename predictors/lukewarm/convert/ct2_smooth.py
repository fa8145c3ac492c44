"""Moves outliers of activations into weights for CTranslate2: the pairs of decoders built as Llama is, in torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lukewarm.convert import int8_rows, smoothing

MODEL_TYPES = frozenset({"llama", "mistral", "qwen2", "qwen3"})


@dataclass(frozen=True)
class Pair:
    """What writes a set of channels (a parameter, by its first dimension), and the products that read them."""

    written: tuple[Any, ...]
    readers: tuple[Any, ...]
    heads: tuple[int, int] | None = None  # (number, size) of the heads written, where several heads read each


def smooth(model: Any, rows: list[list[int]]) -> int:
    """Change a model of MODEL_TYPES in fp32 in place; the number of pairs that were changed."""
    import torch

    pairs = list(_pairs(model))
    seen: dict[int, Any] = {}
    hooks = [
        pair.readers[0].register_forward_pre_hook(
            lambda _module, inputs, place=place: seen.__setitem__(place, inputs[0].flatten(0, -2))
        )
        for place, pair in enumerate(pairs)
    ]
    with torch.inference_mode():
        try:
            model.model(input_ids=torch.tensor(rows), use_cache=False)
        finally:
            for hook in hooks:
                hook.remove()
    with torch.no_grad():
        return sum(_apply(pair, seen.pop(place).clone()) for place, pair in enumerate(pairs))


def _pairs(model: Any) -> Iterator[Pair]:
    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        yield Pair(_of(layer.input_layernorm), (attention.q_proj, attention.k_proj, attention.v_proj))
        yield Pair(_of(layer.post_attention_layernorm), (mlp.gate_proj, mlp.up_proj))
        yield Pair(_of(mlp.up_proj), (mlp.down_proj,))
        yield Pair(_of(attention.v_proj), (attention.o_proj,), _heads(attention))


def _of(module: Any) -> tuple[Any, ...]:
    bias = getattr(module, "bias", None)
    return (module.weight,) if bias is None else (module.weight, bias)


def _heads(attention: Any) -> tuple[int, int]:
    return attention.v_proj.out_features // attention.head_dim, attention.head_dim


def _apply(pair: Pair, inputs: Any) -> int:
    import torch

    inputs = inputs[:: smoothing.stride(len(inputs))]
    weight = torch.cat([reader.weight for reader in pair.readers])
    chosen = smoothing.choose(inputs.numpy(), weight.numpy(), int8_rows.ROUNDING, pair.heads)
    if chosen is None:
        return 0
    small, wide = (torch.from_numpy(scale) for scale in chosen)
    for parameter in pair.written:
        parameter /= small.reshape(-1, *[1] * (parameter.ndim - 1))
    for reader in pair.readers:
        reader.weight *= wide
    return 1
