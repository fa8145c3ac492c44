"""Where texts end, how defaults merge, and the loop over a decoder: on a model that is arithmetic."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lukewarm.predictors.bundle import Manifest
from lukewarm.predictors.decoding import ArrayScores, generate
from lukewarm.predictors.errors import CancelledError
from lukewarm.predictors.generation import Row, Settings, settle
from lukewarm.predictors.predictor import NEVER
from lukewarm.predictors.spec import Generation
from lukewarm.predictors.tasks import TextGenerationRequest
from lukewarm.predictors.tokenization import Tokenizer
from support.tiny_models import byte_level_tokenizer, session_root

VOCAB = 512
END = 2


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    path = session_root() / "generation.json"
    path.write_text(byte_level_tokenizer().to_str(), "utf-8")
    return Tokenizer(path)


def manifest(**generation: Any) -> Manifest:
    return Manifest(
        format=1,
        name="m",
        task="text-generation",
        backend="x",
        precision="y",
        generation=Generation(**generation),
        eos_token_ids=[END],
    )


# -- settings


def test_defaults_come_from_the_request_then_the_bundle_then_the_task() -> None:
    base = manifest(temperature=0.7, top_k=40, max_new_tokens=9, stop=["x"])
    assert settle(TextGenerationRequest(prompt="a"), manifest()) == Settings(
        max_new_tokens=128, end_ids=frozenset({END})
    )
    mixed = settle(TextGenerationRequest(prompt="a", temperature=0.0, top_p=0.5, stop=[], seed=0), base)
    assert (mixed.temperature, mixed.top_k, mixed.top_p, mixed.max_new_tokens) == (0.0, 40, 0.5, 9)
    assert (mixed.stop, mixed.seed) == ((), 0)


def test_the_context_caps_the_answer() -> None:
    assert settle(TextGenerationRequest(prompt="a", max_new_tokens=50), manifest(), room_tokens=7).max_new_tokens == 7


# -- where a text ends


def write(tokenizer: Tokenizer, tokens: list[int], stop: tuple[str, ...], **more: Any) -> tuple[Row, list[str]]:
    row = Row(
        [5], Settings(max_new_tokens=len(tokens), stop=stop, end_ids=frozenset({END}), **more), tokenizer, chat=True
    )
    pieces = []
    for token in tokens:
        pieces.append(row.push(token))
        if row.finish is not None:
            break
    return row, pieces


def test_a_stop_string_across_tokens_is_cut_and_never_sent(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode("one two three four")
    row, pieces = write(tokenizer, tokens, ("o thr",))
    assert "".join(pieces) == row.result().text == "one tw"
    assert row.finish == "stop"
    assert row.result().completion_tokens < len(tokens)


def test_a_false_beginning_of_a_stop_string_comes_out(tokenizer: Tokenizer) -> None:
    row, pieces = write(tokenizer, tokenizer.encode("aab aac"), ("aac!", "zzz"))
    assert "".join(pieces) == "aab aac"
    assert row.finish == "length"


def test_the_first_of_several_stop_strings_cuts(tokenizer: Tokenizer) -> None:
    row, _ = write(tokenizer, tokenizer.encode("abcdef"), ("f", "cd", "d"))
    assert row.result().text == "ab"


def test_a_special_token_as_stop_string(tokenizer: Tokenizer) -> None:
    tokens = [*tokenizer.encode("yes"), 1, *tokenizer.encode("no")]
    row, _ = write(tokenizer, tokens, (), stop_ids=frozenset({1}))
    assert (row.result().text, row.finish) == ("yes", "stop")


def test_the_end_token_ends_and_is_counted(tokenizer: Tokenizer) -> None:
    row, _ = write(tokenizer, [*tokenizer.encode("yes"), END, *tokenizer.encode("no")], ())
    assert (row.result().text, row.finish) == ("yes", "eos")
    assert row.result().completion_tokens == len(tokenizer.encode("yes")) + 1


@settings(max_examples=300, deadline=None)
@given(
    tokens=st.lists(st.integers(3, VOCAB - 1), min_size=1, max_size=25),
    stop=st.lists(st.text("abe \n\ufffd", min_size=1, max_size=4), max_size=3).map(tuple),
)
@example(tokens=[200], stop=("\ufffd",))
def test_any_text_with_any_stop(tokenizer: Tokenizer, tokens: list[int], stop: tuple[str, ...]) -> None:
    row, pieces = write(tokenizer, tokens, stop)
    text = row.result().text
    whole = tokenizer.decode(tokens)
    assert "".join(pieces) == text
    assert whole.startswith(text)
    assert not any(word in text for word in stop)
    if row.finish == "length":
        assert text == whole
    else:
        assert any(whole[len(text) :].startswith(word) for word in stop)


# -- the loop


class Arithmetic:
    """A model whose next token is a function of all tokens of its row; it checks how it is called."""

    def __init__(self, *, cancelled: bool = False) -> None:
        self.rows: list[list[int]] = []
        self.sizes: list[int] = []
        self.cancelled = cancelled

    def prefill(self, prompts: Any, capacity: int) -> Any:
        if self.cancelled:
            raise CancelledError
        self.rows = [list(prompt) for prompt in prompts]
        self.capacity = capacity
        return self._logits()

    def step(self, tokens: Any) -> Any:
        assert len(tokens) == len(self.rows)
        for row, token in zip(self.rows, tokens, strict=True):
            row.append(token)
            assert len(row) < self.capacity
        return self._logits()

    def keep(self, rows: Any) -> None:
        assert sorted(rows) == rows
        self.rows = [self.rows[index] for index in rows]

    def _logits(self) -> Any:
        self.sizes.append(len(self.rows))
        out = np.zeros((len(self.rows), VOCAB), np.float32)
        for index, row in enumerate(self.rows):
            # END now and then, by the sum of the row
            total = sum((place + 1) * token for place, token in enumerate(row))
            out[index] = np.sin(np.arange(VOCAB) * (total % 97 + 1)) * 3
            out[index, END] = 5 if total % 11 == 0 else -5
        return ArrayScores(out)


def rows_for(tokenizer: Tokenizer, **values: Any) -> list[Row]:
    prompts = [[3 + seed, *range(10, 10 + seed * 3)] for seed in range(6)]
    return [
        Row(prompt, Settings(**{"max_new_tokens": 12, "end_ids": frozenset({END}), **values}), tokenizer)
        for prompt in prompts
    ]


def run(rows: list[Row], cancel: threading.Event = NEVER, decoder: Arithmetic | None = None) -> list[tuple[Row, str]]:
    return list(generate(decoder or Arithmetic(), rows, cancel))


@pytest.mark.parametrize(
    "values",
    [{}, {"temperature": 1.0, "seed": 3, "top_p": 0.9}, {"repetition_penalty": 1.5}, {"stop": ("e", "t ")}],
    ids=str,
)
def test_a_batch_is_its_rows_alone(tokenizer: Tokenizer, values: dict[str, Any]) -> None:
    together = rows_for(tokenizer, **values)
    run(together)
    alone = rows_for(tokenizer, **values)
    for row in alone:
        run([row])
    assert [row.result() for row in together] == [row.result() for row in alone]
    assert len({row.result().text for row in alone}) > 1


def test_finished_rows_are_dropped(tokenizer: Tokenizer) -> None:
    rows, decoder = rows_for(tokenizer), Arithmetic()
    run(rows, decoder=decoder)
    reasons = {row.finish for row in rows}
    assert reasons == {"eos", "length"}
    assert decoder.sizes == sorted(decoder.sizes, reverse=True)
    assert decoder.sizes[-1] < decoder.sizes[0] == len(rows)
    # after its last token a row costs no step
    assert sum(decoder.sizes) == sum(row.result().completion_tokens for row in rows)


def test_pieces_join_to_results(tokenizer: Tokenizer) -> None:
    rows = rows_for(tokenizer, stop=("e",))
    pieces = run(rows)
    for row in rows:
        assert "".join(text for other, text in pieces if other is row) == row.result().text


def test_ignored_end_tokens(tokenizer: Tokenizer) -> None:
    rows = rows_for(tokenizer, ignore_eos=True)
    run(rows)
    assert all(row.finish == "length" and row.result().completion_tokens == 12 for row in rows)


def test_cancel_between_tokens(tokenizer: Tokenizer) -> None:
    cancel = threading.Event()
    rows = rows_for(tokenizer, ignore_eos=True)

    def tokens() -> Iterator[int]:
        for row, _ in generate(Arithmetic(), rows, cancel):
            if len(row.tokens) == 4:
                cancel.set()
            yield len(row.tokens)

    assert max(tokens()) <= 5
    assert {row.finish for row in rows} == {"cancelled"}
    assert [row.result().text for row in rows] == [tokenizer.decode(row.tokens) for row in rows]


@pytest.mark.parametrize("how", ["before", "in the prompt"])
def test_cancel_before_the_first_token(tokenizer: Tokenizer, how: str) -> None:
    cancel = threading.Event()
    if how == "before":
        cancel.set()
    rows = rows_for(tokenizer)
    run(rows, cancel, Arithmetic(cancelled=how != "before"))
    assert {(row.finish, row.result().text) for row in rows} == {("cancelled", "")}
