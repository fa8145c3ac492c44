"""The bars are judged by the right rows: lossless where asked, the baseline of their part, empty where unmeasured."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from lukewarm.benchmarks import bars, performance_doc, record
from lukewarm.benchmarks.contenders import bare, fork, seq2seq
from lukewarm.benchmarks.performance import TRANSLATION
from lukewarm.benchmarks.record import SCHEMA, Case, Installed, Phases, Record, Warm
from lukewarm.benchmarks.stats import Figure, figure
from lukewarm.predictors.errors import SpecError

MODEL = "real-model"


def row(
    backend: str, precision: str, total_s: float, warm_s: float = 0.0, *, part: str = "", change: float | None = None,
    figures: dict[str, Figure] | None = None, missing: dict[str, str] | None = None, memory_mb: int = 100,
) -> Record:  # fmt: skip
    one = figure([total_s] * 7, "s")
    return Record(
        schema=SCHEMA,
        kind="measured",
        suite=f"performance{part}",
        key=f"{backend}{precision}{part}",
        case=Case(backend=backend, precision=precision, model=MODEL, task="text-generation"),
        date="2026-01-01T00:00:00Z",
        phases=Phases(interpreter=one, imports=one, load=one, first=one, total=one, cpu=one),
        warm=[Warm(batch=1, latency=figure([warm_s] * 9, "s"))] if warm_s else [],
        accuracy={"perplexity_ratio": change} if change else {},
        figures=figures or {},
        not_measured=missing or {},
        start_memory_bytes=memory_mb * 10**6,
        installed=Installed(bytes=memory_mb * 10**6, packages={}),
        image=Installed(bytes=memory_mb * 10**6 // 2, packages={}),
    )


@pytest.fixture
def rows() -> list[Record]:
    ratios = figure([1.01, 1.02, 1.03], "ratio")
    return [
        row("transformers.pipeline", "fp32", 6.0, 1.6, memory_mb=1000),
        row("ort", "fp32", 0.5, 0.6, change=1.0),
        row("ort", "int8", 0.6, 0.2, change=1.002),
        row("ort", "int4", 0.4, 0.1, change=1.3),
        row("ct2", "int8", 0.3, 0.5, change=1.4, memory_mb=200),
        row("transformers.pipeline", "fp32", 9.0, part="-dropped"),
        row("ct2", "int8", 0.9, part="-dropped"),
        row("ort", "fp32", 0.5, part="-fork", figures={fork.NAME: figure([0.06, 0.07, 0.08], "s")}),
        row("ct2", "int8", 0.5, part="-fork", missing={fork.NAME: "survives no fork"}),
        row("ort", "fp32", 0.5, part="-cost", figures={bare.NAME: ratios}),
    ]


def find(rows: list[Record], name: str) -> bars.Line:
    (line,) = [line for line in bars.judge(rows) if line.figure.startswith(name)]
    return line


@pytest.mark.parametrize(
    ("name", "label", "value", "verdict"),
    [
        ("cold start, best ct2", "ct2 int8", 20.0, "aim"),
        ("cold start, best ort", "ort int4", 15.0, "aim"),
        ("cold start, 8-bit ort", "ort int8", 10.0, "bar"),
        ("page cache dropped, best ct2", "ct2 int8", 10.0, "bar"),
        ("warm, batch 1, within", "ort int8", 8.0, "aim"),
        ("warm, batch 1, 4-bit", "ort int4", 16.0, "aim"),
        ("4-bit perplexity loss", "ort int4", 30.0, "open"),
        ("one artifact", "ort int8", 10 / 12, "open"),
        ("memory at the first token, 8-bit ct2", "ct2 int8", 5.0, "bar"),
        ("predictor over", "ort fp32", 2.0, "bar"),
        ("fork", "ort fp32", 0.07, "bar"),
        ("installed, as pip installs the extra, ct2", "ct2", 5.0, "open"),
        ("installed, in an image of ours, ct2", "ct2", 10.0, "bar"),
    ],
)
def test_each_bar_takes_its_own_rows(rows: list[Record], name: str, label: str, value: float, verdict: str) -> None:
    line = find(rows, name)
    assert (line.row, line.value, line.verdict) == (label, pytest.approx(value), verdict)
    assert line.n


def test_a_bar_without_rows_stays_empty(rows: list[Record]) -> None:
    for name in ("throughput, batch 32", "page cache dropped, best ort", "translation, cold start"):
        line = find(rows, name)
        assert (line.value, line.verdict, line.note) == (None, "", "not measured")


def test_a_translation_that_lost_too_much_counts_for_nothing() -> None:
    def made(precision: str, warm_s: float, drop: float) -> Record:
        one = row("ct2", precision, 0.2, warm_s)
        case = msgspec.structs.replace(one.case, model=TRANSLATION)
        return msgspec.structs.replace(one, case=case, accuracy={"bleu_drop": drop})

    base = row(seq2seq.BACKEND, "fp32", 6.0, 1.0)
    base = msgspec.structs.replace(base, case=msgspec.structs.replace(base.case, model=TRANSLATION))
    real = row("transformers.pipeline", "fp32", 6.0, 1.6)
    both = [real, base, made("int8", 0.2, 1.2), made("int8w", 0.4, 0.9)]
    line = find(both, "translation, warm, batch 1")
    assert (line.row, line.value, line.note) == ("ct2 int8w", pytest.approx(2.5), "BLEU lost: 0.90")
    line = find(both[:3], "translation, warm, batch 1")
    assert (line.value, line.verdict) == (None, "")
    assert "more than 1 BLEU" in line.note


def test_a_runtime_that_survives_no_fork_is_named(rows: list[Record]) -> None:
    assert find(rows, "fork").note == "survives no fork: ct2"


def test_an_open_bar_says_why(rows: list[Record]) -> None:
    text = "\n".join(performance_doc.why_open(rows))
    assert "- one artifact: " in text
    assert "- fork" not in text, "it is reached"
    assert performance_doc.why_open(rows[:1]) == []


def test_without_the_suite_there_are_no_bars() -> None:
    assert bars.judge([]) == []
    with pytest.raises(SpecError, match="bench --suite performance"):
        performance_doc.page([])


def test_the_page_is_written_by_its_command(tmp_path: Path, rows: list[Record]) -> None:
    record.write(tmp_path / "records.jsonl", rows)
    assert performance_doc.main([str(tmp_path / "records.jsonl"), str(tmp_path / "p.md")]) == 0
    text = (tmp_path / "p.md").read_text()
    assert "| cold start, best ct2 row (perplexity +40 %) | real-model | ct2 int8 | **20.0×** (20.0× – 20.0×)" in text
    assert "## real-model: cold start" in text
