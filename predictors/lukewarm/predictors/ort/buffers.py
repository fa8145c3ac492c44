"""Tensor memory that the graphs read and write by address, without numpy: importing it is a sixth of a cold start."""

from __future__ import annotations

import array
import ctypes
import math
import mmap
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
        """As many as there are places."""
        self.items[:] = array.array(self.code, values)


class Floats:
    """float32 of the graph's: zeros, in pages that are not there before something touches them."""

    __slots__ = ("_memory", "address", "shape", "values")

    dtype = "float32"

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = list(shape)
        private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
        self._memory = mmap.mmap(-1, max(1, math.prod(shape)) * FLOAT_BYTES, **private)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self.values = memoryview(self._memory).cast("f")

    def array(self) -> np.ndarray[Any, np.dtype[np.float32]]:
        """A view; it keeps the memory alive."""
        import numpy as np

        return np.frombuffer(self._memory, np.float32, math.prod(self.shape)).reshape(self.shape)
