"""The contract on the real local server of kserve."""

from __future__ import annotations

import pytest

from lukewarm.testing import TargetContract


@pytest.mark.servers
class TestKServe(TargetContract):
    target = "kserve"
    other_meaning = frozenset({"prompt: list", "prompt: object", "max_new_tokens: text"})
