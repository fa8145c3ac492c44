"""The `targets` suite on real local servers, one quick and one of a platform's own."""

from __future__ import annotations

import pytest

from lukewarm.adapters.targets import TARGETS
from lukewarm.benchmarks import framework, starts, targets
from lukewarm.benchmarks.hello import HELLOS
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
    sample = starts.first_answer(contenders[target, kind])
    assert 0.01 < sample["seconds"] < 60
    assert sample["cpu_s"] > 0.01
    assert sample["memory_bytes"] > 5_000_000


def test_a_server_that_never_answers_is_ended_and_named(
    contenders: dict[tuple[str, str], targets.Contender],
) -> None:
    broken = contenders["banana", framework.HELLO]
    (broken.folder / "app.py").write_text("import time\ntime.sleep(60)\n")
    with pytest.raises(ServerError, match=r"no good answer.*refused every connection"):
        starts.first_answer(broken, limit_s=3.0)


def test_every_target_has_a_row_to_be_compared(contenders: dict[tuple[str, str], targets.Contender]) -> None:
    own = {target for target, kind in contenders if kind == framework.OWN}
    assert own == set(TARGETS.names())
    assert (framework.PLAIN, framework.HELLO) in contenders
    for target in HELLOS:
        contender = contenders[target, framework.HELLO]
        assert contender.packages or contender.unsized
        made = (contender.folder / HELLOS[target].file).read_text()
        assert "lukewarm" not in made
        assert contender.key != contenders[target, framework.OWN].key
