"""One case in one fresh process: `python -P runner.py JOB` loads a contender, runs it and prints one JSON line.

Started by path and importing nothing before its first stamp, so that what it measures is the contender and not itself.
"""

import time

STARTED_S = time.monotonic()  # the same clock as the parent's: on Linux and macOS it counts from boot

import _signal  # type: ignore[import-not-found]  # noqa: E402 - the part of `signal` that costs no import
import builtins  # noqa: E402
import contextlib  # noqa: E402
import importlib  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from typing import Any  # noqa: E402

LONG_RUN_S = 2.0
HARNESS_S = time.monotonic() - STARTED_S  # our own imports, most of which any Python program does: counted as imports


class ImportClock:
    """Adds up the time that the main thread spends inside import statements, wherever they stand."""

    def __init__(self) -> None:
        self.total_s = HARNESS_S
        self._depth = 0
        self._main = threading.get_ident()
        self._import, self._import_module = builtins.__import__, importlib.import_module

    def __enter__(self) -> "ImportClock":
        builtins.__import__ = self._timed(self._import)
        importlib.import_module = self._timed(self._import_module)
        return self

    def __exit__(self, *_: object) -> None:
        builtins.__import__, importlib.import_module = self._import, self._import_module

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        now, thread = time.monotonic, threading.get_ident

        def timed(*args: Any, **kwargs: Any) -> Any:
            if self._depth or thread() != self._main:
                return function(*args, **kwargs)
            self._depth, begun = 1, now()
            try:
                return function(*args, **kwargs)
            finally:
                self.total_s += now() - begun
                self._depth = 0

        return timed


def cold_start(job: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    """Import, load and predict once. Returns the contender, its model and the sample with phases that add up."""
    with ImportClock() as clock:
        contender = find(job["contender"])
        model = contender.load(job)
        loaded, imported_by_load = time.monotonic(), clock.total_s
        contender.run(model, job["inputs"][:1], 1)
        done = time.monotonic()
    times = os.times()
    phases = {
        "interpreter": STARTED_S - job["spawned_s"],
        "imports": clock.total_s,
        "load": loaded - STARTED_S - imported_by_load,
        "first": done - loaded - (clock.total_s - imported_by_load),
        "total": done - job["spawned_s"],
        "cpu": times.user + times.system,
    }
    return contender, model, {"phases": phases, "start_memory_bytes": peak_memory_bytes()}


def find(path: str) -> Any:
    """The contender at `module` or `module:attribute`: anything with `load(job)` and `run(model, inputs, n)`."""
    module, _, attribute = path.partition(":")
    found: Any = importlib.import_module(module)
    return getattr(found, attribute) if attribute else found


def warm(contender: Any, model: Any, job: dict[str, Any], sample: dict[str, Any]) -> None:
    """Latency of whole requests by batch size, each after one run that is not counted."""
    new_tokens, runs, limit_s = job["new_tokens"], job["warm_runs"], job["warm_limit_s"]
    for batch in job["batches"]:
        inputs = (job["inputs"] * batch)[:batch]
        few = min(4, new_tokens)
        begun = time.perf_counter()
        contender.run(model, inputs, few)
        expected_s = (time.perf_counter() - begun) * new_tokens / few
        if expected_s > limit_s:
            sample["not_measured"][f"warm batch {batch}"] = (
                f"one run would take about {expected_s:.0f} s, the limit is {limit_s:g} s"
            )
            continue
        times_s = []
        for _ in range(1 if expected_s > LONG_RUN_S else runs):  # a long run varies little, and rounds add up
            begun = time.perf_counter()
            answer = contender.run(model, inputs, new_tokens)
            times_s.append(time.perf_counter() - begun)
        sample["warm"][str(batch)] = times_s
        sample["units"][str(batch)] = answer["units"]
        if batch == job["batches"][0]:
            sample["text"] = answer["text"][:300]
            sample["peak_memory_bytes"] = peak_memory_bytes()


def peak_memory_bytes() -> int:
    """The most memory this process had resident, files it mapped included."""
    with contextlib.suppress(OSError), open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def modules() -> list[str]:
    """Top-level modules that this process imported or mapped a library of: what the run time really needs."""
    loaded = {name.partition(".")[0] for name, module in sys.modules.items() if module is not None}
    with contextlib.suppress(OSError), open("/proc/self/maps") as maps:
        mapped = {line.rstrip().rpartition("/site-packages/")[2] for line in maps if "/site-packages/" in line}
        loaded |= {path.partition("/")[0] for path in mapped if "/" in path and ".libs/" not in path}
    return sorted(loaded - set(sys.stdlib_module_names))


@contextlib.contextmanager
def clean_output() -> Iterator[Any]:
    """Yields the real standard output and sends what libraries print, C ones too, to standard error."""
    real = os.dup(1)
    os.dup2(2, 1)
    with os.fdopen(real, "w") as stream:
        yield stream


def main() -> None:
    job = json.loads(sys.argv[1])
    _signal.alarm(int(job["limit_s"]) + 5)  # should the parent be killed and nobody end this process
    # None means "not installed" to import and find_spec: packages of other run times are as good as absent
    sys.modules.update(dict.fromkeys(job["hidden"]))
    with clean_output() as out:
        contender, model, sample = cold_start(job)
        sample |= {"warm": {}, "units": {}, "not_measured": {}, "modules": modules(), "text": ""}
        sample["figures"] = {}
        for step in job["extra"]:
            find(step).measure(contender, model, job, sample)
        if job["warm_runs"]:
            warm(contender, model, job, sample)
        sample.setdefault("peak_memory_bytes", peak_memory_bytes())
        out.write(json.dumps(sample) + "\n")
    # no teardown: a destructor that hangs or crashes is not part of what was measured
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
