"""`lukewarm bench` from a spec to a report, on the model-free backend; and which cases a spec stands for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lukewarm.benchmarks import plan, record
from lukewarm.cli.command import cli
from lukewarm.predictors.errors import UnsupportedError
from lukewarm.predictors.spec import ModelSpec


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "lukewarm.yaml").write_text("name: echo-demo\nbackend: echo\nprecision: none\n")
    return tmp_path


def bench(project: Path, *options: str) -> Result:
    return CliRunner().invoke(cli, ["bench", "-f", str(project), "--quick", "--rounds", "1", *options])


def test_a_spec_becomes_records_and_a_report(project: Path) -> None:
    result = bench(project)
    assert result.exit_code == 0, result.output
    assert "report.html" in result.output
    measured = [row for row in record.read(project / "report" / "records.jsonl") if row.kind == "measured"]
    assert [(row.case.label, row.status) for row in measured] == [("echo", "ok")]
    assert measured[0].machine is not None
    assert measured[0].versions["msgspec"]
    assert "echo" in (project / "report" / "report.html").read_text()


def test_measured_and_modelled_rows_are_apart_and_linked(project: Path) -> None:
    bench(project)
    rows = record.read(project / "report" / "records.jsonl")
    measured = [row for row in rows if row.kind == "measured"]
    modelled = [row for row in rows if row.kind == "modelled"]
    assert modelled
    assert all(row.price is None for row in measured)
    assert all(row.phases is None and row.price and measured[0].key in row.price.note for row in modelled)


def test_json_is_all_that_stands_on_standard_output(project: Path) -> None:
    result = bench(project, "--json")
    assert result.exit_code == 0
    data = json.loads(result.stdout)
    assert data["records"][0]["case"]["backend"] == "echo"
    assert Path(data["report"][0]).is_file()


def test_resume_measures_nothing_twice(project: Path) -> None:
    bench(project)
    before = (project / "report" / "rounds" / "bench.jsonl").read_bytes()
    result = bench(project, "--resume")
    assert result.exit_code == 0
    assert (project / "report" / "rounds" / "bench.jsonl").read_bytes() == before


def test_an_unknown_backend_says_what_is_known(project: Path) -> None:
    result = bench(project, "--backend", "ctt2")
    assert isinstance(result.exception, UnsupportedError)
    assert "did you mean 'ct2'" in str(result.exception)


def test_a_precision_that_no_backend_has_is_refused(project: Path) -> None:
    with pytest.raises(UnsupportedError, match="nothing to measure"):
        list(plan.combinations(ModelSpec(name="x"), plan.Choice(precisions=("int3",))))


def test_every_backend_of_the_task_is_measured_unless_chosen() -> None:
    everything = list(plan.combinations(ModelSpec(name="x"), plan.Choice()))
    assert {backend for backend, _, _ in everything} == {"hf", "ort", "ct2", "bnb"}
    chosen = list(plan.combinations(ModelSpec(name="x"), plan.Choice(backends=("ct2",), precisions=("int8",))))
    assert chosen == [("ct2", "int8", "")]


def test_a_users_own_predictor_is_measured_alone() -> None:
    spec = ModelSpec(name="x", predictor="my_module:MyPredictor")
    assert list(plan.combinations(spec, plan.Choice())) == [("custom", "none", "")]


def test_a_missing_source_is_a_row_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "lukewarm.yaml").write_text("name: gone\nsource: ./nowhere\n")
    result = CliRunner().invoke(cli, ["bench", "-f", str(tmp_path), "--quick", "--backend", "ct2"])
    assert "no case could be measured" in str(result.exception)
    rows = record.read(tmp_path / "report" / "records.jsonl")
    assert {row.status for row in rows} == {"failed"}
    assert all("there is no folder" in row.reason for row in rows)
