"""The sessions of one decoder graph, run one after another: each goes on from what the one before leaves."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lukewarm.predictors.generation import require_number
from lukewarm.predictors.ort.buffers import Floats, Integers
from lukewarm.predictors.ort.cache import KeyValueCache
from lukewarm.predictors.ort.session import dtype_for, run

if TYPE_CHECKING:
    from lukewarm.predictors.generation import FloatArray

_BEST = "best"  # the output that holds the best token of each position, in graphs that have it


class Parts:
    """One session over the whole graph, or two over its halves; what each takes, looked up once."""

    def __init__(self, sessions: Sequence[Any]) -> None:
        self.sessions = sessions
        self.inputs = [{value.name for value in session.get_inputs()} for session in sessions]
        # what each part leaves for the next
        self.crossing = [
            [value.name for value in session.get_outputs() if value.name in taken]
            for session, taken in zip(sessions, [*self.inputs[1:], set[str]()], strict=True)
        ]
        self.takes_positions = any("position_ids" in names for names in self.inputs)
        self.device = "cuda" if "CUDAExecutionProvider" in sessions[0].get_providers() else "cpu"
        last = {value.name: value for value in sessions[-1].get_outputs()}
        self.vocab = int(last["logits"].shape[-1])
        self.chooses = _BEST in last


class BoundRun:
    """Buffers bound to every part, for runs of one shape; after a run the `Scores` of its positions."""

    def __init__(self, parts: Parts, inputs: Mapping[str, Integers], cache: KeyValueCache) -> None:
        """`inputs` are read at every run."""
        positions = inputs["last"].shape[0]
        self._logits = Floats([positions, parts.vocab])
        self._best = Integers("int64", [positions]) if parts.chooses else None
        self._parts = parts
        self._inputs = inputs  # as long as they are bound
        self._cache = cache
        self._bindings = [session.io_binding() for session in parts.sessions]
        for session, binding, names, crossing in zip(
            parts.sessions, self._bindings, parts.inputs, parts.crossing, strict=True
        ):
            for name in crossing:  # first, so that they are the first outputs
                binding.bind_output(name, parts.device)
            cache.bind(session, binding, names)
        for name, buffer in (("logits", self._logits), (_BEST, self._best)):
            if buffer is not None:
                self._bind(-1, "bind_output", name, buffer)
        self.bind_inputs()
        self._joined = len(self._bindings) == 1

    def bind_inputs(self) -> None:
        """Bind by address: on the CPU, what is written into the arrays later is what the next run reads."""
        for place, names in enumerate(self._parts.inputs):
            for name, buffer in self._inputs.items():
                if name in names:
                    self._bind(place, "bind_input", name, buffer)

    def best(self) -> list[int]:
        if self._best is None:
            tokens: list[int] = self.logits().argmax(axis=-1).tolist()
        else:
            tokens = self._best.items.tolist()
        for row, token in enumerate(tokens):
            require_number(self._logits[row * self._parts.vocab + token])
        return tokens

    def logits(self) -> FloatArray:
        return self._logits.array()

    def run(self, cancel: threading.Event, *, watch: bool) -> None:
        """One run of every part. With `watch` a cancel signal stops it within moments: CancelledError."""
        run(self._parts.sessions[0], self._run, cancel, watch=watch)

    def _bind(self, place: int, how: str, name: str, buffer: Integers | Floats) -> None:
        dtype = dtype_for(self._parts.sessions[place], buffer.dtype)
        getattr(self._bindings[place], how)(name, "cpu", 0, dtype, buffer.shape, buffer.address)

    def _run(self, options: Any) -> None:
        for place, (session, binding) in enumerate(zip(self._parts.sessions, self._bindings, strict=True)):
            session.run_with_iobinding(binding, options)
            if not self._joined and self._parts.crossing[place]:
                self._join(place)
        self._joined = True

    def _join(self, place: int) -> None:
        """The first run allocated what crosses: from now on these buffers are bound to both parts."""
        names = self._parts.crossing[place]
        binding, following = self._bindings[place], self._bindings[place + 1]
        for name, value in zip(names, binding.get_outputs(), strict=False):
            binding.bind_ortvalue_output(name, value)
            following.bind_ortvalue_input(name, value)
