"""Graph passes that give every raw graph the same form, whoever wrote it.

After `normalise`: inputs input_ids, seqlens_k int32[batch], total_len int32[], last int64[scored] (indices into the
flattened batch: the positions whose logits are wanted), past_key_values.*; outputs logits [scored, vocab], present.*,
best int64[scored], the token of the largest logit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lukewarm.predictors.errors import UnsupportedError

MICROSOFT = "com.microsoft"
# what may stand between the output layer and the logits: scales and caps
_AFTER_HEAD = {"Add", "Cast", "Div", "Mul", "Tanh", "Identity", "Where"}


def normalise(model: Any) -> None:
    """Change an onnx_ir model in place. Raises UnsupportedError if it is not a decoder as expected."""
    _clean(model)
    _direct_lengths(model)
    head = find_head(model)
    _only_last(model, head)
    _tie(model, head)
    _fuse(model)
    _quick_gelu(model)
    _flat_reshapes(model)
    _packed_attention(model)
    _clean(model)
    _choose(model)


def constant(value: Any) -> Any:
    """The tensor of a constant or initializer value, or None."""
    return value.const_value if value is not None else None


def initializer(model: Any, name: str, array: Any) -> Any:
    """A new initializer of the graph."""
    import onnx_ir as ir

    tensor = ir.Tensor(array, name=name)
    value = ir.Value(name=name, const_value=tensor, shape=tensor.shape, type=ir.TensorType(tensor.dtype))
    model.graph.initializers[name] = value
    return value


def operators(model: Any, *kinds: str) -> Iterator[Any]:
    """The nodes of these kinds, in order; the graph may change meanwhile."""
    return (node for node in list(model.graph) if node.op_type in kinds)


def only_user(value: Any) -> Any | None:
    """The one node that reads a value, or None."""
    users = list(value.uses())
    return users[0].node if len(users) == 1 and not value.is_graph_output() else None


def find_head(model: Any) -> Any:
    """The MatMul or Gemm of the output layer."""
    value = next((v for v in model.graph.outputs if v.name == "logits"), None)
    node = value.producer() if value is not None else None
    while node is not None and node.op_type in _AFTER_HEAD:
        node = next((p for v in node.inputs if v is not None and (p := v.producer()) is not None), None)
    if node is None or node.op_type not in ("MatMul", "Gemm"):
        raise UnsupportedError("the graph's output layer was not found")
    return node


def _clean(model: Any) -> None:
    from onnx_ir.passes import common

    common.IdentityEliminationPass()(model)
    common.CommonSubexpressionEliminationPass()(model)
    common.RemoveUnusedNodesPass()(model)


def _direct_lengths(model: Any) -> None:
    """Attention takes its lengths from graph inputs, not from a mask that grows with every token."""
    import onnx_ir as ir

    attention = list(operators(model, "GroupQueryAttention"))
    if not attention:
        raise UnsupportedError("the graph has no GroupQueryAttention")
    inputs = {value.name: value for value in model.graph.inputs}
    for place, name, shape in ((5, "seqlens_k", ["batch"]), (6, "total_len", [])):
        if name not in inputs:
            value = ir.val(name, shape=shape, dtype=ir.DataType.INT32)
            model.graph.inputs.append(value)
            for node in attention:
                node.replace_input_with(place, value)
    _clean(model)
    for value in list(model.graph.inputs):
        if value.name in ("attention_mask", "position_ids") and not list(value.uses()):
            model.graph.inputs.remove(value)


def _only_last(model: Any, head: Any) -> None:
    """Gather the wanted positions before the output layer: its product is the largest of all."""
    import numpy as np
    import onnx_ir as ir

    hidden = head.inputs[0]
    last = ir.val("last", shape=["scored"], dtype=ir.DataType.INT64)
    model.graph.inputs.append(last)
    weight = constant(head.inputs[1])
    producer = head.inputs[1].producer()
    if weight is None and producer is not None and producer.op_type == "Transpose":
        weight = constant(producer.inputs[0])
    if weight is None:
        raise UnsupportedError("the graph's output layer has no constant weight")
    rows, columns = (int(size) for size in weight.shape)
    transposed = producer is not None or (head.op_type == "Gemm" and flag(head, "transB"))
    width, vocab = (columns, rows) if transposed else (rows, columns)
    shape = initializer(model, "lukewarm.flat", np.array([-1, width], np.int64))
    flat = ir.Node("", "Reshape", [hidden, shape], name="lukewarm.flatten")
    picked = ir.Node("", "Gather", [flat.outputs[0], last], [ir.AttrInt64("axis", 0)], name="lukewarm.pick")
    model.graph.insert_before(head, [flat, picked])
    head.replace_input_with(0, picked.outputs[0])
    _flat_from(head, vocab)


def flag(node: Any, name: str) -> bool:
    """Whether an integer attribute is set and not zero."""
    attribute = node.attributes.get(name)
    return attribute is not None and attribute.as_int() != 0


def _flat_from(node: Any, vocab: int) -> None:
    """What follows the output layer has two dimensions now; shapes noted for three would be believed."""
    import onnx_ir as ir

    for value in node.outputs:
        value.shape = ir.Shape(["scored", vocab])
        for use in list(value.uses()):
            _flat_from(use.node, vocab)


def _tie(model: Any, head: Any) -> None:
    """One [vocab, width] weight for embedding and output layer where they are the same bytes; no Transpose of it."""
    import onnx_ir as ir

    graph = model.graph
    weight = head.inputs[1]
    if weight.producer() is not None:  # Transpose(embedding): torch's form
        embedding = weight.producer().inputs[0]
    else:
        lookup = next((n for n in operators(model, "Transpose") if n.inputs[0] is weight), None)
        if lookup is None:
            return
        # Transpose(output layer): the builder's form
        embedding = initializer(model, "lukewarm.embedding", weight.const_value.numpy().T)
        for user in list(lookup.outputs[0].uses()):
            user.node.replace_input_with(user.idx, embedding)
    inputs = [head.inputs[0], embedding, *([head.inputs[2]] if len(head.inputs) > 2 else [])]
    product = ir.Node("", "Gemm", inputs, [ir.AttrInt64("transB", 1)], name="lukewarm.head")
    product.outputs[0].name = head.outputs[0].name
    ir.convenience.replace_nodes_and_values(graph, head, [head], [product], head.outputs, product.outputs)


def _fuse(model: Any) -> None:
    """Layer norms, skip connections and GELUs, by onnxscript's rules for ONNX Runtime."""
    from onnxscript.rewriter.ort_fusions import optimize_for_ort

    optimize_for_ort(model)


def _quick_gelu(model: Any) -> None:
    """x * sigmoid(x) as one operator."""
    import onnx_ir as ir

    for sigmoid in operators(model, "Sigmoid"):
        product = only_user(sigmoid.outputs[0])
        if product is None or product.op_type != "Mul" or sigmoid.inputs[0] not in product.inputs:
            continue
        fused = ir.Node(MICROSOFT, "QuickGelu", [sigmoid.inputs[0]], [ir.AttrFloat32("alpha", 1.0)])
        ir.convenience.replace_nodes_and_values(
            model.graph, product, [product, sigmoid], [fused], product.outputs, fused.outputs
        )


def _flat_reshapes(model: Any) -> None:
    """Of a chain of Reshapes only the last shape counts."""
    for node in operators(model, "Reshape"):
        while (before := node.inputs[0].producer()) is not None and before.op_type == "Reshape":
            if not flag(node, "allowzero") and constant(node.inputs[1]) is None:
                break  # a zero in the shape would copy a size of the input
            node.replace_input_with(0, before.inputs[0])


def _packed_attention(model: Any) -> None:
    """Split(qkv) -> attention: the operator takes the packed product as it is."""
    for node in operators(model, "GroupQueryAttention"):
        if node.inputs[1] is None:
            continue
        parts = [_through_reshape(value) for value in node.inputs[:3]]
        split = parts[0].producer() if parts[0] is not None else None
        if split is None or split.op_type != "Split" or parts != list(split.outputs):
            continue
        node.replace_input_with(0, split.inputs[0])
        node.replace_input_with(1, None)
        node.replace_input_with(2, None)


def _choose(model: Any) -> None:
    """The best token as an output: who takes it needs no numpy to find it."""
    import onnx_ir as ir

    logits = next(value for value in model.graph.outputs if value.name == "logits")
    axis, keep = ir.AttrInt64("axis", -1), ir.AttrInt64("keepdims", 0)
    node = ir.Node("", "ArgMax", [logits], [axis, keep], name="lukewarm.best")
    best = node.outputs[0]
    best.name, best.shape, best.type = "best", ir.Shape(["scored"]), ir.TensorType(ir.DataType.INT64)
    model.graph.append(node)
    model.graph.outputs.append(best)


def _through_reshape(value: Any) -> Any:
    """What a Reshape reads: heads folded out and in again change nothing for the attention."""
    producer = value.producer() if value is not None else None
    return producer.inputs[0] if producer is not None and producer.op_type == "Reshape" else value
