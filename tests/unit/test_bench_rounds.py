"""The measuring harness, on contenders without a model."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lukewarm.benchmarks import launch, record
from lukewarm.benchmarks.record import Case, Record, Settings
from lukewarm.benchmarks.rounds import Bench, Job
from lukewarm.benchmarks.turns import ROUNDS
from support.echo_bundle import write_echo_bundle

TESTS = str(Path(__file__).parents[1])
FAST = Settings(rounds=2, new_tokens=2, batches=(1, 2), warm_runs=2, limit_s=30.0)


def job(name: str, **options: object) -> Job:
    return Job(
        case=Case(backend=name, precision="none", model="fake", task="text-generation"),
        contender=f"support.fake_contenders:{name}",
        inputs=("hello",),
        options=options,
        env={"PYTHONPATH": TESTS},
    )


def run(tmp_path: Path, *jobs: Job, settings: Settings = FAST, resume: bool = False) -> list[Record]:
    seen: list[str] = []
    bench = Bench(settings, tmp_path, suite="test", resume=resume, progress=lambda text, _done: seen.append(text))
    records = bench.measure(jobs)
    record.write(tmp_path / "records.jsonl", records)
    return records


def test_parts_of_a_start_add_up_and_each_lands_in_its_phase(tmp_path: Path) -> None:
    slow, importer = run(tmp_path, job("sleeper", first_s=0.1), job("importer"))
    assert slow.phases is not None
    assert importer.phases is not None
    for row in (slow.phases, importer.phases):
        parts = zip(*(getattr(row, name).samples for name in ("interpreter", "imports", "load", "first")), strict=True)
        assert [sum(part) for part in parts] == pytest.approx(row.total.samples, abs=1e-6)
    assert 0.2 <= slow.phases.load.median < 0.3
    assert 0.1 <= slow.phases.first.median < 0.2
    assert importer.phases.imports.median >= 0.15
    assert importer.phases.load.median < 0.05


def test_rounds_are_kept_and_the_first_is_discarded(tmp_path: Path) -> None:
    (row,) = run(tmp_path, job("counter", pid_file=str(tmp_path / "pids")))
    pids = (tmp_path / "pids").read_text().split()
    assert len(set(pids)) == len(pids) == FAST.rounds + 1
    assert row.phases is not None
    assert row.phases.total.n == FAST.rounds
    assert [(w.batch, w.latency.n) for w in row.warm] == [(1, 4), (2, 4)]
    assert row.text == "hello"


def test_cases_take_turns(tmp_path: Path) -> None:
    pids = str(tmp_path / "pids")
    one, two = job("counter", pid_file=pids, tag="one"), job("counter", pid_file=pids, tag="two")
    run(tmp_path, one, two)
    order = [line.split()[0] for line in (tmp_path / "pids").read_text().splitlines()]
    assert order == ["one", "two", "two", "one", "one", "two"]


@pytest.mark.parametrize(
    ("name", "words"),
    [("crasher", "RuntimeError: the weights are made of cheese"), ("killed", "ended by SIGKILL (out of memory?)")],
)
def test_a_crash_is_a_row_with_its_reason_and_stops_nobody(tmp_path: Path, name: str, words: str) -> None:
    bad, good = run(tmp_path, job(name), job("counter", pid_file=os.devnull))
    assert (bad.status, good.status) == ("failed", "ok")
    assert words in bad.reason
    assert bad.phases is None


def test_a_hanging_process_is_ended_at_its_limit(tmp_path: Path) -> None:
    begun = time.monotonic()
    (row,) = run(tmp_path, job("hanger"), settings=Settings(rounds=1, limit_s=1.0))
    assert (row.status, row.reason) == ("failed", "took longer than 1 s")
    assert time.monotonic() - begun < 15


def test_nothing_outlives_a_measurement(tmp_path: Path) -> None:
    run(tmp_path, job("parent", pid_file=str(tmp_path / "pids")))
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == FAST.rounds + 1
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and any(_alive(pid) for pid in pids):
        time.sleep(0.05)
    assert not [pid for pid in pids if _alive(pid)]


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_what_a_library_prints_does_not_reach_the_sample(tmp_path: Path) -> None:
    (row,) = run(tmp_path, job("chatty"))
    assert (row.status, row.reason) == ("ok", "")


def test_resume_repeats_nothing_that_was_measured(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    (first,) = run(tmp_path, job("counter", pid_file=str(pids)))
    (again,) = run(tmp_path, job("counter", pid_file=str(pids)), resume=True)
    assert again == first
    assert len(pids.read_text().split()) == FAST.rounds + 1


def test_resume_after_an_interruption_measures_only_what_is_missing(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    run(tmp_path, job("counter", pid_file=str(pids)))
    (tmp_path / "records.jsonl").unlink()
    lines = (tmp_path / ROUNDS / "test.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / ROUNDS / "test.jsonl").write_bytes(
        b"".join(lines[:-1]) + lines[-1][:40]
    )  # killed while it wrote the last round
    (row,) = run(tmp_path, job("counter", pid_file=str(pids)), resume=True)
    assert row.phases is not None
    assert row.phases.total.n == FAST.rounds
    assert len(pids.read_text().split()) == FAST.rounds + 2


def test_other_conditions_are_another_measurement(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    run(tmp_path, job("counter", pid_file=str(pids)))
    run(tmp_path, job("counter", pid_file=str(pids)), settings=Settings(rounds=2, new_tokens=3), resume=True)
    assert len(pids.read_text().split()) == 2 * (FAST.rounds + 1)


def test_a_run_too_slow_for_its_limit_is_not_measured_and_says_so(tmp_path: Path) -> None:
    settings = Settings(rounds=1, new_tokens=8, batches=(1,), warm_limit_s=0.15)
    (row,) = run(tmp_path, job("sleeper", first_s=0.1), settings=settings)
    assert row.status == "ok"
    assert row.warm == []
    assert "the limit is 0.15 s" in row.not_measured["warm batch 1"]


def test_a_pinned_process_runs_on_its_core_only(tmp_path: Path) -> None:
    core = min(os.sched_getaffinity(0))
    before = os.sched_getaffinity(0)
    with launch.pinned(core):
        assert os.sched_getaffinity(0) == {core}
    assert os.sched_getaffinity(0) == before


def test_an_echo_bundle_is_measured_like_any_other(tmp_path: Path) -> None:
    bundle = write_echo_bundle(tmp_path / "bundle")
    echo = Job(
        case=Case(backend="echo", precision="none", model="echo", task="text-generation"),
        contender="lukewarm.benchmarks.contenders.bundle",
        path=bundle,
        inputs=("one two three",),
    )
    (row,) = run(tmp_path, echo, settings=Settings(rounds=1, new_tokens=2, batches=(1,)))
    assert (row.status, row.reason, row.text) == ("ok", "", "one two")
    assert row.used is not None
    assert "msgspec" in row.used.packages


def test_a_process_sees_only_the_packages_of_its_own_closure(tmp_path: Path) -> None:
    alone = dataclasses.replace(job("foreigner"), requirements=("lukewarm",))
    (row,) = run(tmp_path, alone, settings=Settings(rounds=1, batches=(1,)))
    assert (row.status, row.text) == ("ok", "msgspec found, starlette hidden")
    (row,) = run(tmp_path, job("foreigner"), settings=Settings(rounds=1, batches=(1,)))
    assert row.text == "msgspec found, starlette found"


def test_a_terminated_bench_leaves_no_process_behind(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = (
        "from lukewarm.benchmarks import launch\n"
        "from lukewarm.benchmarks.rounds import Job\n"
        "from lukewarm.benchmarks.record import Case, Settings\n"
        "case = Case(backend='x', precision='none', model='x', task='text-generation')\n"
        f"options = {{'pid_file': {str(pids)!r}}}\n"
        "job = Job(case=case, contender='support.fake_contenders:logging_hanger', options=options)\n"
        "launch.sample(job.body(Settings()), limit_s=100)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": TESTS})
    deadline = time.monotonic() + 20
    while not (pids.exists() and pids.read_text().strip()) and time.monotonic() < deadline:
        time.sleep(0.05)
    child = int(pids.read_text())
    assert _alive(child)
    parent.terminate()
    assert parent.wait(10) == 128 + 15
    assert not _alive(child)
