"""What `lukewarm cost` takes from a spec, a bundle and measured records, and how it says where a figure is from."""

from __future__ import annotations

from pathlib import Path

import pytest

from lukewarm.benchmarks.record import SCHEMA, Case, Phases, Record, Warm, write
from lukewarm.benchmarks.stats import Figure
from lukewarm.cli.cost_figures import figures
from lukewarm.predictors.errors import PriceError

NONE: dict[str, object] = {}


def seconds(value: float) -> Figure:
    return Figure(
        unit="s", n=1, median=value, low=value, high=value, coverage=0.0, min=value, max=value, samples=[value]
    )


def row(total_s: float, *, eight_s: float, digest: str = "d1") -> Record:
    part = seconds(total_s / 4)
    return Record(
        schema=SCHEMA,
        kind="measured",
        suite="coldstart",
        key=f"k{total_s}",
        case=Case(backend="ort", precision="int8", model="m", task="text-generation"),
        date="2026-11-24T00:00:00Z",
        phases=Phases(interpreter=part, imports=part, load=part, first=part, total=seconds(total_s), cpu=part),
        warm=[Warm(batch=1, latency=seconds(0.5)), Warm(batch=8, latency=seconds(eight_s))],
        bundle_bytes=100_000_000,
        bundle_digest=digest,
    )


@pytest.fixture
def records(tmp_path: Path) -> Path:
    path = tmp_path / "records.jsonl"
    write(path, [row(3.0, eight_s=1.2), row(2.0, eight_s=4.0)])
    return path


def test_records_give_durations_image_and_batch_gain(records: Path) -> None:
    found = figures(None, None, records)
    need, basis = found.need(NONE)  # type: ignore[arg-type]
    assert (need.cold_start_s, need.service_s, need.image_mb) == (2.0, 0.5, 100.0)  # the fastest start of the file
    assert found.batch_marginal == 1.0
    assert basis == "measured"


def test_batch_gain_is_the_slope_of_the_measured_batches(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    write(path, [row(3.0, eight_s=1.2)])
    assert figures(None, None, path).batch_marginal == pytest.approx((1.2 / 0.5 - 1) / 7)


def test_flags_win_and_change_the_word(records: Path) -> None:
    need, basis = figures(None, None, records).need({"service_s": "9", "gpu": None})
    assert need.service_s == "9"
    assert basis == "partly measured"
    _, basis = figures(None, None, None).need({"service_s": "9", "cold_start_s": "1"})
    assert basis == "supposed"


def test_spec_gives_resources_and_none_takes_its_gpu_away(tmp_path: Path) -> None:
    spec = tmp_path / "lukewarm.yaml"
    spec.write_text("name: demo\nsource: org/model\nresources: {gpu: L4, memory_gb: 24, cpu: 6}\n")
    flags = {"service_s": "1", "cold_start_s": "1"}
    need, _ = figures(spec, None, None).need(flags)
    assert (need.gpu, need.memory_gb, need.vcpu) == ("L4", 24, 6)
    assert figures(spec, None, None).need({**flags, "gpu": "none"})[0].gpu is None


def test_records_without_a_measured_row(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    write(path, [])
    with pytest.raises(PriceError, match="no measured row with a start and a request; run: lukewarm bench"):
        figures(None, None, path)
