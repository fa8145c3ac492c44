"""An extra measurement: a Predictor's own cost over the bare loop of its runtime, in turn on the same loaded model."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PAIRS = 9
NAME = "predictor over bare loop"
Loop = Callable[[list[int], int], list[int]]


def measure(contender: Any, model: Any, job: dict[str, Any], sample: dict[str, Any]) -> None:
    """Ratios of request time to loop time, one per pair; the order within a pair alternates."""
    make = LOOPS.get(model.bundle.manifest.backend)
    if make is None:
        sample["not_measured"][NAME] = f"no bare loop is written for {model.bundle.manifest.backend}"
        return
    text, new_tokens = job["inputs"][0], job["new_tokens"]
    ids = model.tokenizer.encode(text)
    loop = make(model)
    contender.run(model, [text], new_tokens)
    answer = model.tokenizer.decode(loop(ids, new_tokens))
    expected = contender.run(model, [text], new_tokens)["text"]
    if answer != expected:
        sample["not_measured"][NAME] = f"the bare loop answers otherwise: {answer[:40]!r}, not {expected[:40]!r}"
        return
    ratios = []
    for pair in range(PAIRS):
        ours, bare = 0.0, 0.0
        for turn in (0, 1):
            begun = time.perf_counter()
            if (pair + turn) % 2:
                contender.run(model, [text], new_tokens)
                ours = time.perf_counter() - begun
            else:
                loop(ids, new_tokens)
                bare = time.perf_counter() - begun
        ratios.append(ours / bare)
    sample["figures"][NAME] = ("ratio", ratios)


def ct2_loop(model: Any) -> Loop:
    """CTranslate2's own C++ loop: nothing is called back, nothing but the ids comes out."""
    generator, tokenizer = model._generator, model.tokenizer  # the same model, so that only our code differs
    ends = sorted(model.bundle.manifest.eos_token_ids)

    def loop(ids: list[int], new_tokens: int) -> list[int]:
        tokens = [tokenizer.token(i) for i in ids]
        (result,) = generator.generate_batch(
            [tokens], max_length=new_tokens, min_length=new_tokens, sampling_topk=1, end_token=ends,
            include_prompt_in_result=False,
        )  # fmt: skip
        found: list[int] = result.sequences_ids[0]
        return found

    return loop


def ort_loop(model: Any) -> Loop:
    """Session runs over buffers that are bound once, and argmax: the shortest loop in Python."""
    import numpy as np

    sessions, vocab, layers = model._parts.sessions, model._parts.vocab, model._layers
    ends = list(model.bundle.manifest.eos_token_ids)

    def loop(ids: list[int], new_tokens: int) -> list[int]:
        length = len(ids)
        caches = [
            np.empty((1, heads, length + new_tokens, size), np.float32) for heads, size in layers for _ in range(2)
        ]
        run, inputs, logits = _bound(sessions, length, caches, vocab)
        inputs["input_ids"][0] = ids
        inputs["seqlens_k"][0], inputs["total_len"][...] = length - 1, length
        inputs["position_ids"][0] = np.arange(length)
        found: list[int] = []
        run()
        run, inputs, after = _bound(sessions, 1, caches, vocab)
        while True:
            logits[0, ends] = -np.inf  # the timed requests ignore end tokens
            found.append(int(logits.argmax()))
            if len(found) == new_tokens:
                return found
            inputs["input_ids"][0, 0] = found[-1]
            inputs["seqlens_k"][0], inputs["total_len"][...] = length, length + 1
            inputs["position_ids"][0, 0] = length
            length += 1
            run()
            logits = after

    return loop


def _bound(sessions: Any, length: int, caches: list[Any], vocab: int) -> tuple[Callable[[], None], dict[str, Any], Any]:
    """A run of every session in turn for one row of `length` tokens, the inputs it reads, and the logits it writes."""
    import numpy as np

    inputs: dict[str, Any] = {
        "input_ids": np.zeros((1, length), np.int64),
        "position_ids": np.zeros((1, length), np.int64),
        "seqlens_k": np.zeros(1, np.int32),
        "total_len": np.zeros((), np.int32),
        "last": np.array([length - 1], np.int64),
    }
    logits = np.empty((1, vocab), np.float32)
    wanted = [{value.name for value in session.get_inputs()} for session in sessions]
    bindings = [session.io_binding() for session in sessions]
    arrays: dict[str, Any] = {"logits": logits}
    for place, cache in enumerate(caches):
        name = f"{place // 2}.{('key', 'value')[place % 2]}"
        arrays[f"present.{name}"] = inputs[f"past_key_values.{name}"] = cache
    crossing = [
        [value.name for value in session.get_outputs() if value.name in names]
        for session, names in zip(sessions, [*wanted[1:], set[str]()], strict=True)
    ]
    for binding, session, names, leaves in zip(bindings, sessions, wanted, crossing, strict=True):
        for name in leaves:  # allocated by the first run
            binding.bind_output(name, "cpu")
        for name in names & inputs.keys():
            _bind(binding.bind_input, name, inputs[name])
        for value in session.get_outputs():
            if value.name in arrays:
                _bind(binding.bind_output, value.name, arrays[value.name])
    joined: list[bool] = []

    def run() -> None:
        for place, (session, binding) in enumerate(zip(sessions, bindings, strict=True)):
            session.run_with_iobinding(binding)
            if crossing[place] and not joined:
                for name, value in zip(crossing[place], binding.get_outputs(), strict=False):
                    binding.bind_ortvalue_output(name, value)
                    bindings[place + 1].bind_ortvalue_input(name, value)
        joined[:] = [True]

    return run, inputs, logits


def _bind(bind: Any, name: str, array: Any) -> None:
    bind(name, "cpu", 0, array.dtype, list(array.shape), array.ctypes.data)


LOOPS: dict[str, Callable[[Any], Loop]] = {"ct2": ct2_loop, "ort": ort_loop}
