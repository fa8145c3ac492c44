"""Tuning: the setting that meets the goals on every target for the least money, and how it gets into the spec."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from lukewarm.costs import specedit
from lukewarm.costs.advice import Goals
from lukewarm.costs.arrivals import profile
from lukewarm.costs.catalog import Catalog, load
from lukewarm.costs.evaluate import Workload, supposed
from lukewarm.costs.tune import Gains, tune
from lukewarm.predictors import specfile
from lukewarm.predictors.errors import PriceError, SpecError, StorageError, UnsupportedError

NEED = Workload(*supposed(2.0, 20.0, 5.0), memory_gb=16, vcpu=4, gpu="L4", gpu_memory_gb=8, image_gb=6)
TRAFFIC = profile("steady", 10_000)


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load(dt.date(2026, 11, 24))


SPEC = """# our model
name: demo   # keep me
source: "org/model"

scaling:
  min_instances: 0  # zero
  idle_timeout_s: 60   # window
targets:
  modal: {region: us-east}  # raw
"""


def test_tuned_setting_meets_the_goals_on_every_target(catalog: Catalog) -> None:
    free = tune(catalog, NEED, profile("working-hours", 10_000), Goals(), ("modal", "runpod"))
    tight = tune(catalog, NEED, profile("working-hours", 10_000), Goals(slo_p95_s=5), ("modal", "runpod"))
    assert {o.offer.plan.provider for o in tight.options} == {"modal", "runpod"}
    assert all(o.latency_s["p95"].high <= 5 for o in tight.options)
    assert sum(o.usd_month.high for o in free.options) < sum(o.usd_month.high for o in tight.options)
    assert tight.policy.window_s > free.policy.window_s
    assert tight.changes["scaling"]["max_instances"] >= 1


def test_batching_is_chosen_only_where_it_gains(catalog: Catalog) -> None:
    busy = profile("steady", 1_500_000)
    none = tune(catalog, NEED, busy, Goals(), ("runpod",))
    some = tune(catalog, NEED, busy, Goals(), ("runpod",), Gains(batch_marginal=0.1))
    assert (none.policy.batch, none.policy.concurrency) == (1, 1)
    assert some.policy.batch > 1
    assert some.options[0].usd_month.high < none.options[0].usd_month.high


def test_goals_that_nothing_meets(catalog: Catalog) -> None:
    with pytest.raises(PriceError, match=r"none of \d+ settings meets the goals on modal; the nearest: p95"):
        tune(catalog, NEED, TRAFFIC, Goals(slo_p95_s=0.5), ("modal",))
    with pytest.raises(PriceError, match="nothing to tune for aws_ec2"):
        tune(catalog, NEED, TRAFFIC, Goals(), ("aws_ec2",))


def test_spec_keeps_all_that_is_not_tuned(tmp_path: Path) -> None:
    path = tmp_path / "lukewarm.yaml"
    path.write_text(SPEC)
    changes: specedit.Changes = {
        "scaling": {"idle_timeout_s": 300, "min_instances": 1, "max_instances": 4, "concurrency": 2},
        "batching": {"max_items": 8},
    }
    specedit.write(path, changes)
    text = path.read_text()
    for kept in (
        "# our model",
        "name: demo   # keep me",
        '"org/model"',
        "# zero",
        "# window",
        "region: us-east",
        "# raw",
    ):
        assert kept in text
    spec = specfile.load(path)
    assert spec.scaling.idle_timeout_s == 300
    assert (spec.scaling.min_instances, spec.scaling.max_instances, spec.scaling.concurrency) == (1, 4, 2)
    assert spec.batching.max_items == 8
    assert [p.name for p in tmp_path.iterdir()] == ["lukewarm.yaml"]


def test_a_spec_that_would_break_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "lukewarm.yaml"
    for text, error in ((SPEC, SpecError), ("name: [", SpecError), ("- a list\n", SpecError)):
        path.write_text(text)
        with pytest.raises(error):
            specedit.write(path, {"scaling": {"max_instances": 0}})
        assert path.read_text() == text
    toml = tmp_path / "pyproject.toml"
    toml.write_text("[tool.lukewarm]\nname = 'x'\n")
    with pytest.raises(UnsupportedError, match="idle_timeout_s: 5"):
        specedit.write(toml, {"scaling": {"idle_timeout_s": 5}})


def test_a_spec_that_cannot_be_written_is_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lukewarm.yaml"
    path.write_text(SPEC)

    def full(_self: Path, _target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StorageError, match="it is unchanged"):
        specedit.write(path, {"scaling": {"idle_timeout_s": 5}})
    assert path.read_text() == SPEC
    assert [p.name for p in tmp_path.iterdir()] == ["lukewarm.yaml"]
