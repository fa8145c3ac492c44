"""BLEU and chrF of the teacher and of a student on Django's interface strings, which nobody was trained on."""

from __future__ import annotations

import ast
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

Pair = tuple[str, str]
LOCALE = "pt_BR"


@dataclass(frozen=True)
class Scores:
    """BLEU and chrF against the reference translations, and BLEU against the teacher's."""

    sentences: int
    bleu: float
    chrf: float
    bleu_against_teacher: float


def django_pairs(wheel: Path, locale: str = LOCALE) -> list[Pair]:
    """English and translated strings of Django's wheel: at least four words, no placeholders, markup or plurals."""
    found: dict[str, str] = {}
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(f"locale/{locale}/LC_MESSAGES/django.po"):
                found.update(entries(archive.read(name).decode("utf-8").splitlines()))
    return [(source, target) for source, target in found.items() if _plain(source, target)]


def entries(lines: Iterable[str]) -> Iterator[Pair]:
    """The finished singular entries of a gettext file."""
    entry: dict[str, str] = {}
    field = ""
    for line in [*lines, ""]:
        if line.startswith(("#, fuzzy", "msgid_plural", "msgstr[")):
            entry["skipped"], field = line, ""
        elif line.startswith(("msgid ", "msgstr ")):
            field, _, text = line.partition(" ")
            entry[field] = ast.literal_eval(text)
        elif line.startswith('"') and field:
            entry[field] += ast.literal_eval(line)
        elif not line.strip():
            if entry.get("msgid") and entry.get("msgstr") and "skipped" not in entry:
                yield entry["msgid"], entry["msgstr"]
            entry, field = {}, ""


def score(found: Sequence[str], references: Sequence[str], teacher: Sequence[str]) -> Scores:
    """By sacrebleu with its defaults."""
    import sacrebleu

    def bleu(against: Sequence[str]) -> float:
        return float(sacrebleu.corpus_bleu(list(found), [list(against)]).score)

    chrf = float(sacrebleu.corpus_chrf(list(found), [list(references)]).score)
    return Scores(len(found), bleu(references), chrf, bleu(teacher))


def _plain(source: str, target: str) -> bool:
    return len(source.split()) >= 4 and not any(c in source for c in "%{<\n\t") and not any(c in target for c in "\n\t")
