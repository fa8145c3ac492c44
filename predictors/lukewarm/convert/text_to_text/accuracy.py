"""Accuracy of a text-to-text bundle: its texts against the source's in fp32, by BLEU and chrF.

Without reference translations the source's own texts are the reference. `accuracy.texts` may give some: a file whose
lines are a source text, a tab and a reference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from lukewarm.convert import bergamot, bergamot_graphs, texts
from lukewarm.convert.job import Job
from lukewarm.convert.loading import load_model
from lukewarm.predictors.bundle import Bundle
from lukewarm.predictors.errors import MissingExtra, RequestError, SpecError
from lukewarm.predictors.predictor import Runtime, load_predictor
from lukewarm.predictors.spec import ModelSpec
from lukewarm.predictors.tasks import TextToTextRequest
from lukewarm.predictors.text_to_text import SearchSettings, TextToTextPredictor

_SENTENCES, _LONGEST_WORDS, _NEW_TOKENS = 32, 24, 64
# limits where the spec sets none: chance differences of near ties are no loss, noise is
_MIN_AGREEMENT = {"fp32": 95.0}
_MIN_AGREEMENT_OTHER = 50.0
_MIN_SAME_TEXTS = {"fp32": 0.75}  # one wrong token in each text hardly moves BLEU
_MAX_BLEU_DROP = 2.0


class TextToTextAccuracy:
    """`bleu_agreement`, `chrf_agreement` with the source; with references also `bleu`, `bleu_source`, `bleu_drop`."""

    def measure(self, job: Job, bundle: Bundle) -> dict[str, float]:
        pairs = sentences(job.spec)
        predictor = load_predictor(bundle, Runtime(device="cpu"))
        assert isinstance(predictor, TextToTextPredictor)
        try:
            limit = min(_NEW_TOKENS, predictor.room())
            pairs = [pair for pair in pairs if _fits(predictor, pair[0])]
            if not pairs:
                raise SpecError("no text is short enough for the model; give shorter ones", "accuracy.texts")
            requests = [TextToTextRequest(text=source, num_beams=1, max_new_tokens=limit) for source, _ in pairs]
            found = [getattr(result, "text", "") for result in predictor.predict_batch(requests)]
            rows = [predictor.codec.encode(source) for source, _ in pairs]
            wanted = [predictor.codec.decode(ids) for ids in _source_ids(job, predictor, rows, limit)]
        finally:
            predictor.close()
        return scores(found, wanted, [reference for _, reference in pairs])

    def over_budget(self, spec: ModelSpec, measured: Mapping[str, float]) -> list[str]:
        lost = []
        drop, agreement = measured.get("bleu_drop"), measured["bleu_agreement"]
        least = _MIN_AGREEMENT.get(spec.precision, _MIN_AGREEMENT_OTHER)
        if drop is None and spec.accuracy.max_bleu_drop is not None:
            least = 100.0 - spec.accuracy.max_bleu_drop
        if not agreement >= least:  # a NaN is not
            lost.append(f"BLEU {agreement:.1f} against the source's own texts, at least {least:g} wanted")
        same = _MIN_SAME_TEXTS.get(spec.precision, 0.0)
        if not measured.get("same_texts", 1.0) >= same:
            lost.append(
                f"{measured['same_texts']:.0%} of the texts are those of the source, at least {same:.0%} wanted"
            )
        limit = spec.accuracy.max_bleu_drop if spec.accuracy.max_bleu_drop is not None else _MAX_BLEU_DROP
        if drop is not None and not drop <= limit:
            lost.append(
                f"BLEU {measured['bleu']:.1f} against {measured['bleu_source']:.1f} of the source, "
                f"a drop of {drop:.1f}, allowed {limit:g}"
            )
        return lost


def scores(found: Sequence[str], wanted: Sequence[str], references: Sequence[str | None]) -> dict[str, float]:
    """BLEU and chrF by sacrebleu. Raises MissingExtra."""
    try:
        import sacrebleu
    except ImportError as error:
        raise MissingExtra("sacrebleu, needed to measure a translation's accuracy,", "convert") from error

    def bleu(texts: Sequence[str], against: Sequence[str]) -> float:
        return float(sacrebleu.corpus_bleu(list(texts), [list(against)]).score)

    same = sum(a == b for a, b in zip(found, wanted, strict=True)) / len(found)
    # two models that both say nothing agree, though BLEU has no words to count
    agreement = 100.0 if same == 1.0 else bleu(found, wanted)
    result = {
        "bleu_agreement": agreement,
        "chrf_agreement": 100.0 if same == 1.0 else float(sacrebleu.corpus_chrf(list(found), [list(wanted)]).score),
        "same_texts": same,
    }
    given = [place for place, reference in enumerate(references) if reference is not None]
    if len(given) == len(found):
        against = [str(reference) for reference in references]
        result["bleu"], result["bleu_source"] = bleu(found, against), bleu(wanted, against)
        result["bleu_drop"] = result["bleu_source"] - result["bleu"]
    return result


def sentences(spec: ModelSpec) -> list[tuple[str, str | None]]:
    """Source texts, with their references if the user gave some. Raises SpecError."""
    text = texts.read(spec.accuracy.texts)
    if spec.accuracy.texts is not None:
        lines = [line.rstrip("\n").split("\t") for line in text.splitlines() if line.strip()]
        if not lines or any(len(line) > 2 for line in lines) or len({len(line) for line in lines}) > 1:
            raise SpecError(
                "every line must be a source text, or a source text, a tab and a reference", spec.accuracy.texts
            )
        return [(line[0], line[1] if len(line) == 2 else None) for line in lines]
    # running prose only: no code, no markup
    found = re.findall(r"(?<=\. )[A-Z][A-Za-z ,']{20,200}\.(?= )", re.sub(r"\s+", " ", text))
    short = [sentence for sentence in found if len(sentence.split()) <= _LONGEST_WORDS]
    return [(sentence, None) for sentence in short[:: max(1, len(short) // _SENTENCES)][:_SENTENCES]]


def _fits(predictor: TextToTextPredictor, text: str) -> bool:
    try:
        predictor.codec.encode(text)
    except RequestError:
        return False
    return True


def _source_ids(job: Job, predictor: TextToTextPredictor, rows: Sequence[Sequence[int]], limit: int) -> list[list[int]]:
    """What the source gives through transformers' `generate` in fp32, greedily, for the same ids."""
    from lukewarm.predictors.hf.text_to_text import generate

    job.progress(f"{job.spec.name}: running the source in fp32 for reference", None)
    if job.source.architecture == bergamot.ARCHITECTURE:
        student = bergamot.load_student(job.source.root)
        return bergamot_graphs.source_ids(student, rows, SearchSettings(limit), predictor.rules)
    model: Any = load_model(job.source, "AutoModelForSeq2SeqLM")
    pad_id = job.source.token_ids("pad_token_id")
    hypotheses = generate(model, rows, SearchSettings(limit), predictor.rules, pad_id[0] if pad_id else 0)
    return [hypothesis.tokens for hypothesis in hypotheses]


measure = TextToTextAccuracy()
