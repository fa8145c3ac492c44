"""Sessions over ONNX Runtime's C library (`capi.py`): the methods of `onnxruntime.InferenceSession` that we use."""

from __future__ import annotations

import ctypes
import math
import os
import threading
from collections.abc import Mapping, Sequence

from lukewarm.predictors.ort.capi import CREATE_THREAD, JOIN_THREAD, WORK, Api

TYPE_CHECKING = False  # typing's own takes 5 ms to import
if TYPE_CHECKING:
    from typing import Any

    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

# numpy's name -> ONNXTensorElementDataType, bytes
_TYPES = {
    "float32": (1, 4), "uint8": (2, 1), "int8": (3, 1), "uint16": (4, 2), "int16": (5, 2), "int32": (6, 4),
    "int64": (7, 8), "bool": (9, 1), "float16": (10, 2), "float64": (11, 8), "uint32": (12, 4), "uint64": (13, 8),
}  # fmt: skip
_DTYPES = {number: name for name, (number, _) in _TYPES.items()}


class _Owned:
    """A handle that is given back when nothing refers to it any more."""

    kind = ""

    def __init__(self, engine: Api, handle: int) -> None:
        self.engine = engine
        self.handle = handle

    def __del__(self) -> None:
        if getattr(self, "handle", 0):
            self.engine.release(self.kind, self.handle)
            self.handle = 0


class Value(_Owned):
    """A tensor: memory of the runtime's own, or somebody's array."""

    kind = "Value"
    owner: Any = None  # keeps the memory alive that the runtime does not own

    @classmethod
    def at(cls, engine: Api, dtype: Any, shape: Sequence[int], address: int) -> Value:
        """The memory at `address`, which the caller keeps alive."""
        name = str(getattr(dtype, "name", None) or getattr(dtype, "__name__", dtype))
        sizes = (ctypes.c_int64 * len(shape))(*shape)
        size_bytes = math.prod(shape) * _TYPES[name][1]
        memory = engine.memory
        return cls(engine, engine.made(
            "CreateTensorWithDataAsOrtValue", memory, address, size_bytes, sizes, len(shape), _TYPES[name][0]
        ))  # fmt: skip

    @classmethod
    def of(cls, engine: Api, array: Array) -> Value:
        """A view of a numpy array, which it keeps alive."""
        import numpy as np

        array = np.ascontiguousarray(array)
        value = cls.at(engine, array.dtype, array.shape, array.ctypes.data)
        value.owner = array
        return value

    def numpy(self) -> Array:
        """A view of the memory; it keeps the value alive."""
        import numpy as np

        info = self.engine.made("GetTensorTypeAndShape", self.handle)
        try:
            kind = self.engine.number("GetTensorElementType", ctypes.c_int, info)
            shape = _dimensions(self.engine, info)
        finally:
            self.engine.release("TensorTypeAndShapeInfo", info)
        dtype = np.dtype(_DTYPES[kind])
        size_bytes = math.prod(shape) * dtype.itemsize
        if not size_bytes:
            return np.empty(shape, dtype)
        block = (ctypes.c_char * size_bytes).from_address(self.engine.made("GetTensorMutableData", self.handle))
        block.owner = self  # type: ignore[attr-defined]  # the array refers to the block, the block to us
        found: Array = np.frombuffer(memoryview(block), dtype).reshape(shape)
        return found


class RunOptions(_Owned):
    """`terminate = True` ends the runs that were given it."""

    kind = "RunOptions"

    def __init__(self, engine: Api) -> None:
        super().__init__(engine, engine.made("CreateRunOptions"))

    @property
    def terminate(self) -> bool:
        raise AttributeError("terminate can only be set")

    @terminate.setter
    def terminate(self, value: bool) -> None:
        if value:
            self.engine.call("RunOptionsSetTerminate", self.handle)


class Node:
    """An input or output of a graph; a size that is not fixed is None."""

    __slots__ = ("name", "shape")

    def __init__(self, name: str, shape: list[int | None]) -> None:
        self.name = name
        self.shape = shape


class LateThreads:
    """The runtime's threads, begun in a forked child: those of the parent would not be there.

    Until then a session's runs do all work on the thread that calls them. Lives as long as the process.
    """

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[int, int]] = {}
        self._begun: dict[int, threading.Thread] = {}
        self._count = 0
        self.create = CREATE_THREAD(self._create)
        self.join = JOIN_THREAD(self._join)
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        for handle, (work, argument) in self._waiting.items():
            thread = threading.Thread(target=WORK(work), args=(argument,), name="lukewarm-ort", daemon=True)
            thread.start()
            self._begun[handle] = thread
        self._waiting = {}  # a child of the child has none

    def _create(self, _options: int, work: int, argument: int) -> int:
        self._count += 1
        self._waiting[self._count] = (work, argument)
        return self._count

    def _join(self, handle: int) -> None:
        self._waiting.pop(handle, None)
        if thread := self._begun.pop(handle, None):
            thread.join()


class SessionOptions(_Owned):
    """Nothing is optimised, for graphs that were finished at conversion."""

    kind = "SessionOptions"

    def __init__(
        self, engine: Api, threads: int, entries: Mapping[str, str], late: LateThreads | None = None
    ) -> None:  # fmt: skip
        """`entries` are session configuration entries; `late` begins the threads, or not. Raises OrtError."""
        super().__init__(engine, engine.made("CreateSessionOptions"))
        engine.call("SetSessionGraphOptimizationLevel", self.handle, 0)
        engine.call("SetIntraOpNumThreads", self.handle, threads)
        engine.call("SetInterOpNumThreads", self.handle, 1)
        engine.call("DisableMemPattern", self.handle)  # one pattern would be kept for every shape ever seen
        engine.call("SetSessionLogSeverityLevel", self.handle, 3)
        for key, value in entries.items():
            engine.call("AddSessionConfigEntry", self.handle, key.encode(), value.encode())
        if late is not None:
            engine.call("SessionOptionsSetCustomCreateThreadFn", self.handle, late.create)
            engine.call("SessionOptionsSetCustomJoinThreadFn", self.handle, late.join)


class Session(_Owned):
    """A graph, ready to run on the CPU."""

    kind = "Session"

    def __init__(self, path: str, options: SessionOptions) -> None:
        """Raises OrtError. Almost all of it is one call that leaves the interpreter."""
        engine = options.engine
        super().__init__(engine, engine.made("CreateSession", engine.environment, os.fsencode(path), options.handle))

    def get_providers(self) -> list[str]:
        return ["CPUExecutionProvider"]

    def get_inputs(self) -> list[Node]:
        return self._nodes("Input")

    def get_outputs(self) -> list[Node]:
        return self._nodes("Output")

    def io_binding(self) -> Binding:
        return Binding(self)

    def run_with_iobinding(self, binding: Binding, options: RunOptions | None = None) -> None:
        self.engine.call("RunWithBinding", self.handle, options.handle if options else None, binding.handle)

    def run_with_ort_values(self, names: Sequence[str], feeds: Mapping[str, Value]) -> list[Value]:
        binding = Binding(self)
        for name, value in feeds.items():
            binding.bind_ortvalue_input(name, value)
        for name in names:
            binding.bind_output(name)
        self.run_with_iobinding(binding)
        return binding.get_outputs()

    def run(self, names: Sequence[str] | None, feeds: Mapping[str, Array]) -> list[Array]:
        wanted = [node.name for node in self.get_outputs()] if names is None else names
        values = {name: Value.of(self.engine, array) for name, array in feeds.items()}
        return [value.numpy() for value in self.run_with_ort_values(wanted, values)]

    def _nodes(self, side: str) -> list[Node]:
        count = self.engine.number(f"SessionGet{side}Count", ctypes.c_size_t, self.handle)
        return [
            Node(self.engine.text(f"SessionGet{side}Name", self.handle, place), self._shape(side, place))
            for place in range(count)
        ]

    def _shape(self, side: str, place: int) -> list[int | None]:
        info = self.engine.made(f"SessionGet{side}TypeInfo", self.handle, place)
        try:
            tensor = self.engine.made("CastTypeInfoToTensorInfo", info)  # a part of `info`
            return [None if size < 0 else size for size in _dimensions(self.engine, tensor)]
        finally:
            self.engine.release("TypeInfo", info)


class Binding(_Owned):
    """What a run reads and where it writes, by name."""

    kind = "IoBinding"

    def __init__(self, session: Session) -> None:
        super().__init__(session.engine, session.engine.made("CreateIoBinding", session.handle))
        self._session = session  # must outlive it
        self._bound: dict[str, Value] = {}

    def bind_input(self, name: str, _device: str, _id: int, dtype: Any, shape: Sequence[int], address: int) -> None:
        self.bind_ortvalue_input(name, Value.at(self.engine, dtype, shape, address))

    def bind_output(self, name: str, _device: str = "cpu", *place: Any) -> None:
        """To the memory at an address, (id, dtype, shape, address), or to what the run allocates."""
        if place:
            _, dtype, shape, address = place
            self.bind_ortvalue_output(name, Value.at(self.engine, dtype, shape, address))
        else:
            self.engine.call("BindOutputToDevice", self.handle, name.encode(), self.engine.memory)

    def bind_ortvalue_input(self, name: str, value: Value) -> None:
        self.engine.call("BindInput", self.handle, name.encode(), value.handle)
        self._bound[f"input {name}"] = value

    def bind_ortvalue_output(self, name: str, value: Value) -> None:
        self.engine.call("BindOutput", self.handle, name.encode(), value.handle)
        self._bound[f"output {name}"] = value

    def get_outputs(self) -> list[Value]:
        """In the order in which they were bound."""
        count = ctypes.c_size_t()
        out = ctypes.c_void_p()
        engine = self.engine
        engine.call("GetBoundOutputValues", self.handle, engine.allocator, ctypes.byref(out), ctypes.byref(count))
        if not out.value:
            return []
        handles = ctypes.cast(out, ctypes.POINTER(ctypes.c_void_p))
        values = [Value(engine, handles[place] or 0) for place in range(count.value)]
        engine.call("AllocatorFree", engine.allocator, out)
        return values


def _dimensions(engine: Api, info: int) -> list[int]:
    count = engine.number("GetDimensionsCount", ctypes.c_size_t, info)
    sizes = (ctypes.c_int64 * count)()
    engine.call("GetDimensions", info, sizes, count)
    return list(sizes)
