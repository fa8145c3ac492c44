"""The contract on the real local server of kserve."""

from __future__ import annotations

import pytest

from lukewarm.testing import TargetContract


@pytest.mark.servers
class TestKServe(TargetContract):
    target = "kserve"
