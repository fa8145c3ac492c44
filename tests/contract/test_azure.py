"""The contract on the real local server of azure."""

from __future__ import annotations

import pytest

from lukewarm.testing import TargetContract


@pytest.mark.servers
class TestAzure(TargetContract):
    target = "azure"
    other_meaning = frozenset({"no object: string", "no object: array"})
