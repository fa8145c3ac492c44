"""Moves outliers of activations into weights before both are quantized (SmoothQuant, arXiv 2211.10438).

A channel that a norm or a product writes is divided by s, the weights that read it are multiplied by s: the same model
in fp32. s = max|X|^a / max|W|^(1-a); a is chosen for each pair by the error that 8 bits make in its output, and no
change is one of the choices. Done for decoders built as Llama is; others are left as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from lukewarm.convert import texts

MODEL_TYPES = frozenset({"llama", "mistral", "qwen2", "qwen3"})
_EXPONENTS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_ROWS_TRIED, _TOKENS_TRIED = 384, 320
_TINY = 1e-6


@dataclass(frozen=True)
class Pair:
    """What writes a set of channels (a parameter, by its first dimension), and the products that read them."""

    written: tuple[Any, ...]
    readers: tuple[Any, ...]
    shared: Callable[[Any], Any] | None = None  # scales of the readers' channels -> the same where one is written


def calibration_rows(tokenizer: Any, vocab_size: int, context_tokens: int | None) -> list[list[int]]:
    """Token ids of the chapters that the accuracy check does not use."""
    from pydoc_data.topics import topics

    text = "\n".join(topics[name] for name in sorted(topics) if name not in texts._TOPICS)
    return texts.rows(text, tokenizer, vocab_size=vocab_size, context_tokens=context_tokens)


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


def _heads(attention: Any) -> Callable[[Any], Any]:
    """Heads that share one value head share its scales."""
    size, shared = attention.head_dim, attention.v_proj.out_features // attention.head_dim

    def widest(scale: Any) -> Any:
        return scale.reshape(shared, -1, size).amax(1)

    return widest


def _apply(pair: Pair, inputs: Any) -> int:
    import torch

    inputs = inputs[:: max(1, len(inputs) // _TOKENS_TRIED)]
    weight = torch.cat([reader.weight for reader in pair.readers])
    active, heavy = inputs.abs().amax(0).clamp_min(_TINY), weight.abs().amax(0).clamp_min(_TINY)
    tried = weight[:: max(1, len(weight) // _ROWS_TRIED)]
    exact = inputs @ tried.T
    best, chosen = _error(inputs, tried, exact), None
    for exponent in _EXPONENTS:
        scale = active**exponent / heavy ** (1 - exponent)
        scale = scale / scale.log().mean().exp()
        small = scale if pair.shared is None else pair.shared(scale)
        wide = scale if pair.shared is None else _widened(small, len(scale))
        error = _error(inputs / wide, tried * wide, exact)
        if error < best:
            best, chosen = error, (small.flatten(), wide)
    if chosen is None:
        return 0
    small, wide = chosen
    for parameter in pair.written:
        parameter /= small.reshape(-1, *[1] * (parameter.ndim - 1))
    for reader in pair.readers:
        reader.weight *= wide
    return 1


def _widened(scale: Any, channels: int) -> Any:
    heads, size = scale.shape
    return scale[:, None].expand(-1, channels // (heads * size), -1).reshape(-1)


def _error(inputs: Any, weight: Any, exact: Any) -> float:
    """Mean over tokens of the share of the output that 8 bits lose."""
    lost = (_rounded(inputs) @ _rounded(weight, pairs=True).T - exact).square().sum(1)
    return float((lost / exact.square().sum(1).clamp_min(_TINY**2)).mean())


def _rounded(rows: Any, *, pairs: bool = False) -> Any:
    """Rows at 8 bits, with the scales of CTranslate2 for activations or (`pairs`) those of `ct2_int8`."""
    import torch

    largest = rows.abs().amax(1)
    if pairs and rows.shape[1] % 2 == 0:
        both = rows.reshape(len(rows), -1, 2)
        positive, negative = both.clamp_min(0).sum(2).amax(1), (-both).clamp_min(0).sum(2).amax(1)
        largest = torch.maximum(positive, negative)
    step = (largest / 127).clamp_min(_TINY**2)[:, None]
    return (rows / step).round() * step
