"""The contract on the real local server of banana."""

from __future__ import annotations

import pytest

from lukewarm.testing import TargetContract


@pytest.mark.servers
class TestBanana(TargetContract):
    target = "banana"
