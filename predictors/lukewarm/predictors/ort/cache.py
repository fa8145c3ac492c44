"""Key/value buffers of fixed size, bound by address: the graph reads and writes them in place."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec.structs import replace

from lukewarm.predictors.ort.session import library

if TYPE_CHECKING:
    from lukewarm.predictors.generation import FloatArray, IntArray

_FLOAT_BYTES = 4


class KeyValueCache(msgspec.Struct, frozen=True):
    """Two buffers [batch, heads, capacity, size] per layer. `owners` keep the memory alive."""

    layers: Sequence[tuple[int, int]]  # (heads, size)
    batch: int
    capacity: int
    device: str  # cpu or cuda
    owners: list[Any]  # numpy arrays, or OrtValues on a device
    first_row: int = 0

    @classmethod
    def make(cls, layers: Sequence[tuple[int, int]], batch: int, capacity: int, device: str) -> KeyValueCache:
        """Fresh buffers, not cleared: no token reads what none has written."""
        owners: list[Any] = []
        for heads, size in layers:
            shape = [batch, heads, capacity, size]
            for _ in range(2):
                owners.append(np.empty(shape, np.float32) if device == "cpu" else _on_device(shape, device))
        return cls(layers, batch, capacity, device, owners)

    def bind(self, binding: Any, names: Container[str]) -> None:
        """Bind as past and as present every buffer whose past is among the input `names`."""
        for place, owner in enumerate(self.owners):
            layer, part = place // 2, ("key", "value")[place % 2]
            if f"past_key_values.{layer}.{part}" not in names:
                continue
            heads, size = self.layers[layer]
            shape = [self.batch, heads, self.capacity, size]
            address = owner.ctypes.data if self.device == "cpu" else owner.data_ptr()
            address += self.first_row * math.prod(shape[1:]) * _FLOAT_BYTES
            binding.bind_input(f"past_key_values.{layer}.{part}", self.device, 0, np.float32, shape, address)
            binding.bind_output(f"present.{layer}.{part}", self.device, 0, np.float32, shape, address)

    def row(self, row: int) -> KeyValueCache:
        """The part of one row, in the same memory."""
        return replace(self, batch=1, first_row=row)

    def keep(self, rows: IntArray, used: int) -> KeyValueCache:
        """Only these rows (ascending), moved to the front; `used` is the length of the longest."""
        owners = [
            _moved(owner, rows, used) if self.device == "cpu" else _moved_on_device(owner, rows, self.device)
            for owner in self.owners
        ]
        return replace(self, batch=len(rows), owners=owners)


def _moved(buffer: FloatArray, rows: IntArray, used: int) -> FloatArray:
    for target, source in enumerate(rows.tolist()):
        if target != source:
            buffer[target, :, :used] = buffer[source, :, :used]
    return buffer[: len(rows)]


def _on_device(shape: list[int], device: str) -> Any:
    return library().OrtValue.ortvalue_from_shape_and_type(shape, np.float32, device, 0)


def _moved_on_device(buffer: Any, rows: IntArray, device: str) -> Any:
    return library().OrtValue.ortvalue_from_numpy(np.ascontiguousarray(buffer.numpy()[rows]), device, 0)
