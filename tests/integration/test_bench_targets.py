"""The `targets` suite on real local servers, one quick and one of a platform's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from lukewarm.benchmarks import framework, targets
from lukewarm.predictors.errors import ServerError

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def contenders(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], targets.Contender]:
    folder = tmp_path_factory.mktemp("targets")
    found = targets._contenders(folder, lambda _text, _done: None)
    return {(c.target, c.kind): c for c in found}


@pytest.mark.parametrize("target", ["banana", "cog", "lambda"])
@pytest.mark.parametrize("kind", [framework.OWN, framework.HELLO])
def test_a_server_is_timed_to_its_first_good_answer(
    contenders: dict[tuple[str, str], targets.Contender], target: str, kind: str
) -> None:
    seconds, resident = targets.first_answer(contenders[target, kind])
    assert 0.01 < seconds < 60
    assert resident > 5_000_000


def test_a_server_that_never_answers_is_ended_and_named(
    contenders: dict[tuple[str, str], targets.Contender], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "LIMIT_S", 3.0)
    broken = contenders["banana", framework.HELLO]
    (broken.folder / "app.py").write_text("import time\ntime.sleep(60)\n")
    with pytest.raises(ServerError, match="no good answer"):
        targets.first_answer(broken)


def test_every_target_has_a_row_to_be_compared(contenders: dict[tuple[str, str], targets.Contender]) -> None:
    own = {target for target, kind in contenders if kind == framework.OWN}
    assert own >= {"bento", "cog", "modal", "runpod", "banana", "lambda"}
    assert (framework.PLAIN, framework.HELLO) in contenders


def test_the_smallest_programs_do_not_use_ours(contenders: dict[tuple[str, str], targets.Contender]) -> None:
    from lukewarm.benchmarks.hello import HELLOS, UVICORN

    for made in (*HELLOS.values(), UVICORN):
        assert "lukewarm" not in made.source
        compile(made.source, made.file, "exec")
    for (_, kind), contender in contenders.items():
        if kind == framework.HELLO and not contender.reason:
            assert Path(contender.folder).is_dir()
