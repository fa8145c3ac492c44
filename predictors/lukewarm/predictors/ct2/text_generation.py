"""Text generation with CTranslate2.

The bundle's `model/` is what its converters write; vocabulary.json must list the tokens of tokenizer.json in the order
of their ids (`check_vocabulary`).

How its C++ loop (4.x) is held to the meaning of `tasks.TextGenerationRequest`:
  temperature, top-k, top-p  natively: it takes top-k before the temperature, which leaves the same tokens
  stop, cancel, length       in the callback that it makes for every token, by the same `Row` as on all backends
  repetition penalty         natively, but it counts only tokens that its loop went through. With a penalty the prompt
                             is walked token by token, as slow as generating it, and where the prompt's first token
                             would be chosen without having been counted, `exact.decide` puts it right
  seed                       its random numbers are per thread and seeded once, so a seeded request is sampled by
                             `exact.generate`: several times slower, and equal to the other backends; so are the few
                             requests whose penalty cannot be put right afterwards (`_needs_exact`)
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from lukewarm.predictors.ct2.loading import close_at_exit, library, load_model
from lukewarm.predictors.errors import BundleError
from lukewarm.predictors.generation import Row, TextGenerator
from lukewarm.predictors.startup import beside, read_ahead
from lukewarm.predictors.tokenization import Tokenizer

if TYPE_CHECKING:
    from lukewarm.predictors.generation import FloatArray

Emit = Callable[[Row, str], None]


class Ct2TextGenerator(TextGenerator):
    """fp32, int8, int8w, fp16 or bf16 on a CPU or a CUDA device; `Runtime.options` go to `ctranslate2.Generator`."""

    def load(self) -> Callable[[], object]:
        folder = self.bundle.root / "model"
        read_ahead(folder / "model.bin")
        library()

        self._closing = threading.Event()
        self._running = threading.Lock()
        close_at_exit(self)

        def open_model() -> None:
            self._generator: Any = load_model("Generator", folder, self.bundle.manifest.precision, self.runtime)

        return beside(open_model)

    def close(self) -> None:
        """End a run that may be under way, and free the model."""
        self._closing.set()
        with self._running:
            self._generator = None

    def score(self, token_ids: Sequence[int]) -> FloatArray:
        from lukewarm.predictors.ct2.exact import to_numpy

        logits: FloatArray = to_numpy(self._generator.forward_batch([list(token_ids)]))[0]
        return logits

    def run(self, rows: Sequence[Row], cancel: threading.Event) -> Iterator[tuple[Row, str]]:
        """As `complete`, with the texts handed over from a thread of their own; closing the iterator ends the run."""
        pieces: queue.SimpleQueue[tuple[Row, str] | BaseException | None] = queue.SimpleQueue()
        abandoned = _AnySet(cancel)

        def work() -> None:
            try:
                self.complete(rows, abandoned, lambda row, text: pieces.put((row, text)))
                pieces.put(None)
            except BaseException as error:  # noqa: BLE001 - crosses threads, raised again below
                pieces.put(error)

        thread = threading.Thread(target=work, name="lukewarm-ct2", daemon=True)
        thread.start()
        try:
            while (piece := pieces.get()) is not None:
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
        finally:
            abandoned.set()
            thread.join()

    def complete(self, rows: Sequence[Row], cancel: threading.Event, emit: Emit | None = None) -> None:
        """Generate until every row has its `finish`, in this thread; CTranslate2 lets other threads run meanwhile."""
        with self._running:
            self._complete(rows, _AnySet(cancel, self._closing), emit or _ignore)

    def _complete(self, rows: Sequence[Row], cancel: threading.Event, emit: Emit) -> None:
        while open_rows := [row for row in rows if row.finish is None]:
            if cancel.is_set():
                for row in open_rows:
                    emit(row, row.end("cancelled"))
                return
            by_us = [row for row in open_rows if self._needs_exact(row)]
            if not by_us:
                self._run_alike(_alike(open_rows), cancel, emit)
            for row in by_us:
                from lukewarm.predictors.ct2 import exact

                exact.generate(self._generator, row, self._spell, cancel, emit)

    def _run_alike(self, rows: list[Row], cancel: threading.Event, emit: Emit) -> None:
        """One run of rows with equal settings. A row may come back open: to be corrected, and to be run again."""
        settings = rows[0].settings
        contexts = [row.prompt_ids + row.tokens for row in rows]
        penalty = settings.repetition_penalty != 1
        # CTranslate2 returns and counts the prompt if asked to, and unasked if any prompt has only one token
        walked = penalty or min(map(len, contexts)) == 1
        skips = [len(context) - 1 if walked else 0 for context in contexts]
        watch = _Watch(rows, skips, cancel, emit)
        limit = max(skip + row.settings.max_new_tokens - len(row.tokens) for row, skip in zip(rows, skips, strict=True))
        self._generator.generate_batch(
            [self._spell(context) for context in contexts],
            max_length=limit,
            min_length=limit if settings.ignore_eos else 0,
            end_token=sorted(settings.end_ids),
            sampling_topk=1 if settings.greedy else self._top_k(settings.top_k),
            sampling_topp=settings.top_p,
            sampling_temperature=settings.temperature or 1.0,
            repetition_penalty=settings.repetition_penalty,
            include_prompt_in_result=penalty,
            callback=watch,
        )
        watch.raise_error()
        for row in watch.uncounted:
            from lukewarm.predictors.ct2 import exact

            logits = self.score(row.prompt_ids + row.tokens)[-1]
            emit(row, row.push(exact.decide(logits, row)))

    def _top_k(self, wanted: int) -> int:
        """CTranslate2 refuses more than there are tokens; its 0 is all, as ours."""
        return wanted if wanted < (self.bundle.manifest.vocab_size or self.tokenizer.size) else 0

    def _needs_exact(self, row: Row) -> bool:
        """Seeded sampling; and a penalty whose miss of the first token would show in other tokens' chances.

        A special first token (a start token) may stay uncounted in top-p's sum: models do not write it.
        """
        settings = row.settings
        if settings.seed is not None and not settings.greedy:
            return True
        if settings.repetition_penalty == 1 or not _first_is_uncounted(row):
            return False
        moves_edge = settings.top_p < 1 and not settings.greedy and not self.tokenizer.is_special(row.prompt_ids[0])
        return settings.repetition_penalty < 1 or moves_edge

    def _spell(self, ids: Sequence[int]) -> list[str]:
        return [self.tokenizer.token(token_id) or "" for token_id in ids]


class _Watch:
    """What CTranslate2 calls back for each token of each row; its answer ends the row."""

    def __init__(self, rows: Sequence[Row], skips: Sequence[int], cancel: threading.Event, emit: Emit) -> None:
        self._rows = rows
        self._skips = list(skips)
        self._cancel = cancel
        self._emit = emit
        self._error: BaseException | None = None
        self.uncounted: list[Row] = []  # rows about to take their prompt's first token, which the penalty has missed

    def __call__(self, step: Any) -> bool:
        try:
            return self._take(step.batch_id, step.token_id)
        except BaseException as error:  # noqa: BLE001 - must not fly through C++; raised again after the run
            self._error = error
            return True

    def raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _take(self, index: int, token: int) -> bool:
        if self._cancel.is_set():
            return True
        if self._skips[index]:
            self._skips[index] -= 1
            return False
        row = self._rows[index]
        if row.settings.repetition_penalty != 1 and token == row.prompt_ids[0] and _first_is_uncounted(row):
            self.uncounted.append(row)
            return True
        text = row.push(token)
        if text or row.finish is not None:
            self._emit(row, text)
        return row.finish is not None


class _AnySet(threading.Event):
    """An event of its own that also counts as set when one of others is."""

    def __init__(self, *others: threading.Event) -> None:
        super().__init__()
        self._others = others

    def is_set(self) -> bool:
        return super().is_set() or any(other.is_set() for other in self._others)


def _ignore(row: Row, text: str) -> None:
    pass


def _first_is_uncounted(row: Row) -> bool:
    first = row.prompt_ids[0]
    return first not in row.prompt_ids[1:] and first not in row.tokens


def _alike(rows: Sequence[Row]) -> list[Row]:
    """The rows that CTranslate2 can run together with the first: it takes one set of options for a batch."""

    def options(row: Row) -> tuple[object, ...]:
        s = row.settings
        sampling = () if s.greedy else (s.temperature, s.top_k, s.top_p)
        return (sampling, s.repetition_penalty, s.ignore_eos, s.end_ids)

    return [row for row in rows if options(row) == options(rows[0])]


def check_vocabulary(folder: Path, tokenizer: Tokenizer) -> None:
    """Raise BundleError unless the model's vocabulary.json agrees with the tokenizer. For converters."""
    tokens: list[str] = msgspec.json.decode((folder / "vocabulary.json").read_bytes())
    for token_id, token in enumerate(tokens):
        if (spelling := tokenizer.token(token_id)) not in (token, None):
            raise BundleError(
                f"token {token_id} is {token!r} in {folder / 'vocabulary.json'}, {spelling!r} in tokenizer.json"
            )
