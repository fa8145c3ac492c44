"""The contract on the real local server of cog."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lukewarm.adapters.build import build
from lukewarm.adapters.local import start
from lukewarm.adapters.targets import TARGETS
from lukewarm.predictors.spec import ModelSpec, Scaling
from lukewarm.testing import DUPLICATES, TargetContract
from support.echo_bundle import write_echo_bundle


@pytest.mark.servers
class TestCog(TargetContract):
    target = "cog"
    # coglet refuses the null that its own document allows, and answers 400, which the document does not name
    fuzz_without = frozenset({"positive_data_acceptance", "status_code_conformance"})
    lenient = DUPLICATES | {
        "unknown key",
        "unknown key: empty",
        "unknown key: not ASCII",
        "unknown key: 10,000 characters",
        "stream: number",
        "items beside a prompt",
    }


@pytest.mark.servers
def test_the_names_of_older_cog_still_run(tmp_path: Path) -> None:
    write_echo_bundle(tmp_path / "bundle")
    spec = ModelSpec(name="echo", backend="echo", precision="none", targets={"cog": {"compat": True}})
    artifact = build("cog", spec, tmp_path, tmp_path / "bundle", tmp_path / "out")
    with start(TARGETS.load("cog"), artifact.root) as running:
        assert running.request({"prompt": "a b"}).body["text"] == "a b"
        assert list(running.stream({"prompt": "a b"})) == ["a", " b"]


@pytest.mark.servers
def test_several_slots_answer_together(tmp_path: Path) -> None:
    write_echo_bundle(tmp_path / "bundle", delay_s=0.05)
    spec = ModelSpec(name="echo", backend="echo", precision="none", scaling=Scaling(concurrency=3))
    artifact = build("cog", spec, tmp_path, tmp_path / "bundle", tmp_path / "out")
    with start(TARGETS.load("cog"), artifact.root) as running, ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(running.request, [{"prompt": "a b c d"}] * 3))
        assert [answer.body.get("text") for answer in answers] == ["a b c d"] * 3
