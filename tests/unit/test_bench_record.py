"""Records on disk, statistics, installed sizes and prompts."""

from __future__ import annotations

import random
import statistics
from pathlib import Path

import msgspec
import pytest

from lukewarm.benchmarks import cache, installed, launch, prompts, record
from lukewarm.benchmarks.record import SCHEMA, Case, Record
from lukewarm.benchmarks.stats import figure, median_interval, ratio
from lukewarm.predictors.errors import MissingExtra, SpecError


def row(backend: str = "echo") -> Record:
    case = Case(backend=backend, precision="none", model="m", task="text-generation")
    return Record(schema=SCHEMA, kind="measured", suite="bench", key=backend, case=case, date="2026-01-01T00:00:00Z")


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    rows = [row("a"), row("b")]
    record.write(tmp_path / "r.jsonl", rows)
    record.append(tmp_path / "r.jsonl", row("c"))
    assert record.read(tmp_path / "r.jsonl") == [*rows, row("c")]


@pytest.mark.parametrize("cut", [2, 30, 100])
def test_a_torn_last_line_is_left_out_and_ended_by_the_next_writer(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "r.jsonl"
    record.write(path, [row("a"), row("b")])
    path.write_bytes(path.read_bytes()[:-cut])
    assert record.read(path) == [row("a")]
    record.append(path, row("c"))
    assert record.read(path) == [row("a"), row("c")]


def test_a_last_line_that_lacks_only_its_newline_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    record.write(path, [row("a"), row("b")])
    path.write_bytes(path.read_bytes()[:-1])
    assert record.read(path) == [row("a"), row("b")]
    record.append(path, row("c"))
    assert record.read(path) == [row("a"), row("b"), row("c")]


def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    record.write(path, [row("a"), row("b")])
    path.write_bytes(b'{"schema": 1, "what": 2}\n' + path.read_bytes())
    with pytest.raises(SpecError, match=r"r\.jsonl:1: not a Record"):
        record.read(path)


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(msgspec.json.encode({"schema": SCHEMA + 1, "new": True}) + b"\n")
    with pytest.raises(SpecError, match=r"record schema 2, this lukewarm reads 1"):
        record.read(path)


def test_an_unwritable_folder_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").mkdir()
    with pytest.raises(OSError, match=r"r\.jsonl"):
        record.write(tmp_path / "r.jsonl", [row()])
    assert [path.name for path in tmp_path.iterdir()] == ["r.jsonl"]


def test_the_interval_of_a_median_covers_it_as_often_as_it_says() -> None:
    chance = random.Random(1)
    hits = 0
    for _ in range(2000):
        low, high, coverage = median_interval([chance.expovariate(1) for _ in range(9)])
        hits += low <= 0.6931471805599453 <= high
    assert coverage >= 0.95
    assert hits / 2000 == pytest.approx(coverage, abs=0.015)


def test_a_figure_never_shows_a_minimum_alone() -> None:
    found = figure([3.0, 1.0, 2.0], "s")
    assert (found.n, found.median, found.min, found.max, found.samples) == (3, 2.0, 1.0, 3.0, [3.0, 1.0, 2.0])
    assert found.coverage < 0.95
    assert (found.low, found.high) == (1.0, 3.0)


@pytest.mark.parametrize("bad", [[], [float("nan")], [1.0, float("inf")]])
def test_a_figure_needs_finite_samples(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        figure(bad, "s")


def test_a_ratio_of_medians_lies_in_its_interval() -> None:
    chance = random.Random(2)
    above, below = [chance.gauss(10, 1) for _ in range(15)], [chance.gauss(2, 0.2) for _ in range(15)]
    found = ratio(above, below)
    assert found.value == statistics.median(above) / statistics.median(below)
    assert found.low < found.value < found.high
    assert 4 < found.low < found.high < 6


def test_installed_bytes_follow_the_dependencies_and_leave_pip_out() -> None:
    core = installed.measure(["lukewarm"])
    assert {"lukewarm", "msgspec", "pyyaml", "click"} <= set(core.packages)
    assert not {"pip", "setuptools", "torch", "starlette"} & set(core.packages)
    serve = installed.measure(["lukewarm[serve]"])
    assert "uvicorn" in serve.packages
    assert core.bytes < serve.bytes == sum(serve.packages.values())


def test_half_a_closure_is_not_reported_as_a_small_one() -> None:
    with pytest.raises(MissingExtra, match="no-such-package"):
        installed.measure(["no-such_package"])


def test_imported_packages_are_found_by_their_modules() -> None:
    found = installed.used(["yaml", "msgspec", "nothing_at_all"])
    assert set(found.packages) == {"pyyaml", "msgspec"}


def test_dropping_the_cache_asks_for_every_file_and_changes_none(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one").write_bytes(b"x" * 5000)
    (tmp_path / "two").write_bytes(b"y" * 100)
    assert cache.drop([tmp_path]) == 5100
    assert (tmp_path / "a" / "one").read_bytes() == b"x" * 5000


def test_a_prompt_has_exactly_the_tokens_asked_for(tmp_path: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from tokenizers.trainers import BpeTrainer

    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel()
    tokenizer.train_from_iterator([prompts.TEXT[:200]], BpeTrainer(vocab_size=300, show_progress=False))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    for tokens in (1, 31, 32, 500):
        text = prompts.prompt(tokens, tmp_path / "tokenizer.json")
        assert len(tokenizer.encode(text).ids) == tokens
    assert len(prompts.prompt(40, None).split()) == 40


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Traceback\n  File x\nRuntimeError: no weights\n", "RuntimeError: no weights"),
        ("Traceback\nlukewarm.predictors.errors.MissingExtra: torch is not installed\nbye\n", "MissingExtra: torch is"),
        ("", "no message"),
    ],
)
def test_the_reason_of_a_failure_is_its_exception(text: str, words: str) -> None:
    assert words in launch.reason(1, text)
