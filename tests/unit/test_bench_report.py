"""The report from records: every row, every reason, the right ratios, one file without the network."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from click.testing import CliRunner

from lukewarm.benchmarks import record, report
from lukewarm.benchmarks.record import SCHEMA, Case, Installed, Machine, Phases, Price, Record, Warm
from lukewarm.benchmarks.stats import figure
from lukewarm.cli.command import cli

MACHINE = Machine(
    cpu="A <b>CPU</b>", flags=["avx2"], cores=2, memory_bytes=8 * 10**9, kernel="Linux 6", python="3.11.7"
)


def measured(backend: str, precision: str, total_s: float, warm_s: float, change: float | None) -> Record:
    samples = [total_s * k for k in (0.98, 1.0, 1.02, 0.99, 1.01, 1.0, 1.0)]
    parts = {name: figure([s / 4 for s in samples], "s") for name in ("interpreter", "imports", "load", "first")}
    return Record(
        schema=SCHEMA,
        kind="measured",
        suite="bench",
        key=f"{backend}{precision}",
        case=Case(backend=backend, precision=precision, model="tiny", task="text-generation"),
        date="2026-01-01T00:00:00Z",
        phases=Phases(total=figure(samples, "s"), cpu=figure(samples, "s"), **parts),
        warm=[Warm(batch=1, latency=figure([warm_s] * 7, "s"), tokens_per_s=32 / warm_s)],
        start_memory_bytes=10**8,
        peak_memory_bytes=10**8,
        bundle_bytes=5 * 10**7,
        installed=Installed(bytes=10**8, packages={}),
        accuracy={"perplexity": 20 * change, "perplexity_ratio": change} if change else {},
        machine=MACHINE,
    )


@pytest.fixture
def rows() -> list[Record]:
    base = measured("transformers.pipeline", "fp32", 4.0, 1.0, None)
    failed = Record(
        schema=SCHEMA,
        kind="measured",
        suite="bench",
        key="bad",
        case=Case(backend="bnb", precision="nf4", model="tiny", task="text-generation"),
        date="2026-01-01T00:00:00Z",
        status="failed",
        reason="no kernel <here> | for this CPU",
    )
    price = Price(
        provider="modal:functions", hardware="cpu", warm_usd=(1e-5, 2e-5), cold_usd=(1e-4, 1e-4), idle_usd=(0, 0),
        month_usd=(1.5, 2.5), requests_per_month=10_000, cold_fraction=(0.1, 0.2), prices_as_of="2026-11-24",
    )  # fmt: skip
    ort = measured("ort", "fp32", 0.4, 0.5, 1.0)
    modelled = Record(
        schema=SCHEMA, kind="modelled", suite="bench", key="p", case=ort.case, date="2026-01-01T00:00:00Z", price=price
    )
    return [
        base,
        ort,
        measured("ort", "int4", 0.2, 0.1, 1.4),
        measured("ct2", "int8", 0.5, 0.25, 1.005),
        failed,
        modelled,
    ]


def test_both_pages_show_every_row_ratio_and_reason(tmp_path: Path, rows: list[Record]) -> None:
    html, markdown = (path.read_text() for path in report.write(rows, tmp_path))
    for row in rows:
        assert row.case.label in html
        assert row.case.label in markdown
    assert "failed: no kernel &lt;here&gt; | for this CPU" in html
    assert "failed: no kernel &lt;here> \\| for this CPU" in markdown
    assert "10.0×" in html  # ort fp32, lossless: 4.0 / 0.4
    assert "20.0×" in html  # ort int4, of any accuracy: 4.0 / 0.2
    assert "8.0×" in html  # ct2 int8
    assert "A &lt;b&gt;CPU" in html
    assert "1.50 – 2.50" in html


def test_numbers_are_marked_measured_or_modelled(tmp_path: Path, rows: list[Record]) -> None:
    html = report.write(rows, tmp_path)[0].read_text()
    kinds = re.findall(r'<h2>([^<]*) <span class="kind (\w+)">', html)
    assert ("USD a month at 10,000 requests", "modelled") in kinds
    assert {kind for title, kind in kinds if not title.startswith("USD")} == {"measured"}


def test_the_page_needs_no_other_file(tmp_path: Path, rows: list[Record]) -> None:
    html = report.write(rows, tmp_path)[0].read_text()
    assert not re.search(r"<(script|link|img|iframe)\b", html)
    assert not re.search(
        r"""(?:src|href)=["']?https?:""", html.replace('xmlns:xlink="http://www.w3.org/1999/xlink"', "")
    )
    plots = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(plots) == 3
    identifiers = []
    for plot in plots:
        tree = ET.fromstring(plot)
        identifiers += [node.get("id") for node in tree.iter() if node.get("id")]
    assert len(identifiers) == len(set(identifiers))


def test_what_was_not_measured_stays_empty(tmp_path: Path, rows: list[Record]) -> None:
    html = report.write([rows[0], rows[4]], tmp_path)[0].read_text()
    assert "not measured" in html
    assert "0.000" not in html
    assert "nan" not in html.lower()


def test_the_same_records_give_the_same_page(tmp_path: Path, rows: list[Record]) -> None:
    one, two = report.write(rows, tmp_path / "a"), report.write(rows, tmp_path / "b")
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


def test_the_verb_rebuilds_a_report_from_a_folder(tmp_path: Path, rows: list[Record]) -> None:
    record.write(tmp_path / "records.jsonl", rows)
    result = CliRunner().invoke(cli, ["report", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "ct2 int8" in result.output
    assert "bnb nf4: failed: no kernel" in result.output
    assert (tmp_path / "report.html").is_file()


def test_cost_plots_beside_the_records_are_put_in_and_called_modelled(rows: list[Record], tmp_path: Path) -> None:
    svg = '<?xml version="1.0"?>\n<svg width="8pt" height="5pt"><defs><g id="a"/></defs><use xlink:href="#a"/></svg>'
    (tmp_path / "cost-traffic.svg").write_text(svg)
    page = report.write(rows, tmp_path)[0].read_text()
    section = page[page.index("Cost of a month against traffic") :]
    assert 'class="kind modelled"' in section[:120]
    assert '<g id="cost-traffic-a"/></defs><use xlink:href="#cost-traffic-a"/>' in section
    assert "Cold fraction against" not in page
