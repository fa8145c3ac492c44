"""Accuracy of a bundle that reads images or hears: its tokens against the source's in fp32, on drawn and sung samples.

The source runs without a cache and without our search, so that a mistake in either shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lukewarm.convert import media_samples
from lukewarm.convert.image_to_text import BLIP
from lukewarm.convert.job import Job
from lukewarm.convert.loading import load_model
from lukewarm.predictors.bundle import Bundle
from lukewarm.predictors.errors import SourceError
from lukewarm.predictors.predictor import Runtime, load_predictor
from lukewarm.predictors.spec import ModelSpec
from lukewarm.predictors.tasks import BinaryRequest, SpeechRequest

_NEW_TOKENS = 24
# limits where the spec sets none: a near tie that falls the other way is no loss, noise is
_MIN_AGREEMENT = {"fp32": 0.95}
_MIN_AGREEMENT_OTHER = 0.5
# of what the model reads, in its own units: a pixel may be rounded to either side
_MAX_INPUT_DIFF = 0.05


class MediaAccuracy:
    """`token_agreement` (the part of the source's tokens before the first other one), `same_texts`, `input_diff`."""

    def measure(self, job: Job, bundle: Bundle) -> dict[str, float]:
        task = bundle.manifest.task
        samples = media_samples.pictures() if task == "image-to-text" else media_samples.sounds()
        requests: list[BinaryRequest] = [
            BinaryRequest(data=data) if task == "image-to-text" else SpeechRequest(data=data) for data in samples
        ]
        predictor: Any = load_predictor(bundle, Runtime(device="cpu"))
        job.progress(f"{job.spec.name}: running the source in fp32 for reference", None)
        way = {"ctc": _letters, "generate": _generated}.get(str(bundle.manifest.options.get("way")), _searched)
        try:
            pairs, differences = way(job, predictor, requests)
        finally:
            predictor.close()
        parts = [_agreement(found, wanted) for found, wanted in pairs]
        measured = {
            "token_agreement": sum(parts) / len(parts),
            "same_texts": sum(list(found) == list(wanted) for found, wanted in pairs) / len(pairs),
        }
        return {**measured, **({"input_diff": max(differences)} if differences else {})}

    def over_budget(self, spec: ModelSpec, measured: Mapping[str, float]) -> list[str]:
        lost = []
        least = spec.accuracy.min_top1_agreement
        if least is None:
            least = _MIN_AGREEMENT.get(spec.precision, _MIN_AGREEMENT_OTHER)
        if not measured["token_agreement"] >= least:
            lost.append(
                f"{measured['token_agreement']:.1%} of the source's tokens before the first other one, "
                f"at least {least:.1%} wanted"
            )
        if measured.get("input_diff", 0.0) > _MAX_INPUT_DIFF:
            lost.append(
                f"what the model reads is {measured['input_diff']:.3f} away from what transformers prepares, "
                f"allowed {_MAX_INPUT_DIFF:g}"
            )
        return lost


_Pairs = tuple[list[tuple[Sequence[int], Sequence[int]]], list[float]]


def _agreement(found: Sequence[int], wanted: Sequence[int]) -> float:
    same = next((place for place, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b), None)
    if same is None:
        same = min(len(found), len(wanted))
    return same / max(len(found), len(wanted)) if found or wanted else 1.0


def _searched(job: Job, predictor: Any, requests: Sequence[Any]) -> _Pairs:
    """Encoder-decoders under our search, against one whole pass for every token."""
    import msgspec
    import numpy as np

    limit = min(_NEW_TOKENS, predictor.settings(requests[0]).max_new_tokens)
    model = load_model(job.source, job.source.architecture)
    pairs: list[tuple[Sequence[int], Sequence[int]]] = []
    differences: list[float] = []
    for request in requests:
        window = predictor.windows(request)[0]
        features = predictor.features(window)
        asked = msgspec.structs.replace(request, max_new_tokens=limit)
        settings = predictor.settings(asked)
        found = predictor.run(np.stack([features]), settings, _never())[0].tokens
        pairs.append((found, _source_tokens(model, features, predictor, settings)))
        difference = _input_difference(job, request, window, features)
        differences += [] if difference is None else [difference]
    return pairs, differences


def _source_tokens(model: Any, features: Any, predictor: Any, settings: Any) -> list[int]:
    import numpy as np
    import torch
    from transformers.modeling_outputs import BaseModelOutput

    from lukewarm.predictors.search import _apply_rules

    rules = predictor.rules
    with torch.inference_mode():
        encoder = model.vision_model if type(model).__name__ == BLIP else model.get_encoder()
        memory = encoder(torch.from_numpy(features)[None]).last_hidden_state

        def logits(ids: list[int]) -> Any:
            given = torch.tensor([ids])
            if type(model).__name__ == BLIP:
                output = model.text_decoder(input_ids=given, encoder_hidden_states=memory, use_cache=False)
            else:
                states = BaseModelOutput(last_hidden_state=memory)
                output = model(encoder_outputs=states, decoder_input_ids=given, use_cache=False)
            return output.logits[0, -1].float().numpy().copy()

        told = list(rules.start_ids)
        if languages := list(getattr(predictor, "languages", [])):
            language = settings.language
            told.append(language if language is not None else languages[int(np.argmax(logits(told)[languages]))])
        told += predictor.prompt(settings) if hasattr(predictor, "prompt") else []
        new: list[int] = []
        for position in range(settings.max_new_tokens):
            scores = logits([*told, *new])
            if not np.isfinite(scores).all():
                raise SourceError("the source computes values that are not numbers: its weights are damaged")
            _apply_rules(scores, new, rules, settings, position)
            token = int(scores.argmax())
            if token in rules.eos_ids:
                break
            new.append(token)
    return new


def _input_difference(job: Job, request: Any, window: Any, features: Any) -> float | None:
    """Mean distance from what transformers' own preprocessor makes of the same sample; None where it has none."""
    import numpy as np
    import transformers

    before = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()  # it advises to install torchvision
    where = {"local_files_only": True, "trust_remote_code": False}
    try:
        if job.spec.task == "image-to-text":
            from lukewarm.predictors.picture import read_picture

            processor = transformers.AutoImageProcessor.from_pretrained(job.source.root, **where)
            wanted = processor(images=read_picture(request.data), return_tensors="np")["pixel_values"][0]
        else:
            processor = transformers.AutoFeatureExtractor.from_pretrained(job.source.root, **where)
            made = processor(window, sampling_rate=processor.sampling_rate, return_tensors="np")
            wanted = made["input_features"][0]
    except Exception:  # noqa: BLE001 - old files that transformers does not read; the tokens are compared anyway
        return None
    finally:
        transformers.utils.logging.set_verbosity(before)
    if np.shape(wanted) != features.shape:
        return float("inf")
    return float(np.abs(np.asarray(wanted, np.float32) - features).mean())


def _letters(job: Job, predictor: Any, requests: Sequence[Any]) -> _Pairs:
    """CTC: the best letter of every place."""
    import torch

    model = load_model(job.source, "AutoModelForCTC")
    pairs: list[tuple[Sequence[int], Sequence[int]]] = []
    agreements = []
    for request in requests:
        samples = predictor.prepared(predictor.samples(request))
        with torch.inference_mode():
            wanted = model(torch.from_numpy(samples)[None]).logits[0].argmax(-1).numpy()
        found = predictor.logits(samples).argmax(-1)
        agreements.append(float((found == wanted).mean()) if found.shape == wanted.shape else 0.0)
        # places are apart from each other: as many tokens as agree, then one that does not
        same = round(agreements[-1] * len(wanted))
        pairs.append(([0] * same + [1] * (len(wanted) - same), [0] * len(wanted)))
    return pairs, []


def _generated(job: Job, predictor: Any, requests: Sequence[Any]) -> _Pairs:
    """transformers' own `generate`, with the bundle's weights and with the source's."""
    import msgspec

    model = load_model(job.source, job.source.architecture)
    kept, pairs = predictor.model, []
    for request in requests:
        asked = msgspec.structs.replace(request, max_new_tokens=_NEW_TOKENS)
        settings = predictor.settings(asked)
        features = predictor.features(predictor.windows(asked)[0])
        rows = []
        for predictor.model in (kept, model):
            rows.append(predictor.generate(features, settings, _never()).tokens)
        predictor.model = kept
        pairs.append((rows[0], rows[1]))
    return pairs, []


def _never() -> Any:
    from lukewarm.predictors.predictor import NEVER

    return NEVER


measure = MediaAccuracy()
