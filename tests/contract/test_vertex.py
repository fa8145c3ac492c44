"""The contract on the real local server of vertex."""

from __future__ import annotations

import pytest

from lukewarm.testing import TargetContract


@pytest.mark.servers
class TestVertex(TargetContract):
    target = "vertex"
    other_meaning = frozenset({"no object: string"})
