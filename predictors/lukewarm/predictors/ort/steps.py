"""The two graphs of an encoder-decoder as a `StepModel`. What a converter promises about them:

encoder.onnx  inputs of the source (and `attention_mask`) -> cross_0 ... : keys and values of every decoder layer
decoder.onnx  tokens int64[rows, 1], rows int64[rows], attention_mask, past_i, cross_i -> logits float32[rows, vocab],
              present_i. `rows` picks the rows of the past that each row goes on from, inside the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lukewarm.predictors.bundle import Bundle
from lukewarm.predictors.ort.session import open_bundle, value_for
from lukewarm.predictors.predictor import Runtime

if TYPE_CHECKING:
    from lukewarm.predictors.search import FloatArray, IntArray

    Array = np.ndarray[Any, np.dtype[Any]]


class Graphs:
    """The two sessions and what is asked of them at every step, looked up once."""

    @classmethod
    def open(cls, bundle: Bundle, runtime: Runtime) -> Graphs:
        """The graphs of a bundle. Raises BundleError."""
        return cls(*open_bundle(bundle, runtime))

    def __init__(self, encoder: Any, decoder: Any) -> None:
        self.encoder = encoder
        self.decoder = decoder
        self.encoder_inputs = {value.name for value in encoder.get_inputs()}
        self.cross_names = [value.name for value in encoder.get_outputs()]
        inputs = {value.name: value for value in decoder.get_inputs()}
        self.takes_mask = "attention_mask" in inputs
        self.past_names = [name for name in inputs if name.startswith("past_")]
        self.output_names = ["logits", *(name.replace("past_", "present_") for name in self.past_names)]
        # [rows, heads, past, size] for attention; a recurrent state has no place for the past
        self.past_shapes = [inputs[name].shape for name in self.past_names]
        self.unused_cross = {name for name in self.cross_names if name not in inputs}
        self.takes_position = "position" in inputs


class OrtSteps:
    """One run over a batch. Keys and values stay ONNX Runtime's own buffers from step to step."""

    def __init__(self, graphs: Graphs, inputs: Mapping[str, Array]) -> None:
        """`inputs` are the encoder's, by name; `attention_mask` int64 [sentences, length] if the source is padded."""
        self._graphs = graphs
        mask = inputs.get("attention_mask")
        self._mask = None if mask is None or not graphs.takes_mask else self._value(mask)
        feeds = {name: self._value(array) for name, array in inputs.items() if name in graphs.encoder_inputs}
        found = graphs.encoder.run_with_ort_values(graphs.cross_names, feeds)
        self._cross = dict(zip(graphs.cross_names, found, strict=True))
        count = next(iter(inputs.values())).shape[0]
        self._past = [self._value(_empty(shape, count)) for shape in graphs.past_shapes]
        self._beams = 1
        self._position = 0

    def step(self, tokens: IntArray, origin: IntArray) -> FloatArray:
        graphs = self._graphs
        feeds = {"tokens": self._value(tokens[:, None]), "rows": self._value(origin)}
        if self._mask is not None:
            feeds["attention_mask"] = self._mask
        if graphs.takes_position:
            feeds["position"] = self._value(np.array([self._position], np.int64))
        feeds.update((name, value) for name, value in self._cross.items() if name not in graphs.unused_cross)
        feeds.update(zip(graphs.past_names, self._past, strict=True))
        logits, *self._past = graphs.decoder.run_with_ort_values(graphs.output_names, feeds)
        self._position += 1
        values: FloatArray = logits.numpy()
        return values

    def _value(self, array: Array) -> Any:
        return value_for(self._graphs.decoder, np.ascontiguousarray(array))

    def sentences(self, kept: IntArray, beams: int) -> None:
        rows = (kept * self._beams).repeat(beams)
        self._cross = {name: self._value(value.numpy()[rows]) for name, value in self._cross.items()}
        if self._mask is not None:
            self._mask = self._value(self._mask.numpy()[rows])
        self._beams = beams


def _empty(shape: list[Any], count: int) -> Array:
    """The past before the first token: no places, or a zero state where every size but the rows is fixed."""
    sizes = [count, *(size if isinstance(size, int) else 0 for size in shape[1:])]
    return np.zeros(sizes, np.float32)
