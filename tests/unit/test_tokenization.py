"""Tokenization: incremental decoding is exact, long texts are refused quickly, foreign tokenizers always."""

from __future__ import annotations

import json
import resource
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lukewarm.predictors.errors import BundleError, RequestError
from lukewarm.predictors.tokenization import UNFINISHED, Tokenizer, compact
from support.tiny_models import START, byte_level_tokenizer, metaspace_tokenizer, session_root

KINDS = ["byte-level", "metaspace", "wordpiece"]
TEXTS = [
    "Hello wörld",
    "東京 🙂🙃 ok",
    "a  b   c\n\nd",
    " leading and trailing ",
    "naïve – “quotes”",
    "\N{REPLACEMENT CHARACTER} itself",
]


def wordpiece_tokenizer() -> Any:
    from tokenizers import Tokenizer as Core
    from tokenizers import decoders, models, pre_tokenizers

    words = ["[UNK]", "to", "##ken", "##s", ".", "now", ",", "##.", "a"]
    core = Core(models.WordPiece({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.decoder = decoders.WordPiece()
    return core


def tokenizer(kind: str, **arguments: Any) -> Tokenizer:
    makers = {"byte-level": byte_level_tokenizer, "metaspace": metaspace_tokenizer, "wordpiece": wordpiece_tokenizer}
    path = session_root() / f"{kind}.json"
    if not path.exists():
        path.write_bytes(compact(makers[kind]().to_str().encode()))
    return Tokenizer(path, **arguments)


@pytest.fixture(params=KINDS)
def any_tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return tokenizer(request.param)


def stream(core: Tokenizer, ids: list[int], context: tuple[int, ...] = ()) -> list[str]:
    decoder = core.stream(context)
    return [*(decoder.push(token) for token in ids), decoder.finish()]


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_of_real_text(any_tokenizer: Tokenizer, text: str) -> None:
    ids = any_tokenizer.encode(text)
    pieces = stream(any_tokenizer, ids)
    assert "".join(pieces) == any_tokenizer.decode(ids)
    if UNFINISHED not in text:
        assert not any(UNFINISHED in piece for piece in pieces), "half a character went out"


@settings(max_examples=150, deadline=None)
@given(data=st.data(), kind=st.sampled_from(KINDS))
def test_pieces_of_any_tokens(data: st.DataObject, kind: str) -> None:
    """Random tokens hold broken UTF-8 everywhere; the pieces still join to the decoding of all."""
    core = tokenizer(kind)
    size = core._core.get_vocab_size()
    ids = data.draw(st.lists(st.integers(0, size - 1), max_size=40))
    assert "".join(stream(core, ids)) == core.decode(ids)


@settings(max_examples=100, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=2, max_size=40), cut=st.floats(0, 1))
@pytest.mark.parametrize("kind", ["byte-level", "metaspace"])
def test_a_completion_goes_on_where_its_prompt_ends(kind: str, text: str, cut: float) -> None:
    core = tokenizer(kind)
    ids = core.encode(text)
    place = round(cut * len(ids))
    prompt, rest = ids[:place], ids[place:]
    before = core.decode(prompt)
    whole = core.decode(ids)
    if prompt and whole.startswith(before) and not core.ends_open(prompt, before):
        assert before + "".join(stream(core, rest, tuple(prompt))) == whole


def test_a_leading_space_belongs_to_a_completion_and_not_to_an_answer() -> None:
    core = tokenizer("metaspace")
    prompt, word = core.encode("the first"), core.encode("token")
    assert "".join(stream(core, word, tuple(prompt))) == " token"
    assert "".join(stream(core, word)) == "token"


def test_compact_is_the_same_tokenizer() -> None:
    source = json.loads(byte_level_tokenizer().to_str())
    source["padding"] = {
        "strategy": "BatchLongest",
        "direction": "Right",
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "x",
    }
    source["padding"]["pad_to_multiple_of"] = None
    short = json.loads(compact(json.dumps(source).encode()))
    assert isinstance(short["model"]["merges"][0], str)
    assert short["padding"] is None
    core = tokenizer("byte-level")
    for text in TEXTS:
        assert core.encode(text) == byte_level_tokenizer().encode(text).ids


def test_compact_keeps_merges_that_hold_a_space() -> None:
    pairs = {"model": {"type": "BPE", "merges": [["a ", "b"], ["c", "d"]]}}
    assert json.loads(compact(json.dumps(pairs).encode()))["model"]["merges"] == [["a ", "b"], ["c", "d"]]


def test_a_prompt_over_the_context() -> None:
    core = tokenizer("byte-level", context_tokens=8)
    with pytest.raises(RequestError, match=r"has \d+ tokens; prompt and answer together have room for 8") as caught:
        core.encode("the model answers a request when its weights are in memory")
    assert (caught.value.code, caught.value.path) == ("prompt_too_long", "$.prompt")
    assert len(core.encode("the")) < 8


@pytest.mark.parametrize("unit", ["a", " ", "word ", "🙂", "xyzzy1"])
@pytest.mark.parametrize("context_tokens", [1024, 131_072])
def test_ten_million_characters(unit: str, context_tokens: int) -> None:
    """Refused in the time a full prompt takes, in memory that does not grow with the text."""
    core = tokenizer("byte-level", context_tokens=context_tokens)
    text = unit * (10_000_000 // len(unit))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    with pytest.raises(RequestError, match="characters") as caught:
        core.encode(text)
    assert caught.value.code == "prompt_too_long"
    assert time.perf_counter() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000  # kB


def test_a_long_prompt_that_fits_is_taken() -> None:
    core = tokenizer("byte-level", context_tokens=131_072)
    text = "the first token comes " * 2000
    assert core.encode(text) == byte_level_tokenizer().encode(text).ids


def test_lone_surrogates() -> None:
    with pytest.raises(RequestError, match="not valid Unicode"):
        tokenizer("byte-level").encode("a\ud800")


def test_special_tokens_are_known_by_their_spelling() -> None:
    core = tokenizer("byte-level")
    assert core.special_id(START) == 0
    assert core.special_id("the") is None
    assert core.is_special(0)
    assert core.decode([0]) == ""


def test_a_tokenizer_of_another_model() -> None:
    with pytest.raises(BundleError, match="belongs to another model"):
        tokenizer("byte-level", vocab_size=100)


def test_a_token_the_model_has_not() -> None:
    core = tokenizer("wordpiece", vocab_size=9)
    core.vocab_size = 2
    with pytest.raises(RequestError, match="knows '##s'"):
        core.encode("tokens")


@pytest.mark.parametrize("content", [b"", b"{}", b"not json", b'{"model": {"type": "Nothing"}}'])
def test_a_damaged_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"tokenizer\.json cannot be read"):
        Tokenizer(path)
