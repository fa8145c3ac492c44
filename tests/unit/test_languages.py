"""A request's languages, and the figures of a long row: both pure."""

from __future__ import annotations

import numpy as np
import pytest

from lukewarm.convert import far, texts
from lukewarm.convert.accuracy import measure
from lukewarm.predictors.errors import RequestError
from lukewarm.predictors.languages import Languages
from lukewarm.predictors.spec import ModelSpec

CODES = Languages.of({"languages": {"ids": {"eng_Latn": 90, "fra_Latn": 91, "deu_Latn": 92}, "source_id": 90}})


@pytest.mark.parametrize(
    ("given", "wanted"), [([90, 5, 6, 2], [91, 5, 6, 2]), ([5, 6, 2, 90], [5, 6, 2, 91]), ([5, 90, 2], [5, 91, 2])]
)
def test_the_sources_language_stands_where_the_tokenizer_puts_it(given: list[int], wanted: list[int]) -> None:
    assert CODES.source(given, "fra_Latn") == wanted
    assert CODES.source(given, None) == given
    assert CODES.target("deu_Latn") == 92
    assert CODES.target(None) is None


def test_a_language_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(RequestError, match="no language 'fr'") as caught:
        CODES.target("fr")
    assert "fra_Latn" in str(caught.value.allowed)
    with pytest.raises(RequestError, match="leave src_lang out"):
        Languages().source([1, 2], "fra_Latn")
    with pytest.raises(RequestError, match="does not mark"):
        CODES.source([5, 90, 6, 7, 2], "fra_Latn")  # the user's own text says it


class _Letters:
    def ids(self, text: str) -> list[int]:
        return [ord(letter) % 16 for letter in text]


def test_a_model_that_goes_wrong_far_out_only_is_over_its_budget() -> None:
    row = far.row("the text " * 400, _Letters(), vocab_size=16, context_tokens=400)
    assert row is not None
    assert len(row) == 400
    logits = np.random.default_rng(0).normal(size=(400, 16)).astype(np.float32) * 3
    logits[np.arange(399), row[1:]] += 4
    wrong = logits.copy()
    wrong[300:] = wrong[300:, ::-1]
    reference = far.summary(row, logits)
    assert reference.shape == (2, 399 - texts.ROW_TOKENS)
    short = {"perplexity_ratio": 1.0, "top1_agreement": 1.0, "perplexity": 9.0, "perplexity_reference": 9.0}
    spec = ModelSpec(name="x", source="x", precision="fp32")
    for outputs, lost in ((logits, 0), (wrong, 2)):
        measured = far.figures(far.summary(row, outputs), reference)
        assert len(found := measure.over_budget(spec, short | measured)) == lost, found
    assert "beyond the first 128 tokens of a text of 400" in found[0]
    assert measured["long_perplexity_ratio"] > 1.5


@pytest.mark.parametrize(("text", "context"), [("short", 4096), ("the text " * 400, 200)])
def test_no_long_row_where_text_or_context_end_before(text: str, context: int) -> None:
    assert far.row(text, _Letters(), vocab_size=16, context_tokens=context) is None
