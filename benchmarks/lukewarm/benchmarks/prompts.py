"""Inputs for timing: a text of an exact number of tokens for a model's own tokenizer."""

from __future__ import annotations

from pathlib import Path

from lukewarm.predictors.errors import SpecError

TEXT = (
    "The ferry left the harbour an hour late because the captain had to wait for a doctor who was visiting the outer "
    "islands. On deck the passengers talked about the weather, the price of fish and the new school that would open "
    "after the summer. A girl with a red scarf counted the gulls and wrote each number into a small notebook, as she "
    "had done on every crossing since the spring. When the first island came into view the engine slowed down, and a "
    "man in a yellow coat began to throw the ropes to a boy who stood on the pier and had never caught one before. "
)
SENTENCES = tuple(sentence.strip() + "." for sentence in TEXT.split(".") if sentence.strip())


def prompt(tokens: int, tokenizer: Path | None) -> str:
    """A text of exactly `tokens` tokens for this tokenizer.json, special ones aside; without one, of as many words."""
    if tokenizer is None or not tokenizer.is_file():
        words = (TEXT * (1 + tokens // 100)).split()
        return " ".join(words[:tokens])
    from tokenizers import Tokenizer

    reader = Tokenizer.from_file(str(tokenizer))
    reader.no_truncation()
    text = TEXT * (2 + tokens // 50)
    ends = [end for _, end in reader.encode(text, add_special_tokens=False).offsets]
    # a cut inside a word can be read as other tokens than the whole was, so look around the first guess
    for cut in sorted(ends, key=lambda end: abs(end - ends[min(tokens, len(ends)) - 1])):
        candidate = text[:cut].rstrip()
        if len(reader.encode(candidate, add_special_tokens=False).ids) == tokens:
            return candidate
    raise SpecError(f"no prompt of exactly {tokens} tokens could be made with {tokenizer}; try another --prompt-tokens")


def inputs(task: str, tokens: int, tokenizer: Path | None) -> tuple[str, ...]:
    """What a case of this task is asked: one prompt for generation, sentences for the rest."""
    return (prompt(tokens, tokenizer),) if task == "text-generation" else SENTENCES
