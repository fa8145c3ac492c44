"""English sentences for the teacher, from three Debian packages: wordnet-base, fortunes, python3.11-doc.

Only their text is read, as unlabelled input; none of it is stored in the weights file or in this repository.
"""

from __future__ import annotations

import html
import random
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("wordnet-base", "fortunes", "python3.11-doc")
SHORTEST, LONGEST = 8, 240  # characters


def unpack(directory: Path) -> None:
    """Download the packages with apt-get and unpack them below `directory`; nothing is installed."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in PACKAGES:
        if not (directory / name).is_dir():
            subprocess.run(["apt-get", "download", name], cwd=directory, check=True, timeout=600)
            archive = next(directory.glob(f"{name}_*.deb"))
            subprocess.run(["dpkg-deb", "-x", archive.name, name], cwd=directory, check=True, timeout=600)


def sentences(directory: Path, seed: int = 0) -> list[str]:
    """All distinct sentences below `directory` in a random order; one in twenty is two joined, for longer inputs."""
    chance = random.Random(seed)
    glosses = list(dict.fromkeys(_tidy(text) for text in _glosses(directory)))
    others = list(dict.fromkeys(_tidy(text) for text in _prose(directory)))
    chance.shuffle(glosses)
    # dictionary glosses are fragments: keep them a minority
    found = [text for text in [*others, *glosses[: len(others) // 2]] if _good(text)]
    chance.shuffle(found)
    for index in range(0, len(found) - 1, 20):
        found[index] = f"{found[index]} {found[index + 1]}"
    return found


def _tidy(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def _good(text: str) -> bool:
    letters = sum(c.isalpha() or c == " " for c in text)
    return SHORTEST <= len(text) <= LONGEST and letters >= 0.85 * len(text)


def _glosses(directory: Path) -> Iterator[str]:
    for line in _wordnet(directory):
        gloss = re.sub(r'"[^"]*"', "", line).strip(" ;")
        yield gloss[:1].upper() + gloss[1:] + "." if len(gloss) % 2 else gloss


def _prose(directory: Path) -> Iterator[str]:
    for line in _wordnet(directory):
        for example in re.findall(r'"([^"]{8,})"', line):
            yield example[0].upper() + example[1:] + ("" if example[-1] in ".?!" else ".")
    for path in sorted((directory / "fortunes").glob("usr/share/games/fortunes/**/*")):
        if path.is_file() and path.suffix not in (".dat", ".u8"):
            for quote in path.read_text("utf-8", "ignore").split("\n%\n"):
                yield from _split(re.split(r"\n\s*--", quote)[0])
    for path in sorted((directory / "python3.11-doc").glob("usr/share/doc/python3.11/html/**/*.html")):
        page = path.read_text("utf-8", "ignore")
        for inner in re.findall(r"<p>(.*?)</p>", page, re.DOTALL):
            yield from _split(html.unescape(re.sub(r"<[^>]+>", "", inner)))


def _wordnet(directory: Path) -> Iterator[str]:
    for path in sorted((directory / "wordnet-base").glob("usr/share/wordnet/data.*")):
        for line in path.read_text("latin-1").splitlines():
            if "|" in line:
                yield line.split("|", 1)[1].strip()


def _split(text: str) -> Iterator[str]:
    for sentence in re.split(r'(?<=[.?!])\s+(?=[A-Z"])', _tidy(text)):
        if re.match(r'[A-Z"]', sentence):
            yield sentence
