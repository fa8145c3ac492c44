"""The `bench` suite: convert what is missing, measure every case, price it, write records and report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lukewarm.benchmarks import plan, prices, record
from lukewarm.benchmarks.record import Record, Settings
from lukewarm.benchmarks.rounds import Bench
from lukewarm.benchmarks.turns import Progress
from lukewarm.predictors.errors import LukewarmError
from lukewarm.predictors.spec import ModelSpec

RECORDS = "records.jsonl"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One call of the suite: what to measure, how, and where the results go."""

    spec: ModelSpec
    place: plan.Place
    choice: plan.Choice
    settings: Settings
    out: Path
    resume: bool = False
    price: bool = True


def run(call: Run, progress: Progress) -> list[Record]:
    """Measure, price and write `records.jsonl`. Returns all records of this run; failed cases are rows with a reason.

    Raises UnsupportedError if there is nothing to measure at all.
    """
    jobs = plan.jobs(call.spec, call.choice, call.place, call.settings, progress)
    bench = Bench(call.settings, call.out, suite="bench", resume=call.resume, progress=progress)
    records = bench.measure(jobs)
    if call.price:
        priced, missing = prices.price(records, call.spec)
        records += priced
        for sentence in missing:
            progress(f"no price: {sentence}", None)
    save(call.out / RECORDS, records, "bench", keep=call.resume)
    return records


def save(path: Path, records: Sequence[Record], suite: str, *, keep: bool = False) -> None:
    """Replace this suite's rows of a records file; those of other suites stay, and with `keep` other cases' as well.

    One run's rows were measured in turn and can be compared; older rows were not, so they go unless asked for.
    """
    cases = {row.case for row in records}
    others = [row for row in record.read(path) if row.suite != suite or (keep and row.case not in cases)]
    record.write(path, [*others, *records])


def check(records: Sequence[Record]) -> None:
    """Raise LukewarmError if not one case could be measured."""
    measured = [row for row in records if row.kind == "measured"]
    if measured and all(row.status != "ok" for row in measured):
        raise LukewarmError(f"no case could be measured; the first: {measured[0].case.label}: {measured[0].reason}")
