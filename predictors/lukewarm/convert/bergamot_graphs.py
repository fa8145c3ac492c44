"""A Bergamot student as ONNX graphs and as a `StepModel` in torch: the exact SSRU decoder, one step at a time.

The decoder's past is one state float32 [rows, width] a layer; `position` int64 [1] counts its steps. In step 0 the
input is empty, whatever the token: Marian starts from a zero embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lukewarm.convert import bergamot, onnx_graph
from lukewarm.convert.job import Job

PLACES = 1024  # the sinusoids have no end; a table of theirs has
_MASKED = -1e9


def write_graphs(job: Job, student: bergamot.Student) -> None:
    """Write `model/encoder.onnx`, `decoder.onnx` and `weights.bin` at the job's precision."""
    paths = {name: job.scratch / f"{name}.onnx" for name in ("encoder", "decoder")}
    job.progress(f"{job.spec.name}: exporting the student to ONNX", None)
    cross = _export_encoder(student, paths["encoder"])
    _export_decoder(student, cross, paths["decoder"])
    job.progress(f"{job.spec.name}: optimising the graphs", None)
    graphs = {name: onnx_graph.optimise(path) for name, path in paths.items()}
    onnx_graph.write(graphs, job.spec.precision, job.out / "model")


class StudentSteps:
    """One run of the student in torch: the reference that the graphs are measured against."""

    def __init__(self, student: bergamot.Student, ids: Any, mask: Any) -> None:
        """`ids` and `mask` are int64 [sentences, length], padded on the right."""
        import torch

        self._layers = bergamot.Layers(student.settings, student.weights)
        self._place = bergamot.positions(PLACES, student.settings.width)
        with torch.inference_mode():
            self._mask = additive(torch.from_numpy(mask))
            self._cross = _cross(self._layers, torch.from_numpy(ids), self._mask, self._place)
        self._past = [torch.zeros(len(ids), student.settings.width)] * student.settings.decoder_layers
        self._position = 0
        self._beams = 1

    def step(self, tokens: Any, origin: Any) -> Any:
        """As `StepModel.step`."""
        import torch

        rows = torch.from_numpy(origin)
        past = [state[rows] for state in self._past]
        position = torch.tensor([self._position])
        with torch.inference_mode():
            logits, *self._past = _step(
                self._layers, (torch.from_numpy(tokens)[:, None], position, self._place), past, self._cross, self._mask
            )
        self._position += 1
        return logits.numpy().copy()

    def sentences(self, kept: Any, beams: int) -> None:
        """As `StepModel.sentences`."""
        rows = (kept * self._beams).repeat(beams)
        self._cross = [tensor[rows] for tensor in self._cross]
        self._mask = self._mask[rows]
        self._beams = beams


def source_ids(student: bergamot.Student, rows: Sequence[Sequence[int]], settings: Any, rules: Any) -> list[list[int]]:
    """What the student answers to token rows, by our search over torch in fp32."""
    from lukewarm.predictors.embeddings import pad
    from lukewarm.predictors.predictor import NEVER
    from lukewarm.predictors.search import search

    steps = StudentSteps(student, *pad(rows, 0))
    return [found.tokens for found in search(steps, len(rows), settings, rules, NEVER)]


def additive(mask: Any) -> Any:
    """int64 [rows, length] -> float32 [rows, 1, 1, length]: nothing where a token stands, else a number that hides."""
    return (1.0 - mask.float())[:, None, None] * _MASKED


def _cross(layers: bergamot.Layers, ids: Any, mask: Any, place: Any) -> list[Any]:
    memory = layers.encode(ids, mask, place)
    return [tensor for pair in layers.project_memory(memory) for tensor in pair]


def _step(
    layers: bergamot.Layers, given: tuple[Any, Any, Any], past: Sequence[Any], cross: Sequence[Any], mask: Any
) -> list[Any]:
    """`given` is tokens int64 [rows, 1], position int64 [1] and the table of positions -> logits and new states."""
    tokens, position, place = given
    x = layers.embed(tokens) * (position > 0).float() + place[position]
    states = []
    for layer, state in enumerate(past, 1):
        gate, candidate = layers.gates(x, layer)
        states.append((gate * state[:, None] + candidate)[:, 0])
        x = layers.after_state(states[-1][:, None], x, layer)
        x = layers.after_block(x, (cross[2 * layer - 2], cross[2 * layer - 1]), mask, layer)
    # three axes: with two, the bias becomes part of a Gemm, whose table cannot be shared with the embedding
    return [layers.logits(x)[:, 0], *states]


def _module(student: bergamot.Student, run: Any) -> Any:
    """A torch module that holds the student's weights and runs `run(layers, place, *arguments)`."""
    import torch

    class Module(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.numbers = {name: f"w{index}" for index, name in enumerate(student.weights)}
            for name, number in self.numbers.items():
                self.register_buffer(number, student.weights[name])
            self.register_buffer("place", bergamot.positions(PLACES, student.settings.width))

        def forward(self, *arguments: Any) -> tuple[Any, ...]:
            weights = {name: getattr(self, number) for name, number in self.numbers.items()}
            return tuple(run(bergamot.Layers(student.settings, weights), self.place, *arguments))

    return Module().eval()


def _export_encoder(student: bergamot.Student, path: Any) -> list[Any]:
    import torch

    ids = torch.full((2, 7), 3)
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    module = _module(student, lambda layers, place, ids, mask: _cross(layers, ids, additive(mask), place))
    with torch.no_grad():
        cross = list(module(ids, mask))
    batch, length = torch.export.Dim("batch", min=1, max=4096), torch.export.Dim("length", min=1, max=PLACES)
    names = (["input_ids", "attention_mask"], [f"cross_{index}" for index in range(len(cross))])
    onnx_graph.export(module, (ids, mask), path, names, (({0: batch, 1: length}, {0: batch, 1: length}),))
    return cross


def _export_decoder(student: bergamot.Student, cross: list[Any], path: Any) -> None:
    import torch

    layers = student.settings.decoder_layers

    def run(known: Any, place: Any, tokens: Any, rows: Any, mask: Any, position: Any, *rest: Any) -> list[Any]:
        past = [state.index_select(0, rows) for state in rest[:layers]]
        return _step(known, (tokens, position, place), past, rest[layers:], additive(mask))

    rows, old = (torch.export.Dim(name, min=1, max=4096) for name in ("rows", "old_rows"))
    length = torch.export.Dim("length", min=1, max=PLACES)
    past = [torch.randn(3, student.settings.width) for _ in range(layers)]
    mask = torch.ones(2, cross[0].shape[2], dtype=torch.long)
    arguments = (
        torch.ones(2, 1, dtype=torch.long), torch.tensor([2, 0]), mask, torch.tensor([1]), *past, *cross,
    )  # fmt: skip
    shapes = (
        {0: rows},
        {0: rows},
        {0: rows, 1: length},
        {},
        *({0: old} for _ in past),
        *({0: rows, 2: length} for _ in cross),
    )
    inputs = ["tokens", "rows", "attention_mask", "position", *(f"past_{index}" for index in range(layers))]
    inputs += [f"cross_{index}" for index in range(len(cross))]
    outputs = ["logits", *(f"present_{index}" for index in range(layers))]
    onnx_graph.export(_module(student, run), arguments, path, (inputs, outputs), (tuple(shapes),))
