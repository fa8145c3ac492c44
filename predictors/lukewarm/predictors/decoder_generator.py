"""Text generation over a `Decoder`: sampling, stop, seed, stream and cancel are one code path in numpy."""

from __future__ import annotations

import abc
import threading
from collections.abc import Iterator, Sequence

from lukewarm.predictors.generation import Decoder, Row, TextGenerator


class DecoderGenerator(TextGenerator):
    """A TextGenerator whose runtime brings a `Decoder`, and no loop of its own."""

    interleaves = True  # a decoder of its own per run holds all of the run's state

    @abc.abstractmethod
    def decoder(self, cancel: threading.Event) -> Decoder:
        """A fresh decoder for one run."""

    def run(self, rows: Sequence[Row], cancel: threading.Event) -> Iterator[tuple[Row, str]]:
        from lukewarm.predictors.decoding import generate  # numpy: a cold start imports it beside the load

        return generate(self.decoder(cancel), rows, cancel)
