"""The price catalog: its files have the right shape, history is never edited, and look-ups say what is wrong."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from importlib.resources import files
from pathlib import Path

import jsonschema
import msgspec
import pytest
import yaml

from lukewarm.costs.catalog import Catalog, load
from lukewarm.costs.offers import offer, offers
from lukewarm.costs.schema import Plan, Row
from lukewarm.predictors.errors import PriceError

DATA = files("lukewarm.costs") / "data"
DAY = dt.date(2026, 11, 24)
ROW = {
    "provider": "modal",
    "hardware": "T4",
    "unit": "per_second",
    "as_of": "2026-11-01",
    "grade": "A",
    "source": "mine",
}


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load(DAY)


def _plain(text: str) -> list[dict[str, object]]:
    """YAML as JSON sees it: dates become text."""
    data: list[dict[str, object]] = json.loads(json.dumps(yaml.safe_load(text), default=str))
    return data


@pytest.mark.parametrize(("name", "kind"), [("prices", Row), ("plans.yaml", Plan)])
def test_every_entry_fits_the_schema(name: str, kind: type) -> None:
    validator = jsonschema.Draft202012Validator(msgspec.json.schema(kind))
    places = [p for p in (DATA / name).iterdir() if p.name.endswith(".yaml")] if name == "prices" else [DATA / name]
    count = 0
    for place in places:
        for number, entry in enumerate(_plain(place.read_text("utf-8")), 1):
            errors = [e.message for e in validator.iter_errors(entry)]
            assert not errors, f"{place.name} entry {number}: {errors}"
            count += 1
    assert count >= 30


def test_released_price_files_are_never_edited() -> None:
    """Append-only: a new price is a new row in a new file, and its digest is added to the list."""
    listed = dict(reversed(line.split()) for line in (DATA / "prices" / "SHA256SUMS").read_text().splitlines())
    present = {
        p.name: hashlib.sha256(p.read_bytes()).hexdigest()
        for p in (DATA / "prices").iterdir()
        if p.name.endswith(".yaml")
    }
    assert present == listed


def test_no_row_stands_twice(catalog: Catalog) -> None:
    keys = [(r.provider, r.product, r.hardware, r.unit, r.as_of) for r in catalog.rows]
    assert len(keys) == len(set(keys))


def test_no_row_is_of_the_future() -> None:
    newest = max(r.as_of for r in load(dt.date(2100, 1, 1)).rows)
    assert newest <= DAY


def test_all_providers_of_the_field_are_there(catalog: Catalog) -> None:
    wanted = (
        "replicate modal runpod banana aws_lambda cloud_run sagemaker baseten beam cerebrium fal koyeb hf_endpoints "
        "azure_container_apps aws_ec2 gcp_gce aws_fargate"
    )
    assert set(wanted.split()) <= set(catalog.providers())
    names = {p.name for p in catalog.plans}
    assert {"replicate:public", "replicate:private", "runpod:flex", "runpod:active", "cloud_run:request"} <= names
    assert {"cloud_run:instance", "sagemaker:realtime", "sagemaker:serverless", "aws_ec2:spot", "gcp_gce:spot"} <= names


def test_every_active_plan_can_be_priced_or_says_that_no_price_is_known(catalog: Catalog) -> None:
    for plan in catalog.plans:
        rows = catalog.current(plan)
        assert rows, plan.name
        if any(r.usd is not None for r in rows):
            assert all(o.usd_per_s.low > 0 for o in offers(catalog, plan)), plan.name


def test_every_gpu_of_a_row_has_a_memory(catalog: Catalog) -> None:
    assert {g for r in catalog.rows for g in r.gpus} <= set(catalog.gpus_gb)


def test_unknown_is_kept_apart_from_false(catalog: Catalog) -> None:
    assert catalog.plan("modal").billed.pull is None
    assert catalog.plan("modal").billed.queue is False
    assert catalog.plan("hf_endpoints").billed.pull is True


def test_newest_row_of_the_day_wins(catalog: Catalog) -> None:
    assert catalog.row("replicate", "standard", "T4").usd == 0.000225
    assert load(dt.date(2024, 1, 1)).row("replicate", "standard", "T4").usd == 0.00055


def test_withdrawn_price_is_replaced_by_the_one_that_took_its_place() -> None:
    before, after = load(dt.date(2026, 5, 12)), load(DAY)
    plan = before.plan("runpod:active")
    assert before.row("runpod", plan.products, "L40S").usd == 0.00037
    assert after.row("runpod", plan.products, "L40S").usd == 1.75


def test_rows_older_than_180_days_warn(catalog: Catalog) -> None:
    old = catalog.row("aws_lambda", "standard", "arm64")
    new = catalog.row("cerebrium", "standard", "L4")
    (warning,) = catalog.stale([old, new])
    assert "aws_lambda" in warning
    assert "541 days old" in warning


def test_closed_provider_cannot_be_chosen(catalog: Catalog) -> None:
    assert catalog.row("banana", "standard", "A100-40GB").usd == 7.48
    with pytest.raises(PriceError, match="banana shut down on 2024-03-31"):
        catalog.deployable("banana")


def test_target_names_lead_to_their_provider(catalog: Catalog) -> None:
    assert catalog.plan("lambda").name == "aws_lambda:on_demand"
    assert catalog.plan("cog").name == "replicate:private"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda c: c.plan("modla"), r"unknown provider 'modla' \(did you mean 'modal'\?\)"),
        (lambda c: c.plan("runpod:flux"), r"did you mean 'flex'"),
        (lambda c: c.row("modal", "standard", "T5"), "unknown hardware of modal 'T5'"),
        (lambda c: offer(c, c.plan("modal"), "T5"), "unknown hardware of modal:functions"),
        (lambda c: offer(c, c.plan("aws_ec2:spot"), "T4"), "no price for aws_ec2:spot T4: no dated source"),
        (lambda c: load(dt.date(2020, 1, 1)), "no prices on 2020-01-01: the first row of the catalog is of 2023-08-16"),
        (lambda c: load(dt.date(2025, 1, 1)).row("modal", "standard", "T4"), "the first row is of 2026-09-26"),
    ],
)
def test_look_up_says_what_is_wrong(catalog: Catalog, call, said: str) -> None:
    with pytest.raises(PriceError, match=said) as caught:
        call(catalog)
    assert caught.value.exit_code == 13


def test_overlay_wins_even_over_newer_rows(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump([{**ROW, "usd": 0.0001, "as_of": dt.date(2026, 1, 1)}]))
    assert load(DAY, file).row("modal", "standard", "T4").usd == 0.0001
    assert load(DAY).row("modal", "standard", "T4").usd == 0.000164


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"usd": -1.0}, r"price row 2 \(modal T4\): Expected `float` >= 0.0"),
        ({"usd": 1.0, "unit": "per_year"}, "price row 2"),
        ({"usd": 1.0, "colour": "red"}, "colour"),
        ({}, "usd"),
        ({"usd": 2.0, "usd_high": 1.0}, "usd_high is below usd"),
    ],
)
def test_wrong_overlay_row_is_named(tmp_path: Path, change: dict[str, object], said: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(json.dumps([{**ROW, "usd": 0.1}, {**ROW, **change}]))
    with pytest.raises(PriceError, match=said) as caught:
        load(DAY, file)
    assert str(file) in str(caught.value)


def test_overlay_can_bring_a_provider_of_its_own(tmp_path: Path) -> None:
    billed = dict.fromkeys(("queue", "pull", "setup", "active", "idle", "teardown"), True)
    plan = {"provider": "mine", "plan": "gpu", "products": ["standard"], "billed": billed, "granularity_s": 1}
    plan |= {"routing": "queue", "source": "my contract"}
    file = tmp_path / "mine.yaml"
    file.write_text(json.dumps({"prices": [{**ROW, "provider": "mine", "usd": 0.5, "gpus": ["T4"]}], "plans": [plan]}))
    catalog = load(DAY, file)
    assert offer(catalog, catalog.plan("mine"), "T4").usd_per_s.high == 0.5


@pytest.mark.parametrize("text", ["a: [", "42", "{things: []}"])
def test_overlay_that_is_no_price_file(tmp_path: Path, text: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(PriceError, match=r"mine\.yaml"):
        load(DAY, file)
