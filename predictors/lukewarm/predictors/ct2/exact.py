"""What CTranslate2's own sampler cannot do, done by ours on its logits: seeds, and a penalty on the first token."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lukewarm.predictors.generation import Row
from lukewarm.predictors.sampling import Sampler, distribution

if TYPE_CHECKING:
    from lukewarm.predictors.generation import FloatArray

_RUN_TOKENS = 64  # CTranslate2 keeps the logits of a whole run, 4 bytes times vocabulary for each token


def generate(
    generator: Any,
    row: Row,
    spell: Callable[[Sequence[int]], list[str]],
    cancel: threading.Event,
    emit: Callable[[Row, str], None],
) -> None:
    """Run one row to its end or to `cancel`, each token chosen by our sampler.

    CTranslate2 goes on with its own best token; where ours is another, it starts again behind ours and reads the text
    so far anew.
    """
    sampler = Sampler(row.settings, row.prompt_ids)
    errors: list[BaseException] = []

    def step(result: Any) -> bool:
        try:
            token = sampler.pick(to_numpy(result.logits)[0])
            emit(row, row.push(token))
            return token != result.token_id or row.finish is not None or cancel.is_set()
        except BaseException as error:  # noqa: BLE001 - must not fly through C++; raised again below
            errors.append(error)
            return True

    while row.finish is None and not cancel.is_set() and not errors:
        generator.generate_batch(
            [spell(row.prompt_ids + row.tokens)],
            max_length=min(row.settings.max_new_tokens - len(row.tokens), _RUN_TOKENS),
            end_token=sorted(row.settings.end_ids),
            sampling_topk=1,
            include_prompt_in_result=False,
            return_logits_vocab=True,
            callback=step,
        )
    if errors:
        raise errors[0]


def decide(logits: FloatArray, row: Row) -> int:
    """The next token where CTranslate2 chose the prompt's first one, to which it had not applied the penalty.

    Its draw was right for all other tokens, so the first is kept with the ratio of its two probabilities, and else one
    of those that gain by the penalty is drawn: together exactly the distribution with the penalty.
    """
    settings = row.settings
    full = Sampler(settings, row.prompt_ids + row.tokens)
    if settings.greedy:
        return full.pick(logits)
    first = row.prompt_ids[0]
    wanted = _probabilities(full.adjust(logits), settings)
    given = _probabilities(Sampler(settings, row.prompt_ids[1:] + row.tokens).adjust(logits), settings)
    random = np.random.Generator(np.random.Philox())
    if random.random() * given[first] < wanted[first]:
        return first
    gains = np.maximum(wanted - given, 0.0)
    return int(random.choice(gains.size, p=gains / gains.sum()))


def to_numpy(view: Any) -> FloatArray:
    """A StorageView of any type on any device as fp32."""
    if view.device != "cpu":
        import ctranslate2

        view = view.to_device(ctranslate2.Device.cpu)
    if str(view.dtype) != "DataType.float32":
        import ctranslate2

        view = view.to(ctranslate2.DataType.float32)
    return np.array(view)


def _probabilities(scores: FloatArray, settings: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    ids, weights = distribution(scores, settings)
    dense = np.zeros(scores.size, np.float64)
    dense[slice(None) if ids is None else ids] = weights / weights.sum(dtype=np.float64)
    return dense
