"""The sessions of one decoder graph, run one after another: each goes on from what the one before leaves."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lukewarm.predictors.ort.cache import KeyValueCache
from lukewarm.predictors.ort.session import run

if TYPE_CHECKING:
    from lukewarm.predictors.generation import FloatArray

    Array = np.ndarray[Any, np.dtype[Any]]


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
        logits = next(value for value in sessions[-1].get_outputs() if value.name == "logits")
        self.vocab = int(logits.shape[-1])


class BoundRun:
    """Buffers bound to every part, for runs of one shape. The caller keeps the arrays alive."""

    def __init__(self, parts: Parts, inputs: dict[str, Array], cache: KeyValueCache) -> None:
        self.logits: FloatArray = np.empty((len(inputs["last"]), parts.vocab), np.float32)
        self._parts = parts
        self._bindings = [session.io_binding() for session in parts.sessions]
        for binding, names, crossing in zip(self._bindings, parts.inputs, parts.crossing, strict=True):
            for name in crossing:  # first, so that they are the first outputs
                binding.bind_output(name, parts.device)
            cache.bind(binding, names)
        self._bindings[-1].bind_output("logits", "cpu", 0, np.float32, list(self.logits.shape), self.logits.ctypes.data)
        self.bind_inputs(inputs)
        self._joined = len(self._bindings) == 1

    def bind_inputs(self, inputs: dict[str, Array]) -> None:
        """Bind by address: on the CPU, what is written into the arrays later is what the next run reads."""
        for binding, names in zip(self._bindings, self._parts.inputs, strict=True):
            for name, array in inputs.items():
                if name in names:
                    binding.bind_input(name, "cpu", 0, array.dtype, list(array.shape), array.ctypes.data)

    def run(self, cancel: threading.Event, *, watch: bool) -> None:
        """One run of every part. With `watch` a cancel signal stops it within moments: CancelledError."""
        run(self._parts.sessions[0], self._run, cancel, watch=watch)

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
