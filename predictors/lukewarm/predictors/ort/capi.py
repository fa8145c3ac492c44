"""ONNX Runtime through its C library: a session opens without the Python package, and so before numpy is imported.

The wheels bring the engine twice, as a Python module and as a C library. Importing the module takes 0.05 s, and numpy,
which it needs, as much again and more; the library opens in 0.01 s. The C API is one table of functions, append-only
and versioned, so a place in it never changes (onnxruntime_c_api.h; places and signatures below are those of version
17, which is ONNX Runtime 1.17).
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable

TYPE_CHECKING = False  # typing's own takes 5 ms to import
if TYPE_CHECKING:
    from typing import Any

_VERSION = 17
_P, _S, _I = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
_PP, _SIZE = ctypes.POINTER(ctypes.c_void_p), ctypes.c_size_t
WORK = ctypes.CFUNCTYPE(None, _P)  # what a thread of the runtime's runs, to its end
CREATE_THREAD = ctypes.CFUNCTYPE(_P, _P, _P, _P)  # options, work, its argument -> handle
JOIN_THREAD = ctypes.CFUNCTYPE(None, _P)
# name -> place in the table, and the arguments of a function that gives a status
_CALLS: dict[str, tuple[int, tuple[Any, ...]]] = {
    "CreateEnv": (3, (_I, _S, _PP)),
    "CreateSession": (7, (_P, _S, _P, _PP)),
    "CreateSessionOptions": (10, (_PP,)),
    "DisableMemPattern": (17, (_P,)),
    "SetSessionLogSeverityLevel": (22, (_P, _I)),
    "SetSessionGraphOptimizationLevel": (23, (_P, _I)),
    "SetIntraOpNumThreads": (24, (_P, _I)),
    "SetInterOpNumThreads": (25, (_P, _I)),
    "SessionGetInputCount": (30, (_P, ctypes.POINTER(_SIZE))),
    "SessionGetOutputCount": (31, (_P, ctypes.POINTER(_SIZE))),
    "SessionGetInputTypeInfo": (33, (_P, _SIZE, _PP)),
    "SessionGetOutputTypeInfo": (34, (_P, _SIZE, _PP)),
    "SessionGetInputName": (36, (_P, _SIZE, _P, _PP)),
    "SessionGetOutputName": (37, (_P, _SIZE, _P, _PP)),
    "CreateRunOptions": (39, (_PP,)),
    "RunOptionsSetTerminate": (46, (_P,)),
    "CreateTensorWithDataAsOrtValue": (49, (_P, _P, _SIZE, _P, _SIZE, _I, _PP)),
    "GetTensorMutableData": (51, (_P, _PP)),
    "CastTypeInfoToTensorInfo": (55, (_P, _PP)),
    "GetTensorElementType": (60, (_P, ctypes.POINTER(_I))),
    "GetDimensionsCount": (61, (_P, ctypes.POINTER(_SIZE))),
    "GetDimensions": (62, (_P, _P, _SIZE)),
    "GetTensorTypeAndShape": (65, (_P, _PP)),
    "CreateCpuMemoryInfo": (69, (_I, _I, _PP)),
    "AllocatorFree": (76, (_P, _P)),
    "GetAllocatorWithDefaultOptions": (78, (_PP,)),
    "GetAvailableProviders": (125, (_PP, ctypes.POINTER(_I))),
    "ReleaseAvailableProviders": (126, (_P, _I)),
    "AddSessionConfigEntry": (130, (_P, _S, _S)),
    "RunWithBinding": (133, (_P, _P, _P)),
    "CreateIoBinding": (134, (_P, _PP)),
    "BindInput": (136, (_P, _S, _P)),
    "BindOutput": (137, (_P, _S, _P)),
    "BindOutputToDevice": (138, (_P, _S, _P)),
    "GetBoundOutputValues": (140, (_P, _P, _PP, ctypes.POINTER(_SIZE))),
    "SessionOptionsSetCustomCreateThreadFn": (196, (_P, CREATE_THREAD)),
    "SessionOptionsSetCustomJoinThreadFn": (198, (_P, JOIN_THREAD)),
}
_RELEASES = {
    "Status": 93, "Session": 95, "Value": 96, "RunOptions": 97, "TypeInfo": 98, "TensorTypeAndShapeInfo": 99,
    "SessionOptions": 100, "IoBinding": 135,
}  # fmt: skip
# these let go of the interpreter's lock; to take it again may take longer than any of the others
_LONG = frozenset({"CreateEnv", "CreateSession", "RunWithBinding"})
_ERROR_MESSAGE = 2
_ARENA, _DEFAULT_MEMORY, _ERRORS = 1, 0, 3  # OrtArenaAllocator, OrtMemTypeDefault, ORT_LOGGING_LEVEL_ERROR


class OrtError(Exception):
    """What ONNX Runtime says of a call that failed."""

    graph = ""  # the file that it could not open


def library_path() -> str | None:
    """The C library of the installed onnxruntime, found without importing it; None where there is none to use."""
    if sys.platform != "linux":  # elsewhere its name is another, and nobody has tried
        return None
    for place in sys.path:
        package = os.path.join(place or ".", "onnxruntime")
        if os.path.isfile(os.path.join(package, "__init__.py")):  # the one that an import would find
            folder = os.path.join(package, "capi")
            names = [name for name in os.listdir(folder) if name.startswith("libonnxruntime.so")]
            return os.path.join(folder, min(names)) if names else None
    return None


class Api:
    """The functions of the table that we call, by name; each raises OrtError where it gives a status."""

    def __init__(self, path: str) -> None:
        """Raises OSError for a file that is no such library, OrtError for one that is too old."""
        library = ctypes.CDLL(path)
        base = library.OrtGetApiBase
        base.restype = _PP
        get_api = ctypes.CFUNCTYPE(_P, ctypes.c_uint32)(base()[0])
        address = get_api(_VERSION)
        if not address:
            raise OrtError(f"{path} does not know version {_VERSION} of the C API")
        self._table = ctypes.cast(address, _PP)
        self._message = ctypes.PYFUNCTYPE(_S, _P)(self._table[_ERROR_MESSAGE])
        self._release = {name: ctypes.PYFUNCTYPE(None, _P)(self._table[place]) for name, place in _RELEASES.items()}
        self._calls: dict[str, Callable[..., int | None]] = {
            name: (ctypes.CFUNCTYPE if name in _LONG else ctypes.PYFUNCTYPE)(_P, *arguments)(self._table[place])
            for name, (place, arguments) in _CALLS.items()
        }
        self._environment = 0
        self._making = threading.Lock()
        self.memory = self.made("CreateCpuMemoryInfo", _ARENA, _DEFAULT_MEMORY)
        self.allocator = self.made("GetAllocatorWithDefaultOptions")

    @property
    def environment(self) -> int:
        """The one that all sessions share, made when the first opens: it takes 0.02 s."""
        with self._making:
            self._environment = self._environment or self.made("CreateEnv", _ERRORS, b"lukewarm")
            return self._environment

    def call(self, name: str, *arguments: Any) -> None:
        """Raises OrtError."""
        if status := self._calls[name](*arguments):
            message = (self._message(status) or b"").decode("utf-8", "replace")
            self._release["Status"](status)
            raise OrtError(message)

    def made(self, name: str, *arguments: Any) -> int:
        """What a call makes, which is its last argument."""
        out = ctypes.c_void_p()
        self.call(name, *arguments, ctypes.byref(out))
        return out.value or 0

    def number(self, name: str, kind: Any, *arguments: Any) -> int:
        out = kind()
        self.call(name, *arguments, ctypes.byref(out))
        return int(out.value)

    def release(self, kind: str, handle: int) -> None:
        self._release[kind](handle)

    def text(self, name: str, *arguments: Any) -> str:
        """A string that a call allocates."""
        address = self.made(name, *arguments, self.allocator)
        value = ctypes.string_at(address).decode("utf-8")
        self.call("AllocatorFree", self.allocator, address)
        return value

    def available_providers(self) -> list[str]:
        count = _I()
        names = ctypes.c_void_p()
        self.call("GetAvailableProviders", ctypes.byref(names), ctypes.byref(count))
        strings = ctypes.cast(names, ctypes.POINTER(_S))
        found = [(strings[place] or b"").decode() for place in range(count.value)]
        self.call("ReleaseAvailableProviders", names, count)
        return found


_lock = threading.Lock()
_opened: list[Api | None] = []


def api() -> Api | None:
    """The installed C library, opened once; None where the Python package has to do."""
    with _lock:
        if not _opened:
            os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
            try:
                path = library_path()
                _opened.append(None if path is None else Api(path))
            except (OSError, OrtError, AttributeError):
                _opened.append(None)
        return _opened[0]
