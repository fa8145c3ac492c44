"""The user's own predictor: any class with `predict`, named `module:Class` in the spec and found beside the bundle.

    class Upper:
        def setup(self, bundle_dir: Path) -> None: ...        # optional, with or without the directory
        def predict(self, text: str, times: int = 1) -> str:  # its annotations are the request's types
            return text.upper() * times

A `predict` that yields streams its pieces; texts are joined at the end, unless the class says `join = False`.
A fault becomes a PredictorError that names the line; the process goes on.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar, cast

import msgspec

from lukewarm.predictors.bundle import Bundle
from lukewarm.predictors.custom_inputs import inputs_struct, read_inputs
from lukewarm.predictors.errors import BundleError, CancelledError, LukewarmError, PredictorError
from lukewarm.predictors.predictor import NEVER, Backend, Predictor, Runtime, check_supported
from lukewarm.predictors.spec import Task
from lukewarm.predictors.tasks import CustomRequest, CustomResult, Delta, Request, Result

T = TypeVar("T")


class CustomPredictor(Predictor):
    """Runs one instance of the user's class."""

    task: ClassVar[Task] = "custom"

    def setup(self) -> None:
        path = self.bundle.manifest.predictor
        if not path:
            raise BundleError(f"{self.bundle.root} names no predictor; set predictor: module:Class in lukewarm.yaml")
        self._path = path
        user_class = self._guard("import", lambda: _find_class(path, self.bundle.root))
        if not callable(getattr(user_class, "predict", None)):
            raise BundleError(f"{path} has no method predict(self, ...)")
        self._instance: Any = self._guard("__init__", user_class)
        self.input_type: type[msgspec.Struct] = inputs_struct(path, self._instance.predict)
        if (setup := getattr(self._instance, "setup", None)) is not None:
            arguments = (self.bundle.root,) if _wants_directory(setup) else ()
            self._guard("setup", lambda: _settled(setup(*arguments)))

    def predict_batch(self, requests: Sequence[Request], cancel: threading.Event = NEVER) -> list[Result]:
        return [CustomResult(output=self._whole(list(self._pieces(request, cancel)))) for request in requests]

    def stream(self, request: Request, cancel: threading.Event = NEVER) -> Iterator[Delta]:
        """Text pieces as they are, others as one line of JSON each."""
        pieces = []
        for piece in self._pieces(request, cancel):
            pieces.append(piece)
            yield Delta(text=piece.value if piece.text else msgspec.json.encode(piece.value).decode() + "\n")
        yield Delta(result=CustomResult(output=self._whole(pieces)))

    def check(self, request: Request) -> None:
        read_inputs(self.input_type, cast(CustomRequest, request).inputs)

    def close(self) -> None:
        close = getattr(getattr(self, "_instance", None), "close", None)
        if callable(close):
            self._guard("close", close)

    def _pieces(self, request: Request, cancel: threading.Event) -> Iterator[_Piece]:
        """What `predict` yields, piece by piece, or all that it returns."""
        arguments = read_inputs(self.input_type, cast(CustomRequest, request).inputs)
        if cancel.is_set():
            raise CancelledError
        output = self._guard("predict", lambda: _settled(self._instance.predict(**arguments)))
        if not isinstance(output, Iterator):
            yield _Piece(False, isinstance(output, str), self._guard("predict", lambda: _plain(output)))
            return
        try:
            while (piece := self._guard("predict", lambda: next(output, _END))) is not _END:
                plain = self._guard("predict", lambda piece=piece: _plain(piece))  # type: ignore[misc]
                yield _Piece(True, isinstance(piece, str), plain)
                if cancel.is_set():
                    raise CancelledError
        finally:
            if isinstance(output, Generator):
                self._guard("predict", output.close)

    def _whole(self, pieces: list[_Piece]) -> Any:
        """The output of all pieces: joined if they are texts, else a list; what was not yielded stays itself."""
        if len(pieces) == 1 and not pieces[0].yielded:
            return pieces[0].value
        values = [piece.value for piece in pieces]
        join = getattr(self._instance, "join", True) and values and all(piece.text for piece in pieces)
        return "".join(values) if join else values

    def _guard(self, method: str, call: Callable[[], T]) -> T:
        """Call the user's code; turn its faults into errors of ours. Errors of ours (RequestError) pass."""
        try:
            return call()
        except (LukewarmError, GeneratorExit):
            raise
        except BaseException as error:  # sys.exit(), a cancelled task and the like end one request only
            if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
                raise  # Ctrl-C; no other thread is sent one
            raise PredictorError(
                f"{self._path} failed in {method}: {type(error).__name__}: {_said(error)} ({self._place(error)})"
            ) from error

    def _place(self, error: BaseException) -> str:
        """The innermost line of the user's own files in a traceback, else the innermost that is not of this file."""
        frames = traceback.extract_tb(error.__traceback__)
        file = getattr(sys.modules.get(self._path.partition(":")[0]), "__file__", None)
        theirs = [frame for frame in frames if frame.filename != __file__]
        frame = [frame for frame in theirs if file and _beside(frame.filename, file)][-1:] or theirs[-1:]
        code = getattr(getattr(getattr(self, "_instance", None), "predict", None), "__code__", None)
        if not frame and code is not None:  # what it returned is at fault
            return f"{code.co_filename}:{code.co_firstlineno}"
        return f"{frame[0].filename}:{frame[0].lineno}" if frame else "no line known"


class _Piece(NamedTuple):
    yielded: bool  # False: all that `predict` returned
    text: bool  # bytes are text in JSON, and are not joined
    value: Any


class CustomBackend(Backend):
    name = "custom"
    support: ClassVar[Mapping[Task, tuple[str, ...]]] = {"custom": ("none",)}

    def create(self, bundle: Bundle, runtime: Runtime) -> Predictor:
        check_supported(self.name, bundle.manifest.task, bundle.manifest.precision)
        return CustomPredictor(bundle, runtime)


backend = CustomBackend()
_END = object()
_ours: set[str] = set()  # top-level modules that came from a bundle's directory


def _find_class(path: str, root: Path) -> Any:
    """The class: from the bundle, the artifact around it or the project around that, else from the environment."""
    module, _, name = path.partition(":")
    top = module.partition(".")[0]
    places = [place for place in (root, *root.resolve().parents[:3]) if _holds(place, top)]
    if places:
        directory = str(places[0])
        if top in _ours and (loaded := sys.modules.get(top)) and not _is_under(loaded, places[0]):
            for key in [key for key in sys.modules if key == top or key.startswith(f"{top}.")]:
                del sys.modules[key]  # another bundle's module of the same name
        _ours.add(top)
        if directory not in sys.path:
            sys.path.insert(0, directory)
        importlib.invalidate_caches()
    found = importlib.import_module(module)
    if not hasattr(found, name):
        raise BundleError(f"{found.__file__} has no class {name!r}, which predictor: {path} names")
    return getattr(found, name)


def _holds(place: Path, top: str) -> bool:
    return (place / f"{top}.py").is_file() or (place / top).is_dir()


def _is_under(module: Any, place: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).resolve().is_relative_to(place.resolve())


def _beside(filename: str, module: str) -> bool:
    """Whether a file is of the same project as the user's module: in its folder or below, and not an installed one."""
    inner = Path(filename).resolve()
    root = Path(module).resolve().parent
    installed = {"site-packages", "dist-packages", "lukewarm"}
    return inner.is_relative_to(root) and not installed & set(inner.relative_to(root).parts)


def _wants_directory(setup: Callable[..., Any]) -> bool:
    named = [p for p in inspect.signature(setup).parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return any(p.name == "bundle_dir" or p.default is p.empty for p in named)


def _settled(value: Any) -> Any:
    """The value itself, or what a coroutine gives in an event loop of its own."""
    if not inspect.iscoroutine(value):
        return value
    import asyncio

    return asyncio.run(value)


def _said(error: BaseException) -> str:
    """An exception's message on one line, even of a class whose own `__str__` fails."""
    try:
        return " ".join(str(error).split()) or "no message"
    except Exception:  # noqa: BLE001 - the user's code
        return "its message cannot be read"


def _plain(value: Any) -> Any:
    """JSON's own types; bytes are base64, NaN and infinities null. Raises TypeError naming what JSON cannot carry."""
    plain = msgspec.to_builtins(value, str_keys=True, enc_hook=_from_library)
    msgspec.json.encode(plain)  # half of a surrogate pair is found here, not in the midst of an answer
    return plain


def _from_library(value: Any) -> Any:
    """numpy and torch values, and pydantic models, by the methods they share."""
    for method in ("tolist", "model_dump"):
        if callable(convert := getattr(value, method, None)):
            return convert()
    if isinstance(value, Path):
        return str(value)
    name = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    raise TypeError(
        f"predict returned {name}, which JSON cannot carry; return text, numbers, lists, dicts, arrays or bytes"
    )
