"""Any decoder of transformers to an ONNX graph by torch.onnx, its attention as ONNX Runtime's GroupQueryAttention.

transformers lets a library register an attention function. Ours is a symbol: the operator that keeps keys and values in
buffers of fixed size, so that no step copies the past. Models whose attention does not go through that interface
(Bloom's ALiBi, GPT-J ...) are refused.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lukewarm.convert import frameworks
from lukewarm.convert.source import Source
from lukewarm.predictors.errors import UnsupportedError

_NAME = "lukewarm_group_query_attention"
_OPSET = 21


@dataclass
class _Trace:
    """What the attention function is given and gives, during one pass through the model."""

    recording: bool = True
    past: tuple[Any, ...] = ()
    seqlens: Any = None
    total: Any = None
    shapes: list[tuple[int, int]] = field(default_factory=list)  # (key/value heads, head size) per layer
    present: list[Any] = field(default_factory=list)


_trace = _Trace()


def build(source: Source, folder: Path) -> Path:
    """Write the raw fp32 graph of `source` into `folder`. Raises UnsupportedError."""
    frameworks.transformers()
    import torch

    _register()
    try:
        model = frameworks.load_causal_lm(source, attn_implementation=_NAME)
    except UnsupportedError as error:
        if _NAME not in str(error):
            raise
        raise _refused(source, "its attention does not go through transformers' attention interface") from error
    _with_onnx_operators(model)
    inputs = _probe(model, source)
    with torch.no_grad(), _quiet():
        try:
            program = torch.onnx.export(
                _wrapper(model),
                inputs,
                dynamo=True,
                dynamic_shapes=_dynamic(inputs),
                input_names=["input_ids", "position_ids", "seqlens_k", "total_len", *_names("past_key_values")],
                output_names=["logits", *_names("present")],
                opset_version=_OPSET,
                verbose=False,
            )
        except Exception as error:  # the exporter wraps whatever the model's code raised
            raise _refused(source, f"torch.onnx cannot export it ({type(error).__name__})") from error
    graph = folder / "model.onnx"
    program.save(graph, external_data=True)
    return graph


def _names(prefix: str) -> list[str]:
    return [f"{prefix}.{layer}.{part}" for layer in range(len(_trace.shapes)) for part in ("key", "value")]


def _probe(model: Any, source: Source) -> tuple[Any, ...]:
    """Run the model once to learn each layer's key and value shapes; example inputs for the export."""
    import torch

    global _trace
    batch, length, room = 2, 3, 8
    ids = torch.ones(batch, length, dtype=torch.long)
    positions = torch.arange(length).repeat(batch, 1)
    _trace = _Trace()
    try:
        with torch.no_grad():
            model(input_ids=ids, position_ids=positions, past_key_values=_no_cache(), use_cache=True)
    except TypeError as error:
        raise _refused(source, "it takes no position_ids") from error
    except UnsupportedError:
        raise
    except Exception as error:  # the model's own code, without the mask that some reckon with
        raise _refused(source, f"it does not run without a mask ({type(error).__name__})") from error
    if len(_trace.shapes) != model.config.get_text_config().num_hidden_layers:
        raise _refused(source, "its attention does not go through transformers' attention interface")
    past = tuple(torch.zeros(batch, heads, room, size) for heads, size in _trace.shapes for _ in range(2))
    seqlens = torch.full((batch,), length - 1, dtype=torch.int32)
    return ids, positions, seqlens, torch.tensor(length, dtype=torch.int32), past


def _refused(source: Source, reason: str) -> UnsupportedError:
    return UnsupportedError(f"{source.architecture}: {reason}")


def _dynamic(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    import torch

    batch, sequence, room = (torch.export.Dim(name) for name in ("batch", "sequence", "room"))
    rows = {0: batch, 1: sequence}
    return rows, rows, {0: batch}, {}, tuple({0: batch, 2: room} for _ in inputs[4])


def _wrapper(model: Any) -> Any:
    import torch

    class Step(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, position_ids: Any, seqlens_k: Any, total_len: Any, past: Any) -> Any:
            global _trace
            _trace = _Trace(False, past, seqlens_k, total_len, _trace.shapes)
            logits = self.model(
                input_ids=input_ids, position_ids=position_ids, past_key_values=_no_cache(), use_cache=True
            ).logits
            return (logits, *_trace.present)

    return Step()


def _no_cache() -> Any:
    """A cache that keeps nothing: the attention operator has its own."""
    from transformers import DynamicCache

    class Nothing(DynamicCache):  # type: ignore[misc]
        def update(self, key_states: Any, value_states: Any, *_args: Any, **_kwargs: Any) -> tuple[Any, Any]:
            return key_states, value_states

        def get_seq_length(self, *_args: Any, **_kwargs: Any) -> int:
            return 0

    return Nothing()


def _register() -> None:
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(_NAME, _attention)
    AttentionMaskInterface.register(_NAME, lambda *_args, **_kwargs: None)  # causal by nature


def _attention(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **options: Any) -> tuple[Any, None]:
    """query [batch, heads, length, size], key and value [batch, kv heads, length, size]."""
    import torch

    batch, heads, length, size = query.shape
    kv_heads = key.shape[1]
    if value.shape[-1] != size or options.get("s_aux") is not None or options.get("position_bias") is not None:
        raise UnsupportedError("its attention has values of another size, sinks or biases")
    if _trace.recording:
        _trace.shapes.append((kv_heads, size))
        return torch.zeros_like(query).transpose(1, 2), None
    flat = [
        part.transpose(1, 2).reshape(batch, length, count * size)
        for part, count in ((query, heads), (key, kv_heads), (value, kv_heads))
    ]
    done = len(_trace.present)
    past = _trace.past[done : done + 2]
    output, *present = torch.onnx.ops.symbolic_multi_out(
        "com.microsoft::GroupQueryAttention",
        [*flat, *past, _trace.seqlens, _trace.total],
        {
            "num_heads": heads,
            "kv_num_heads": kv_heads,
            "scale": float(options["scaling"] if options.get("scaling") is not None else size**-0.5),
            "local_window_size": int(options.get("sliding_window") or -1),
            "softcap": float(options.get("softcap") or 0.0),
        },
        dtypes=[query.dtype] * 3,
        shapes=[flat[0].shape, past[0].shape, past[1].shape],
        version=1,
    )
    _trace.present.extend(present)
    return output.reshape(batch, length, heads, size), None


def _with_onnx_operators(model: Any) -> None:
    """Exchange modules for those that become one fast operator: GPT-2's transposed linear layers, GELU by tanh."""
    import torch
    from transformers import activations
    from transformers.pytorch_utils import Conv1D

    class FastGelu(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return torch.onnx.ops.symbolic("com.microsoft::FastGelu", [x], {}, dtype=x.dtype, shape=x.shape, version=1)

    # the GPT-2 lineage, all of them the same formula
    by_tanh = (activations.NewGELUActivation, activations.FastGELUActivation, activations.GELUTanh)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Conv1D):
                linear = torch.nn.Linear(*child.weight.shape, bias=True)
                linear.weight = torch.nn.Parameter(child.weight.T.contiguous())
                linear.bias = child.bias
                setattr(module, name, linear)
            elif isinstance(child, by_tanh):
                setattr(module, name, FastGelu())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints advice for its own developers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logging.disable(before)
