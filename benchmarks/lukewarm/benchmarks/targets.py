"""The `targets` suite: what each platform's framework costs before any model, from spawn to the first good answer.

Every target serves the model-free `echo` bundle in its platform's real local server, beside the platform's own
hello-world. Where a platform's queue must be faked on loopback, the fake runs before the clock starts.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from lukewarm.adapters.base import Adapter
from lukewarm.adapters.build import build
from lukewarm.adapters.targets import TARGETS
from lukewarm.benchmarks import bench, hello, installed, launch, machine, plan, record, starts
from lukewarm.benchmarks.framework import CPU, FIRST, HELLO, OWN, PLAIN, SUITE
from lukewarm.benchmarks.record import SCHEMA, Case, Installed, Record
from lukewarm.benchmarks.rounds import now
from lukewarm.benchmarks.starts import Contender
from lukewarm.benchmarks.stats import figure
from lukewarm.benchmarks.turns import ROUNDS, Progress, Turn, Turns
from lukewarm.predictors.errors import LukewarmError, MissingExtra
from lukewarm.predictors.spec import ModelSpec

PACKAGES = (
    "lukewarm", "msgspec", "bentoml", "cog", "modal", "runpod", "potassium", "awslambdaric", "uvicorn", "starlette",
)  # fmt: skip
HERE = "as they lie here: no package index in reach"


class Size(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The packages of one contender, counted; kept, because installing them takes longer than its rounds."""

    schema: int
    key: str
    installed: Installed | None = None
    reason: str = ""


def run(call: bench.Run, progress: Progress) -> list[Record]:
    """Measure every target and write the rows, suite `targets`. A target that cannot run is a row with its reason."""
    with tempfile.TemporaryDirectory(prefix="lukewarm-targets-") as folder:
        contenders = list(_contenders(Path(folder), progress))
        described = machine.describe()  # before our own load
        # the disk is quiet again when the clock starts
        sizes = _sizes(contenders, call.out / ROUNDS / f"{SUITE}-installed.jsonl", resume=call.resume, show=progress)
        turns = Turns(call.out, SUITE, resume=call.resume, progress=progress)
        alive = [contender for contender in contenders if not contender.reason]
        keys = {c: record.digest(c.key, machine.identity(described), machine.versions(PACKAGES)) for c in contenders}
        turns.take(
            [Turn(keys[c], f"{c.target}, {c.kind}") for c in alive],
            call.settings.rounds,
            lambda place, number: _sample(alive[place], number),
        )
    rows = []
    for c in contenders:
        base = _base(c, sizes[c], call, keys[c])
        base = msgspec.structs.replace(base, machine=described)
        samples = turns.samples(keys[c], call.settings.rounds)
        rows.append(_measured(base, samples, turns.failures(keys[c], call.settings.rounds), c.reason))
    bench.save(call.out / bench.RECORDS, rows, SUITE, keep=call.resume)
    return rows


def _sample(contender: Contender, number: int) -> dict[str, Any]:
    limit_s = starts.LIMIT_S
    if number == 0:  # Truss's environment is made at its first start
        server, _ = contender.server(0)
        limit_s = max(limit_s, server.start_timeout_s)
    try:
        return dict(starts.first_answer(contender, limit_s))
    except LukewarmError as error:  # one platform's failure is its own row
        raise launch.Failed(str(error).partition("\n")[0]) from error


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
        made = hello.HELLOS.get(row.name)
        theirs = None
        if made is not None:
            theirs = _hello(row.name, made, out, adapter)
        elif not plain:
            plain = True
            theirs = _hello(PLAIN, hello.UVICORN, out, adapter)
        # what the platform's own builder adds is part of the image too
        sdk = theirs.packages if theirs and made and (not adapter.sdk_in_image or not adapter.extra) else ()
        yield Contender(
            target=row.name, kind=OWN, key=f"{row.name} {artifact.key}", folder=out, adapter=adapter,
            requirements=needs, packages=(*artifact.requirements, *sdk), closed=artifact.closed and not sdk,
            own_bytes=artifact.total_bytes - artifact.weights_bytes,
        )  # fmt: skip
        if theirs is not None:
            yield theirs


def _hello(name: str, made: hello.Hello, artifact: Path, adapter: Adapter) -> Contender:
    copy = artifact.with_name(f"{name}-hello")
    shutil.copytree(artifact, copy, symlinks=True)
    hello.write(made, copy)
    one = Contender(
        target=name, kind=HELLO, key=record.digest(name, made.source), folder=copy, adapter=adapter,
        unsized=made.unsized,
    )  # fmt: skip
    try:
        names = made.requirements()
    except LukewarmError as error:
        return dataclasses.replace(one, unsized=str(error))
    return dataclasses.replace(one, requirements=names, packages=_pinned(names))


def _pinned(names: tuple[str, ...]) -> tuple[str, ...]:
    """Bare names at the versions that run here; a package that is not here is left to the index."""
    found = []
    for name in names:
        try:
            found.append(f"{name}=={metadata.version(name)}")
        except metadata.PackageNotFoundError:
            found.append(name)
    return tuple(found)


def _sizes(contenders: Sequence[Contender], file: Path, *, resume: bool, show: Progress) -> dict[Contender, Size]:
    """What every contender's packages take, each list installed once; those counted before are kept on `resume`."""
    if not resume:
        file.unlink(missing_ok=True)
    known = {size.key: size for size in record.read_lines(file, Size) if size.installed}
    found = {}
    for number, contender in enumerate(contenders):
        key = record.digest(contender.packages, contender.closed, contender.own_bytes, contender.unsized)
        if key not in known:
            show(f"installing the packages of {contender.target}, {contender.kind}", number / len(contenders))
            known[key] = _size(contender, key)
            record.append(file, known[key])
        found[contender] = known[key]
    return found


def _size(contender: Contender, key: str) -> Size:
    """Its packages really installed into a folder; without an index, counted as they lie here."""
    if contender.unsized or not contender.packages:
        return Size(schema=SCHEMA, key=key, reason=contender.unsized)
    try:
        made = installed.afresh(contender.packages, closed=contender.closed)
        return Size(schema=SCHEMA, key=key, installed=_with_own(made, contender.own_bytes))
    except LukewarmError:
        try:
            return Size(schema=SCHEMA, key=key, installed=installed.measure(contender.requirements), reason=HERE)
        except MissingExtra as error:
            return Size(schema=SCHEMA, key=key, reason=str(error))


def _with_own(made: Installed, own_bytes: int) -> Installed:
    """The packages and what the artifact brings beside them."""
    if not own_bytes:
        return made
    return Installed(bytes=made.bytes + own_bytes, packages={**made.packages, "lukewarm, in the artifact": own_bytes})


def _base(contender: Contender, size: Size, call: bench.Run, key: str) -> Record:
    case = Case(
        backend=contender.target, precision="none", model="echo", task="text-generation", variant=contender.kind
    )
    return Record(
        schema=SCHEMA,
        kind="measured",
        suite=SUITE,
        key=key,
        case=case,
        date=now(),
        settings=msgspec.structs.replace(call.settings, prompt_tokens=2, new_tokens=2, batches=(1,)),
        installed=size.installed,
        not_measured={"installed": size.reason} if size.reason else {},
        versions=machine.versions(PACKAGES),
    )


def _measured(base: Record, samples: list[dict[str, Any]], failures: list[str], reason: str) -> Record:
    if not samples:
        why = reason or (failures[-1] if failures else "not run")
        return msgspec.structs.replace(base, status="failed", reason=why)
    return msgspec.structs.replace(
        base,
        figures={
            FIRST: figure([sample["seconds"] for sample in samples], "s"),
            CPU: figure([sample["cpu_s"] for sample in samples], "s"),
        },
        peak_memory_bytes=max(sample["memory_bytes"] for sample in samples),
        failures=failures,
    )
