"""Training pairs on disk: one line a sentence, ids of source and teacher translation. Appended, never rewritten."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from lukewarm.benchmarks.distill.teacher import Teacher

Pair = tuple[list[int], list[int]]
CHUNK, BATCH = 1024, 128  # sentences per append, and per run of the teacher
LONGEST = 96  # tokens on either side


@dataclass(frozen=True)
class Batch:
    """Pairs of like length: about `tokens` target tokens with padding."""

    pairs: tuple[Pair, ...]

    @property
    def target_tokens(self) -> int:
        return sum(len(target) for _, target in self.pairs)


def teach(teacher: Teacher, texts: Sequence[str], path: Path, say: Callable[[str], None]) -> None:
    """Translate `texts` in order and append the pairs; goes on after the lines that are there already."""
    done = count(path)
    for start in range(done, len(texts), CHUNK):
        rows = [teacher.ids(text) for text in texts[start : start + CHUNK]]
        order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
        found: dict[int, list[int]] = {}
        for at in range(0, len(order), BATCH):
            part = order[at : at + BATCH]
            found.update(zip(part, teacher.translate([rows[index] for index in part]), strict=True))
        lines = [" ".join(map(str, row)) + "\t" + " ".join(map(str, found[index])) for index, row in enumerate(rows)]
        with path.open("a", encoding="ascii") as stream:
            stream.write("\n".join(lines) + "\n")
        say(f"teacher: {start + len(rows)} of {len(texts)} sentences")


def count(path: Path) -> int:
    """Lines of a pairs file; 0 if there is none."""
    if not path.exists():
        return 0
    with path.open("rb") as stream:
        return sum(1 for _ in stream)


def read(path: Path, skip: int = 0) -> list[Pair]:
    """The pairs after the first `skip` lines, without those too long to learn from."""
    with path.open(encoding="ascii") as stream:
        pairs = [_parse(line) for line in islice(stream, skip, None) if line.endswith("\n")]
    return [pair for pair in pairs if len(pair[0]) <= LONGEST and len(pair[1]) <= LONGEST]


def batches(pairs: Sequence[Pair], tokens: int, seed: int) -> Iterator[Batch]:
    """Batches of like length with at most `tokens` padded tokens on either side."""
    chance = random.Random(seed)
    ordered = sorted(pairs, key=lambda pair: (len(pair[1]) // 4, len(pair[0]) // 4, chance.random()))
    current: list[Pair] = []
    longest = 0
    for pair in ordered:
        size = max(len(pair[0]), len(pair[1]), longest)
        if current and size * (len(current) + 1) > tokens:
            yield Batch(tuple(current))
            current, size = [], max(len(pair[0]), len(pair[1]))
        current.append(pair)
        longest = size
    if current:
        yield Batch(tuple(current))


def _parse(line: str) -> Pair:
    source, target = line.split("\t")
    return [int(token) for token in source.split()], [int(token) for token in target.split()]
