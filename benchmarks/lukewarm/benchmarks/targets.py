"""The `targets` suite: what each platform's framework costs before any model, from spawn to the first good answer.

Every target serves the model-free `echo` bundle in its platform's real local server, beside the platform's own
hello-world. Where a platform's queue must be faked on loopback, the fake runs before the clock starts.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import msgspec

from lukewarm.adapters import processes
from lukewarm.adapters.base import Adapter, LocalServer
from lukewarm.adapters.build import build
from lukewarm.adapters.local import LOOPBACK, Running
from lukewarm.adapters.targets import TARGETS
from lukewarm.adapters.wire import Call
from lukewarm.benchmarks import bench, hello, installed, launch, machine, plan, record
from lukewarm.benchmarks.framework import FIRST, HELLO, OWN, PLAIN, SUITE
from lukewarm.benchmarks.record import SCHEMA, Case, Installed, Record
from lukewarm.benchmarks.rounds import Progress, now
from lukewarm.benchmarks.stats import figure
from lukewarm.predictors.errors import LukewarmError, MissingExtra, ServerError
from lukewarm.predictors.spec import ModelSpec

PAYLOAD = {"prompt": "hello there", "max_new_tokens": 2}
POLL_S = 0.02
LIMIT_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One server to be started again and again. `reason`: it cannot be."""

    target: str
    kind: str  # OWN or HELLO
    folder: Path = Path()
    adapter: Adapter | None = None
    requirements: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()  # pinned, as its image gets them
    closed: bool = False  # `packages` are all: installed without what they ask for
    reason: str = ""

    def server(self, port: int) -> tuple[LocalServer, Call]:
        """How to run it on this port, and the request to send."""
        assert self.adapter is not None
        local = self.adapter.local(self.folder, LOOPBACK, port)
        call = local.wire.predict(json.dumps(PAYLOAD).encode())
        if self.kind == OWN:
            return local, call
        made = hello.HELLOS.get(self.target, hello.UVICORN)
        return hello.server(made, local, self.folder), hello.call(self.target, call)


def run(call: bench.Run, progress: Progress) -> list[Record]:
    """Measure every target and write the rows, suite `targets`. A target that cannot run is a row with its reason."""
    rounds = call.settings.rounds
    taken: dict[Contender, list[tuple[float, int]]] = {}
    failed: dict[Contender, str] = {}
    slipped: dict[Contender, str] = {}  # one start that failed is told, a second one ends it
    with tempfile.TemporaryDirectory(prefix="lukewarm-targets-") as folder:
        contenders = list(_contenders(Path(folder), progress))
        for number in range(rounds + 1):
            for place, contender in enumerate(contenders):
                if contender.reason or contender in failed:
                    continue
                done = (number * len(contenders) + place) / ((rounds + 1) * len(contenders))
                name = f"round {number}/{rounds}" if number else "warming the page cache"
                progress(f"{name}: {contender.target}, {contender.kind}", done)
                try:
                    sample = first_answer(contender)
                except LukewarmError as error:  # one platform's failure is its own row
                    (failed if contender in slipped else slipped)[contender] = str(error).partition("\n")[0]
                    continue
                if number:
                    taken.setdefault(contender, []).append(sample)
        progress(f"measured {len(contenders)} servers in {rounds} rounds", 1.0)
        reasons = {**slipped, **failed}
        rows = [_record(c, taken.get(c, []), reasons.get(c, c.reason), call) for c in contenders]
    bench.save(call.out / bench.RECORDS, rows, SUITE, keep=call.resume)
    return rows


def first_answer(contender: Contender) -> tuple[float, int]:
    """Seconds from the spawn of the platform's process to its first good answer, and bytes resident then.

    A fresh port each time, and proof that it is free before and after: what an earlier server left behind would
    answer at once. Raises ServerError.
    """
    port = processes.free_port(LOOPBACK)
    server, call = contender.server(port)
    mark = {launch.RUN_ID: uuid.uuid4().hex, **launch.QUIET}
    server = dataclasses.replace(
        server, processes=tuple(dataclasses.replace(p, env={**p.env, **mark}) for p in server.processes)
    )
    if not processes.port_refused(LOOPBACK, port):
        raise ServerError(f"port {port} answers before the server was started")
    with tempfile.NamedTemporaryFile(prefix="lukewarm-log-") as log:
        running = Running(server, contender.target, Path(log.name))
        try:
            return _start(running, call)
        finally:
            try:
                running.stop(grace_s=10)
            finally:
                launch.sweep(mark[launch.RUN_ID])


def _start(running: Running, call: Call) -> tuple[float, int]:
    server = running.server
    begun = time.monotonic()
    with running.log.open("ab") as log:
        for number, process in enumerate(server.processes):
            if number:  # the first is a fake of the platform's queue: not what is measured
                _listening(running)
            begun = time.monotonic()
            running._children.append(processes.start(process, log))
    while time.monotonic() - begun < LIMIT_S:
        try:
            reply = running.send(call, timeout_s=LIMIT_S)
        except ServerError:
            if running._children[-1].popen.poll() is not None:
                break
            time.sleep(POLL_S)
            continue
        # some platforms answer 200 with an error in it: only the echoed words are a good answer
        if reply.status == 200 and b"hello" in reply.body:
            return time.monotonic() - begun, _resident_bytes(running)
        time.sleep(POLL_S)
    last = (running.last_log(1) or "its log is empty").strip()
    raise ServerError(f"no good answer within {time.monotonic() - begun:.1f} s: {last[-300:]}")


def _listening(running: Running) -> None:
    deadline = time.monotonic() + LIMIT_S
    while processes.port_refused(LOOPBACK, running.server.port):
        if time.monotonic() > deadline:
            raise ServerError("the fake of the platform's queue did not start")
        time.sleep(POLL_S)


def _resident_bytes(running: Running) -> int:
    """Of the platform's process and its descendants, without a fake that runs beside it."""
    import psutil

    total = 0
    child = running._children[-1]
    processes.look(child)
    for pid in {child.popen.pid, *child.seen}:
        try:
            total += psutil.Process(pid).memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def _contenders(folder: Path, progress: Progress) -> Iterator[Contender]:
    """Ours and the platform's own of every target, built in `folder`; plain uvicorn once for all ASGI targets."""
    spec = ModelSpec(name="echo", backend="echo", precision="none")
    bundle = plan.convert(spec, plan.Place(spec_dir=folder, bundles_dir=folder / "bundles"), progress)
    plain = False
    for row in TARGETS:
        out = folder / row.name
        try:
            adapter: Adapter = TARGETS.load(row.name)
            artifact = build(row.name, spec, folder, bundle.root, out).manifest
        except LukewarmError as error:
            yield Contender(target=row.name, kind=OWN, reason=str(error))
            continue
        extras = [extra for extra in (adapter.extra, "serve" if adapter.needs_asgi else None) if extra]
        needs = (f"lukewarm[{','.join(extras)}]" if extras else "lukewarm",)
        # what the platform's own builder adds is part of the image too
        sdk = () if adapter.sdk_in_image or row.name not in hello.HELLOS else hello.HELLOS[row.name].requirements
        yield Contender(
            target=row.name, kind=OWN, folder=out, adapter=adapter, requirements=needs,
            packages=(*artifact.requirements, *_pinned(sdk)), closed=artifact.closed and not sdk,
        )  # fmt: skip
        if row.name not in hello.HELLOS:
            if not plain:
                plain = True
                yield _hello(PLAIN, hello.UVICORN, out, adapter)
            continue
        yield _hello(row.name, hello.HELLOS[row.name], out, adapter)


def _hello(name: str, made: hello.Hello, artifact: Path, adapter: Adapter) -> Contender:
    copy = artifact.with_name(f"{name}-hello")
    shutil.copytree(artifact, copy, symlinks=True)
    hello.write(made, copy)
    return Contender(
        target=name, kind=HELLO, folder=copy, adapter=adapter, requirements=made.requirements,
        packages=_pinned(made.requirements),
    )  # fmt: skip


def _pinned(names: tuple[str, ...]) -> tuple[str, ...]:
    """At the versions that run here; a package that is not here is left to the index."""
    found = []
    for name in names:
        try:
            found.append(f"{name}=={metadata.version(name)}")
        except metadata.PackageNotFoundError:
            found.append(name)
    return tuple(found)


def _size(contender: Contender) -> Installed | None:
    """Its packages really installed into a folder; without an index, counted as they lie here. Raises MissingExtra."""
    try:
        return installed.afresh(contender.packages, closed=contender.closed) if contender.packages else None
    except LukewarmError:
        return installed.measure(contender.requirements) if contender.requirements else None


def _record(contender: Contender, taken: list[tuple[float, int]], reason: str, call: bench.Run) -> Record:
    missing: dict[str, str] = {}
    size: Installed | None = None
    try:
        size = _size(contender)
    except MissingExtra as error:
        missing["installed"] = str(error)
    case = Case(
        backend=contender.target, precision="none", model="echo", task="text-generation", variant=contender.kind
    )
    made = machine.describe()
    versions = machine.versions((*machine.PACKAGES, "bentoml", "cog", "modal", "runpod", "potassium", "awslambdaric",
                                 "uvicorn", "starlette"))  # fmt: skip
    base = Record(
        schema=SCHEMA,
        kind="measured",
        suite=SUITE,
        key=record.digest(SUITE, case, machine.identity(made), versions),
        case=case,
        date=now(),
        settings=msgspec.structs.replace(call.settings, prompt_tokens=2, new_tokens=2, batches=(1,)),
        installed=size,
        not_measured=missing,
        versions=versions,
        machine=made,
    )
    if not taken:
        return msgspec.structs.replace(base, status="failed", reason=reason or "not run")
    return msgspec.structs.replace(
        base,
        figures={FIRST: figure([seconds for seconds, _ in taken], "s")},
        peak_memory_bytes=max(resident for _, resident in taken),
        failures=[reason] if reason else [],
    )
