"""Tensor memory that the graphs read and write by address, without numpy: importing it is a sixth of a cold start."""

from __future__ import annotations

import array
import ctypes
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

_CODES = {"int32": "i", "int64": "q"}
FLOAT_BYTES = 4


class Integers:
    """Integers that the caller writes: `items` is an `array.array`, and keeps its place while its length stays."""

    __slots__ = ("address", "code", "dtype", "items", "shape")

    def __init__(self, dtype: str, shape: Sequence[int], values: Iterable[int] = ()) -> None:
        """Zeros, unless there are `values`, one for each place."""
        self.dtype = dtype
        self.shape = list(shape)
        self.code = _CODES[dtype]
        count = math.prod(shape)
        self.items = array.array(self.code, values or bytes(array.array(self.code).itemsize * count))
        if len(self.items) != count:
            raise ValueError(f"{len(self.items)} values for {count} places")
        self.address = self.items.buffer_info()[0]

    def write(self, values: Sequence[int]) -> None:
        """As many as there are places. Raises ValueError for others, which would move the memory."""
        if len(values) != len(self.items):
            raise ValueError(f"{len(values)} values for {len(self.items)} places")
        self.items[:] = array.array(self.code, values)


class Floats:
    """float32 of the graph's, not cleared: the allocator gives small ones again, in pages that are there."""

    __slots__ = ("_count", "address", "shape")

    dtype = "float32"

    def __init__(self, shape: Sequence[int]) -> None:
        """Raises MemoryError."""
        self.address = 0
        self.shape = list(shape)
        self._count = math.prod(shape)
        self.address = _allocate(self._count * FLOAT_BYTES) or 0
        if not self.address:
            raise MemoryError(f"no memory for {self._count * FLOAT_BYTES} bytes")

    def __del__(self) -> None:
        if self.address:
            _free(self.address)
            self.address = 0

    def __getitem__(self, place: int) -> float:
        """By the place in the flattened tensor."""
        if not 0 <= place < self._count:
            raise IndexError(f"place {place} of {self._count}")
        return float(ctypes.c_float.from_address(self.address + place * FLOAT_BYTES).value)

    def array(self) -> np.ndarray[Any, np.dtype[np.float32]]:
        """A view; it keeps the memory alive."""
        import numpy as np

        if not self._count:
            return np.empty(self.shape, np.float32)
        block = (ctypes.c_char * (self._count * FLOAT_BYTES)).from_address(self.address)
        block.owner = self  # type: ignore[attr-defined]  # the array refers to the block, the block to us
        return np.frombuffer(memoryview(block), np.float32).reshape(self.shape)


def _python_function(name: str, result: Any, argument: Any) -> Any:
    return ctypes.PYFUNCTYPE(result, argument)((name, ctypes.pythonapi))


_allocate = _python_function("PyMem_RawMalloc", ctypes.c_void_p, ctypes.c_size_t)  # malloc, on every system
_free = _python_function("PyMem_RawFree", None, ctypes.c_void_p)
