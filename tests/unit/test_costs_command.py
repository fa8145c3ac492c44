"""`lukewarm cost` as users call it: tables and JSON, the spec that is tuned, one clear message for bad input."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from lukewarm.cli.cost import cost
from lukewarm.predictors import specfile
from lukewarm.predictors.errors import PriceError

NEED = ["--service-s", "2", "--cold-start-s", "20", "--pull-s", "5", "--gpu", "L4", "--memory-gb", "16", "--vcpu", "4"]
TRAFFIC = ["--requests-per-month", "5000"]
FEW = ["--provider", "modal", "--provider", "runpod", "--provider", "aws_ec2"]
SPEC = "name: demo\nsource: org/model\nresources: {gpu: L4, memory_gb: 16, cpu: 4}\ntargets: {modal: {}, bento: {}}\n"


def call(*arguments: str, ok: bool = True) -> Result:
    found = CliRunner().invoke(cost, list(arguments))
    if ok and found.exception:
        raise found.exception
    return found


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_it_is_a_click_command() -> None:
    assert isinstance(cost, click.Command)
    assert cost.name == "cost"


def test_all_scenarios_as_json() -> None:
    found = json.loads(call("--scenario", "all", "--json").stdout)
    assert all(set(s) == {"name", "usd", "ratio", "inputs", "source"} for s in found)
    by_name = {s["name"]: s for s in found}
    assert by_name["cloud-run-1-2"]["usd"] == 57.02
    assert by_name["cloud-run-ratio"]["ratio"] == 2.4


def test_one_scenario_as_text() -> None:
    text = call("--scenario", "g4dn-always-on").stdout
    assert "383.98 USD" in text
    assert "modelled from quoted prices" in text


def test_ranked_table() -> None:
    found = call(*NEED, *TRAFFIC, *FEW, "--as-of", "2026-11-24")
    for wanted in ("modelled from quoted prices; durations supposed", "runpod:flex", "break-even", "p95", "ruled out:"):
        assert wanted in found.stdout
    assert "always on, cheapest: runpod:active" in found.stdout


def test_ranked_json_names_every_price() -> None:
    found = json.loads(call(*NEED, *TRAFFIC, *FEW, "--as-of", "2026-11-24", "--json").stdout)
    assert found["kind"] == "modelled"
    assert found["prices_as_of"] == "2026-11-24"
    option = found["options"][0]
    assert option["usd_month"]["low"] <= option["usd_month"]["high"]
    assert all(p["source"] and p["as_of"] for p in option["prices"])


def test_own_prices_win(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "- {provider: runpod, product: flex, hardware: mine, gpus: [L4], unit: per_hour, usd: 0.01, "
        "as_of: 2026-11-01, grade: A, source: my contract}\n"
    )
    found = json.loads(call(*NEED, *TRAFFIC, *FEW, "--prices", "mine.yaml", "--as-of", "2026-11-24", "--json").stdout)
    assert found["options"][0]["hardware"] == "mine"


def test_replayed_log(tmp_path: Path) -> None:
    lines = [f'h - - [{d:02d}/Nov/2026:{h:02d}:00:00 +0000] "GET /" 200 1' for d in range(2, 9) for h in range(24)]
    (tmp_path / "access.log").write_text("\n".join(lines))
    found = json.loads(call(*NEED, "--log", "access.log", "--provider", "runpod:flex", "--json").stdout)
    five = next(o for o in found["options"] if o["policy"] == "5 s window")
    assert five["cold_fraction"]["high"] == 1.0  # one an hour


def test_tune_writes_the_spec(tmp_path: Path) -> None:
    path = tmp_path / "lukewarm.yaml"
    path.write_text(SPEC)
    arguments = ["--tune", "--service-s", "2", "--cold-start-s", "20", *TRAFFIC, "--slo-p95", "5"]
    dry = call(*arguments, "--dry-run")
    assert path.read_text() == SPEC
    assert "nothing written" in dry.stdout
    found = call(*arguments)
    assert "wrote lukewarm.yaml" in found.stdout
    assert "left out bento" in found.stderr
    spec = specfile.load(path)
    assert f"idle_timeout_s: {spec.scaling.idle_timeout_s:g}" in found.stdout
    # 5 requests an hour: no window that Modal allows keeps 95 % warm, a kept instance does
    assert spec.scaling.min_instances == 1


def test_spec_resources_are_the_default(tmp_path: Path) -> None:
    (tmp_path / "lukewarm.yaml").write_text(SPEC)
    arguments = ["--service-s", "2", "--cold-start-s", "20", *TRAFFIC, *FEW, "--json"]
    found = json.loads(call(*arguments).stdout)
    assert {"L4", "g6.xlarge"} & {o["hardware"] for o in found["options"]}
    other = json.loads(call(*arguments, "--gpu", "T4").stdout)
    assert "g4dn.xlarge" in {o["hardware"] for o in other["options"]}


def test_models_file(tmp_path: Path) -> None:
    entry = "{{name: {}, service_s: 1, cold_start_s: 10, memory_gb: 1, requests_per_month: 500}}"
    (tmp_path / "models.yaml").write_text("\n".join(f"- {entry.format(n)}" for n in "ab"))
    assert "one pool for all" in call("--models", "models.yaml").stdout
    found = json.loads(call("--models", "models.yaml", "--json").stdout)
    assert any(s["risk"] for s in found["shared"])


def test_catalog_listing() -> None:
    text = call("--list-prices").stdout
    assert "quoted prices" in text
    assert "banana" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([*NEED], "name one traffic"),
        ([*TRAFFIC], "give --service-s"),
        ([*NEED, *TRAFFIC, "--gpu", "L5"], "unknown GPU 'L5'"),
        ([*NEED, *TRAFFIC, "--provider", "modla"], "did you mean 'modal'"),
        ([*NEED, *TRAFFIC, "--provider", "banana"], "shut down"),
        ([*NEED, *TRAFFIC, "--as-of", "2020-01-01"], "the first row of the catalog is of"),
        ([*NEED, "--requests-per-month", "-5"], "positive finite"),
        ([*NEED, "--requests-per-month", "1e12"], "can never be served"),
        ([*NEED, *TRAFFIC, "--memory-gb", "-1"], "out of range"),
        ([*NEED, *TRAFFIC, "--pull-s", "50"], "cannot be longer"),
        ([*NEED, *TRAFFIC, "--profile", "weekly"], "unknown traffic profile"),
        ([*NEED, "--log", "absent.log"], "cannot read the log"),
        ([*NEED, *TRAFFIC, "--prices", "absent.yaml"], "cannot read the price file"),
        (["--scenario", "nope"], "unknown scenario"),
    ],
)
def test_bad_input_is_one_clear_message(arguments: list[str], said: str, tmp_path: Path) -> None:
    found = call(*arguments, ok=False)
    assert isinstance(found.exception, PriceError), found.exception
    assert said in str(found.exception)
    assert not list(tmp_path.iterdir())
