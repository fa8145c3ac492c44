"""The Predictor interface, what a backend is, and the one way from a bundle to a Predictor that is ready."""

from __future__ import annotations

import abc
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from lukewarm.predictors.bundle import Bundle, Manifest
from lukewarm.predictors.cpus import available_cpus
from lukewarm.predictors.errors import UnsupportedError
from lukewarm.predictors.registry import BACKENDS
from lukewarm.predictors.spec import Task
from lukewarm.predictors.tasks import TASKS, Delta, Request, Result

NEVER = threading.Event()  # a cancel signal that nobody sets


class Runtime(msgspec.Struct, frozen=True, kw_only=True):
    """How a Predictor may use the machine it runs on."""

    threads: int = 0  # 0: the processors this process may use (affinity and cgroup quota)
    device: str = "auto"  # auto, cpu, cuda, cuda:N
    options: Mapping[str, Any] = msgspec.field(default_factory=dict)  # the runtime's own switches, passed through
    forks: bool = False  # set up in a process that will be forked, for its children to answer

    def thread_count(self) -> int:
        return self.threads or available_cpus()


class Predictor(abc.ABC):
    """One loaded model: `setup` once, then any number of predictions, from one thread at a time."""

    task: ClassVar[Task]
    interleaves: ClassVar[bool] = False  # several `stream` iterators may be open and stepped in turn, by one thread

    def __init__(self, bundle: Bundle, runtime: Runtime) -> None:
        self.bundle = bundle
        self.runtime = runtime

    @abc.abstractmethod
    def setup(self) -> None:
        """Load the model. Raises BundleError if the files cannot be loaded."""

    @abc.abstractmethod
    def predict_batch(self, requests: Sequence[Request], cancel: threading.Event = NEVER) -> list[Result]:
        """Answer several requests in one run of the model, in their order. An empty sequence gives an empty list.

        Setting `cancel` ends the run soon; what was ready by then has finish_reason "cancelled".
        """

    def predict(self, request: Request, cancel: threading.Event = NEVER) -> Result:
        """Answer one request."""
        return self.predict_batch([request], cancel)[0]

    def stream(self, request: Request, cancel: threading.Event = NEVER) -> Iterator[Delta]:
        """Answer one request piece by piece. The texts of all deltas joined are the result's text."""
        result = self.predict(request, cancel)
        yield Delta(text=getattr(result, "text", ""), result=result)

    def check(self, request: Request) -> None:
        """Raise RequestError if this model cannot answer the request (too long, not its kind). Runs no model."""

    def warm_up(self) -> None:
        """One small prediction, so that the first real one finds everything allocated. Part of readiness."""

    def close(self) -> None:
        """Free the model."""

    @property
    def request_type(self) -> type[Request]:
        return TASKS[self.task][0]


class Backend(abc.ABC):
    """One runtime: what it can carry, and how to make a Predictor from a bundle. Its import is light."""

    name: ClassVar[str]
    support: ClassVar[Mapping[Task, tuple[str, ...]]]  # task -> precisions, the safest default first
    survives_fork: ClassVar[bool] = False  # a model that was set up on one thread answers in a forked child

    def answers_forked(self, runtime: Runtime) -> bool:
        """Whether a model that was set up so answers in a forked child of its process."""
        return self.survives_fork and runtime.thread_count() == 1

    @abc.abstractmethod
    def create(self, bundle: Bundle, runtime: Runtime) -> Predictor:
        """Make the Predictor for the bundle's task; loads nothing yet."""


def backend_of(name: str) -> Backend:
    """The backend of a name. Raises UnsupportedError, also for another package's row that is none, MissingExtra."""
    found = BACKENDS.load(name)
    if not isinstance(found, Backend):
        raise UnsupportedError(f"backend {name!r} is a {type(found).__name__}, not a Backend; see to its package")
    return found


def check_supported(backend: str, task: Task, precision: str) -> None:
    """Raise UnsupportedError, naming what can, unless the backend carries this task at this precision."""
    support = backend_of(backend).support
    if task not in support:
        able = [row.name for row in BACKENDS if _carries(row.name, task) and row.name != "echo"]
        raise UnsupportedError(f"backend {backend!r} cannot do {task}; these can: {', '.join(able) or 'none'}")
    if precision not in support[task]:
        raise UnsupportedError(
            f"backend {backend!r} has no precision {precision!r} for {task}; it has: {', '.join(support[task])}"
        )


def kind(manifest: Manifest) -> str:
    """The task, and behind a slash the way to it where a task has several (`options.way`)."""
    way = manifest.options.get("way")
    return f"{manifest.task}/{way}" if way else manifest.task


def _carries(backend: str, task: Task) -> bool:
    """Whether it does; of a broken one of another package, no: the error is about something else."""
    try:
        return task in backend_of(backend).support
    except UnsupportedError:
        return False


def load_predictor(
    root: os.PathLike[str] | str | Bundle, runtime: Runtime | None = None, *, warm_up: bool = False
) -> Predictor:
    """From a bundle's directory to a Predictor that is set up. Raises BundleError, MissingExtra, UnsupportedError."""
    bundle = root if isinstance(root, Bundle) else Bundle.open(Path(root))
    predictor = backend_of(bundle.manifest.backend).create(bundle, runtime or Runtime())
    predictor.setup()
    if warm_up:
        predictor.warm_up()
    return predictor
