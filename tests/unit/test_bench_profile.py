"""Where a cold start went: the import tree, and the savings that follow from what was seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from lukewarm.benchmarks import importtime, plan, profile
from lukewarm.benchmarks.record import Case, Settings
from lukewarm.predictors.bundle import Bundle
from support.echo_bundle import write_echo_bundle

TEXT = """some library says hello
import time: self [us] | cumulative | imported package
import time:       100 |        100 |     json.scanner
import time:       200 |        300 |   json.decoder
import time:        50 |         50 |   json.encoder
import time:       400 |        750 | json
import time:      1000 |       1000 | numpy
"""


def test_the_tree_of_imports_is_read_back() -> None:
    roots = importtime.parse(TEXT)
    assert [root.name for root in roots] == ["json", "numpy"]
    assert [child.name for child in roots[0].children] == ["json.decoder", "json.encoder"]
    assert roots[0].children[0].children[0].name == "json.scanner"
    assert roots[0].total_s == pytest.approx(sum(node.self_s for node in roots[0].walk()))


def test_packages_are_ranked_by_their_own_time() -> None:
    ranked = importtime.by_package(importtime.parse(TEXT))
    assert [(name, modules) for name, _, modules in ranked] == [("numpy", 1), ("json", 4)]
    assert ranked[1][1] == pytest.approx(750e-6)


def test_small_imports_are_left_out_of_the_tree() -> None:
    lines = importtime.tree(importtime.parse(TEXT), least_s=200e-6)
    assert [line.split()[-1] for line in lines] == ["numpy", "json", "json.decoder"]


def test_savings_are_ranked_and_name_a_way() -> None:
    seen = {
        "functions": [("onnxruntime.InferenceSession", 0.3, 1), ("importlib.exec_module", 0.4, 9), ("small", 0.001, 1)],
        "compiled": 12,
        "load": {"minor_faults": 40_000},
        "first": {"minor_faults": 10_000},
        "fault_s": 2e-6,
        "first_s": 0.2,
        "again_s": 0.05,
    }
    phases = {"total": 1.0}
    found = profile.savings(phases, [("torch", 0.5, 900)], seen, {"python": 0.02, "python -I -S": 0.012})
    assert [s.seconds for s in found] == sorted((s.seconds for s in found), reverse=True)
    whats = {s.what: s.seconds for s in found}
    assert whats["importing torch (900 modules)"] == 0.5
    assert whats["onnxruntime.InferenceSession (1×) in load"] == 0.3
    assert whats["50,000 page faults at 2.00 µs"] == pytest.approx(0.1)
    assert whats["the first run over a later one of the same size"] == pytest.approx(0.15)
    assert not any("importlib" in what or "small" in what for what in whats)


def test_an_echo_bundle_is_profiled_in_fresh_processes(tmp_path: Path) -> None:
    bundle = Bundle.open(write_echo_bundle(tmp_path / "bundle"))
    case = Case(backend="echo", precision="none", model="echo", task="text-generation")
    settings = Settings(rounds=3, new_tokens=2)
    found = profile.profile(plan.bundle_job(bundle, case, settings), settings, lambda _text, _done: None)
    assert found.n == 3
    assert found.phases["total"] > 0
    assert any(name == "msgspec" for name, _, _ in found.packages)
    assert found.seen["load"]["minor_faults"] > 0
    text = profile.text(found)
    assert "largest savings still open" in text
    assert "echo" in text
