"""The contract on the real local server of hf-endpoints."""

from __future__ import annotations

import pytest

from lukewarm.testing import DUPLICATES, TargetContract


@pytest.mark.servers
class TestHfEndpoints(TargetContract):
    target = "hf-endpoints"
    lenient = DUPLICATES
    other_meaning = frozenset({"no object: string"})
