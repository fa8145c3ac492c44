"""The table and page of framework cost: every target, its hello-world, and a reason where a cell is empty."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from lukewarm.benchmarks import framework, framework_doc, hello, record, report, targets
from lukewarm.benchmarks.bench import Run
from lukewarm.benchmarks.framework import CPU, FIRST, HELLO, OWN, PLAIN
from lukewarm.benchmarks.plan import Choice, Place
from lukewarm.benchmarks.record import SCHEMA, Case, Installed, Machine, Record, Settings
from lukewarm.benchmarks.starts import Contender
from lukewarm.benchmarks.stats import figure
from lukewarm.predictors.errors import ServerError, SourceError
from lukewarm.predictors.spec import ModelSpec

MACHINE = Machine(cpu="A CPU", flags=[], cores=2, memory_bytes=8 * 10**9, kernel="Linux 6", python="3.11.7")


def row(target: str, kind: str, first_s: float, installed: int | None = 10**7, reason: str = "") -> Record:
    return Record(
        schema=SCHEMA, kind="measured", suite=framework.SUITE, key=target + kind,
        case=Case(backend=target, precision="none", model="echo", task="text-generation", variant=kind),
        date="2026-01-01T00:00:00Z",
        figures={FIRST: figure([first_s * k for k in (0.98, 0.99, 1, 1.01, 1.02)], "s"), CPU: figure([first_s], "s")},
        installed=Installed(bytes=installed, packages={"big": installed}) if installed else None,
        not_measured={"installed": reason} if reason else {}, machine=MACHINE, versions={"cog": "1"},
    )  # fmt: skip


@pytest.fixture
def rows() -> list[Record]:
    broken = msgspec.structs.replace(row("modal", OWN, 1), figures={}, status="failed", reason="no modal here")
    return [
        row("bento", OWN, 2.0, 3 * 10**7), row("bento", HELLO, 1.5),
        row("cloudrun", OWN, 0.4), row(PLAIN, HELLO, 0.5),
        row("hf-endpoints", OWN, 0.9), row("hf-endpoints", HELLO, 0.8, None, "their image"),
        broken,
    ]  # fmt: skip


def cells(text: str, target: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {target}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_page_has_every_target_beside_its_own_hello_world(rows: list[Record]) -> None:
    text = framework_doc.page(rows)
    bento = cells(text, "bento")
    assert bento[1] == "**2.00** (range 1.96 – 2.04)"
    assert bento[3].startswith("+0.500 (+0.4")
    assert bento[6:8] == ["30", "10"]
    assert bento[-1] == "5 / 5"
    cloudrun = cells(text, "cloudrun")
    assert "beside plain uvicorn" in cloudrun[0]
    assert cloudrun[3].startswith("−0.100")
    assert cells(text, "hf-endpoints")[7] == "*their image*"
    assert "no modal here" in cells(text, "modal")[1]
    assert "| bento, lukewarm | 30 | big 30 |" in text
    assert "Machine: A CPU" in text
    assert "Versions: cog 1" in text


def test_the_report_shows_the_table_when_its_records_hold_it(rows: list[Record], tmp_path: Path) -> None:
    html, markdown = report.write(rows, tmp_path)
    assert 'id="targets"' in html.read_text("utf-8")
    for page in (html, markdown):
        text = page.read_text("utf-8")
        assert "What each framework costs" in text
        assert "no modal here" in text
        assert "their image" in text
    assert "What each framework costs" not in report.write([], tmp_path)[1].read_text("utf-8")
    assert "modal: failed: no modal here" in report.summary(rows)


def test_the_command_writes_the_page_or_says_what_to_run(
    rows: list[Record], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record.write(tmp_path / "r.jsonl", rows)
    assert framework_doc.main([str(tmp_path / "r.jsonl"), str(tmp_path / "p.md")]) == 0
    assert (tmp_path / "p.md").read_text("utf-8") == framework_doc.page(rows)
    assert framework_doc.main([str(tmp_path / "none.jsonl"), str(tmp_path / "q.md")]) != 0
    assert "lukewarm bench --suite targets" in capsys.readouterr().err
    assert not (tmp_path / "q.md").exists()


def test_a_run_goes_on_where_it_was_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that failed is told and taken again, two failures end a contender, and nothing is done twice."""
    made = [
        Contender(target="bento", kind=OWN, key="a", packages=("small==1",), own_bytes=3),
        Contender(target="bento", kind=HELLO, key="b", unsized="their image"),
        Contender(target="modal", kind=OWN, reason="no modal here"),
    ]
    started: list[str] = []
    installed: list[tuple[str, ...]] = []

    def start(contender: Contender, limit_s: float) -> dict[str, float]:
        started.append(contender.key)
        if contender.key == "b" or len(started) == 4:
            raise ServerError("port taken\nlog")
        if len(started) > 6 and not resumed:
            raise KeyboardInterrupt
        return {"seconds": 1.0, "cpu_s": 0.5, "memory_bytes": 7}

    def afresh(packages: tuple[str, ...], *, closed: bool) -> Installed:
        installed.append(packages)
        return Installed(bytes=5, packages={})

    monkeypatch.setattr(targets, "_contenders", lambda _folder, _progress: iter(made))
    monkeypatch.setattr(targets.starts, "first_answer", start)
    monkeypatch.setattr(targets.installed, "afresh", afresh)
    monkeypatch.setattr(Contender, "server", lambda *_: (type("Local", (), {"start_timeout_s": 1.0}), None))

    def run(*, resume: bool) -> list[Record]:
        spec = ModelSpec(name="echo", backend="echo", precision="none")
        place = Place(spec_dir=tmp_path, bundles_dir=tmp_path)
        call = Run(
            spec=spec, place=place, choice=Choice(), settings=Settings(rounds=5), out=tmp_path, resume=resume
        )  # fmt: skip
        return targets.run(call, lambda _text, _done: None)

    resumed = False
    with pytest.raises(KeyboardInterrupt):
        run(resume=False)
    before = len(started)
    resumed = True
    own, theirs, broken = run(resume=True)
    assert own.figures[FIRST].n == 5
    assert own.failures == ["port taken"]
    assert own.installed is not None
    assert own.installed.bytes == 5 + 3
    assert (theirs.status, theirs.reason) == ("failed", "port taken")
    assert theirs.not_measured == {"installed": "their image"}
    assert broken.reason == "no modal here"
    assert len(started) == before + 3  # the failed round, the interrupted one and the last
    assert run(resume=True)[0].figures == own.figures
    assert len(started) == before + 3
    assert installed == [("small==1",)]
    assert len(record.read(tmp_path / "records.jsonl")) == 3


def test_without_an_index_packages_are_counted_as_they_lie_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def afresh(packages: tuple[str, ...], *, closed: bool) -> Installed:
        raise SourceError("no index")

    monkeypatch.setattr(targets.installed, "afresh", afresh)
    size = targets._size(Contender(target="x", kind=OWN, requirements=("msgspec",), packages=("msgspec==1",)), "k")
    assert size.installed is not None
    assert size.installed.packages.keys() == {"msgspec"}
    assert size.reason == targets.HERE
    size = targets._size(Contender(target="x", kind=OWN, requirements=("not-here",), packages=("not-here==1",)), "k")
    assert size.installed is None
    assert "not-here" in size.reason


def test_every_target_with_a_server_of_its_own_has_a_hello_world() -> None:
    from lukewarm.adapters.targets import TARGETS
    from lukewarm.adapters.wire import AsgiWire

    served_by_us = {row.name for row in TARGETS if type(TARGETS.load(row.name).wire) is AsgiWire}
    assert set(hello.HELLOS) >= set(TARGETS.names()) - served_by_us - {"sagemaker", "vertex", "azure", "kserve"}
    for made in (*hello.HELLOS.values(), hello.UVICORN):
        assert "lukewarm" not in made.source
        compile(made.source, made.file, "exec")
