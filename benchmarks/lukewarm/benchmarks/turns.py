"""Takes samples of many cases in turn, round by round, and keeps each on disk: an interrupted run can go on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from lukewarm.benchmarks import launch, record
from lukewarm.benchmarks.record import SCHEMA

Progress = Callable[[str, float | None], None]
ROUNDS = "rounds"  # folder: one file a suite, a line a process


class Round(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One process of one case, as it was measured; round 0 is the discarded one."""

    schema: int
    key: str
    round: int
    sample: dict[str, Any] | None = None
    reason: str = ""


@dataclass(frozen=True)
class Turn:
    """One case. `key`: equal for the same case under the same conditions."""

    key: str
    name: str


class Turns:
    """The rounds of one suite, in `out/rounds/SUITE.jsonl`; with `resume` those taken before count."""

    def __init__(self, out: Path, suite: str, *, resume: bool, progress: Progress) -> None:
        self.file = out / ROUNDS / f"{suite}.jsonl"
        self.progress = progress
        if not resume:
            self.file.unlink(missing_ok=True)
        self._rounds: dict[str, list[Round]] = {}
        for item in record.read_lines(self.file, Round):
            self._rounds.setdefault(item.key, []).append(item)

    def take(self, turns: Sequence[Turn], rounds: int, sample: Callable[[int, int], dict[str, Any]]) -> None:
        """Every case `rounds` times in turn after a discarded round; a failure ends its case alone.

        `sample(place, number)` measures `turns[place]`, number 0 for the discarded one. It raises launch.Failed.
        """
        total = len(turns) * (rounds + 1)
        step = 0
        for number in range(rounds + 1):
            # every round begins with another case, so that none always follows the same neighbour
            shift = number % max(1, len(turns))
            places = range(len(turns))
            for place in [*places[shift:], *places[:shift]]:
                turn = turns[place]
                step += 1
                done = self._rounds.setdefault(turn.key, [])
                if _hopeless(done) or any(r.round == number and r.sample for r in done):
                    continue
                name = f"round {number}/{rounds}" if number else "warming the page cache"
                self.progress(f"{name}: {turn.name}", (step - 1) / total)
                try:
                    made = Round(schema=SCHEMA, key=turn.key, round=number, sample=sample(place, number))
                except launch.Failed as error:
                    made = Round(schema=SCHEMA, key=turn.key, round=number, reason=str(error))
                done.append(made)
                record.append(self.file, made)
        if turns:
            self.progress(f"measured {len(turns)} cases in {rounds} rounds", 1.0)

    def samples(self, key: str, rounds: int) -> list[dict[str, Any]]:
        """What was measured of a case, without the discarded round."""
        return [r.sample for r in self._rounds.get(key, []) if r.sample and 0 < r.round <= rounds]

    def failures(self, key: str, rounds: int) -> list[str]:
        """Why single processes of a case gave nothing."""
        return [r.reason for r in self._rounds.get(key, []) if r.reason and r.round <= rounds]


def _hopeless(rounds: Iterable[Round]) -> bool:
    """Two processes in a row gave nothing: more would not either."""
    last = list(rounds)[-2:]
    return len(last) == 2 and all(r.sample is None for r in last)
