"""The contract on the real local server of bento."""

from __future__ import annotations

import pytest

from lukewarm.testing import TargetContract


@pytest.mark.servers
class TestBento(TargetContract):
    target = "bento"
    hidden = frozenset({"/livez", "/readyz", "/metrics"})  # BentoML answers there itself
