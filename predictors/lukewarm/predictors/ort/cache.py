"""Key/value buffers of fixed size, bound by address: the graph reads and writes them in place."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Container, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from lukewarm.predictors.ort.buffers import FLOAT_BYTES, Floats
from lukewarm.predictors.ort.session import dtype_for, library


class KeyValueCache(msgspec.Struct, frozen=True):
    """Two buffers [batch, heads, capacity, size] per layer. `owners` keep the memory alive."""

    layers: Sequence[tuple[int, int]]  # (heads, size)
    batch: int
    capacity: int
    device: str  # cpu or cuda
    owners: list[Any]  # Floats, or OrtValues on a device
    first_row: int = 0

    @classmethod
    def make(cls, layers: Sequence[tuple[int, int]], batch: int, capacity: int, device: str) -> KeyValueCache:
        """Fresh buffers: no token reads what none has written."""
        make = Floats if device == "cpu" else lambda shape: _on_device(shape, device)
        owners = [make([batch, heads, capacity, size]) for heads, size in layers for _ in range(2)]
        return cls(layers, batch, capacity, device, owners)

    def bind(self, session: Any, binding: Any, names: Container[str]) -> None:
        """Bind as past and as present every buffer whose past is among the input `names`."""
        dtype = dtype_for(session, "float32")
        for place, owner in enumerate(self.owners):
            layer, part = place // 2, ("key", "value")[place % 2]
            if f"past_key_values.{layer}.{part}" not in names:
                continue
            heads, size = self.layers[layer]
            shape = [self.batch, heads, self.capacity, size]
            address = owner.address if self.device == "cpu" else owner.data_ptr()
            address += self.first_row * math.prod(shape[1:]) * FLOAT_BYTES
            binding.bind_input(f"past_key_values.{layer}.{part}", self.device, 0, dtype, shape, address)
            binding.bind_output(f"present.{layer}.{part}", self.device, 0, dtype, shape, address)

    def row(self, row: int) -> KeyValueCache:
        """The part of one row, in the same memory."""
        return replace(self, batch=1, first_row=row)

    def keep(self, rows: Sequence[int], used: int) -> KeyValueCache:
        """Only these rows (ascending), moved to the front; `used` is the length of the longest."""
        if self.device == "cpu":
            for place, owner in enumerate(self.owners):
                self._move(owner, rows, used, *self.layers[place // 2])
            return replace(self, batch=len(rows))
        owners = [_moved_on_device(owner, rows, self.device) for owner in self.owners]
        return replace(self, batch=len(rows), owners=owners)

    def _move(self, owner: Floats, rows: Sequence[int], used: int, heads: int, size: int) -> None:
        head_bytes = self.capacity * size * FLOAT_BYTES
        for target, source in enumerate(rows):
            for head in range(heads if target != source else 0):
                to, of = (owner.address + (row * heads + head) * head_bytes for row in (target, source))
                ctypes.memmove(to, of, used * size * FLOAT_BYTES)


def _on_device(shape: list[int], device: str) -> Any:
    ort = library()
    import numpy as np

    return ort.OrtValue.ortvalue_from_shape_and_type(shape, np.float32, device, 0)


def _moved_on_device(buffer: Any, rows: Sequence[int], device: str) -> Any:
    import numpy as np

    return library().OrtValue.ortvalue_from_numpy(np.ascontiguousarray(buffer.numpy()[list(rows)]), device, 0)
