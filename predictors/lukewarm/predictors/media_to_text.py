"""What media to text means on every backend: features of the media, a search, a text; and images.

In the bundle: tokenizer.json, `model/`, options.search (see `text_to_text.Rules`) and options.preprocessor (what counts
of the model's preprocessor_config.json). `speech_to_text.py` says what a sound's model has beside it.
"""

from __future__ import annotations

import abc
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from lukewarm.predictors.errors import RequestError
from lukewarm.predictors.predictor import NEVER, Predictor
from lukewarm.predictors.spec import Task
from lukewarm.predictors.tasks import BinaryRequest, Request, Result, TextToTextResult
from lukewarm.predictors.text_to_text import Hypothesis, Rules, SearchSettings
from lukewarm.predictors.tokenization import Tokenizer

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float32]


_MOST_AT_ONCE = 8  # windows in one run of the model: their features and caches take memory


class MediaToText(Predictor):
    """A backend gives `load` and `run`; the task gives `windows`, `features` and `result`."""

    @abc.abstractmethod
    def load(self) -> None:
        """Load the model. Raises BundleError."""

    @abc.abstractmethod
    def windows(self, request: BinaryRequest) -> list[Any]:
        """What the model reads at once of a request's data, raw. Raises RequestError."""

    @abc.abstractmethod
    def features(self, window: Any) -> FloatArray:
        """What the encoder reads of one window. Raises RequestError."""

    @abc.abstractmethod
    def run(self, features: FloatArray, settings: SearchSettings, cancel: threading.Event) -> list[Hypothesis]:
        """Search for all rows of the features with the same settings."""

    def result(self, request: BinaryRequest, found: Sequence[Hypothesis]) -> Result:
        """The answer from the hypotheses of a request's windows."""
        return TextToTextResult(
            text=self.tokenizer.decode(found[0].tokens).strip(),
            finish_reason=found[0].reason,
            prompt_tokens=0,
            completion_tokens=len(found[0].tokens),
        )

    def setup(self) -> None:
        manifest = self.bundle.manifest
        self.tokenizer = Tokenizer(self.bundle.path("tokenizer.json"), vocab_size=manifest.vocab_size)
        self.rules = Rules.of(self.bundle)
        self.load()

    def predict_batch(self, requests: Sequence[Request], cancel: threading.Event = NEVER) -> list[Result]:
        asked = [request for request in requests if isinstance(request, BinaryRequest)]
        assert len(asked) == len(requests)
        settings = [self.settings(request) for request in asked]
        windows = [self.windows(request) for request in asked]
        places = [(index, place) for index, each in enumerate(windows) for place in range(len(each))]
        found: dict[tuple[int, int], Hypothesis] = {}
        for start in range(0, len(places), _MOST_AT_ONCE):
            part = places[start : start + _MOST_AT_ONCE]
            read = {at: self.features(windows[at[0]][at[1]]) for at in part}
            for alike in _alike(read, settings):
                found |= self._run(alike, read, settings[alike[0][0]], cancel)
        return [
            self.result(request, [found[index, place] for place in range(len(windows[index]))])
            for index, request in enumerate(asked)
        ]

    def _run(
        self, places: list[tuple[int, int]], read: dict[tuple[int, int], FloatArray], settings: SearchSettings,
        cancel: threading.Event,
    ) -> dict[tuple[int, int], Hypothesis]:  # fmt: skip
        import numpy as np

        if cancel.is_set():
            return {at: Hypothesis([], "cancelled") for at in places}
        hypotheses = self.run(np.stack([read[at] for at in places]), settings, cancel)
        return dict(zip(places, hypotheses, strict=True))

    def check(self, request: Request) -> None:
        assert isinstance(request, BinaryRequest)
        self.settings(request)
        self.windows(request)

    def settings(self, request: BinaryRequest) -> SearchSettings:
        """The request's search. Raises RequestError."""
        defaults = self.bundle.manifest.generation
        context = self.bundle.manifest.max_context_tokens
        room = (1 << 20) if context is None else max(1, context - self.prompt_tokens())
        limit = request.max_new_tokens or min(defaults.max_new_tokens or self.rules.max_new_tokens, room)
        if limit > room:
            raise RequestError(
                "too_many_tokens",
                f"max_new_tokens is {limit}; the model's decoder has room for {room}",
                "$.max_new_tokens",
                allowed=f"1 to {room}",
            )
        penalty = 1.0 if defaults.length_penalty is None else defaults.length_penalty
        return SearchSettings(limit, defaults.num_beams or 1, penalty)

    def prompt_tokens(self) -> int:
        return len(self.rules.start_ids)


def _alike(
    read: dict[tuple[int, int], FloatArray], settings: Sequence[SearchSettings]
) -> Iterator[list[tuple[int, int]]]:  # fmt: skip
    """The windows in groups that one run can take: same settings, same shape."""
    groups: dict[Any, list[tuple[int, int]]] = {}
    for at, features in read.items():
        groups.setdefault((settings[at[0]], features.shape), []).append(at)
    yield from groups.values()


class ImageToText(MediaToText):
    """One image, one text."""

    task: ClassVar[Task] = "image-to-text"

    def windows(self, request: BinaryRequest) -> list[Any]:
        from lukewarm.predictors.picture import read_pixels

        return [read_pixels(request.data, self.bundle.manifest.options.get("preprocessor", {}))]

    def features(self, window: Any) -> FloatArray:
        pixels: FloatArray = window
        return pixels
