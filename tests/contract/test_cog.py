"""The contract on the real local server of cog."""

from __future__ import annotations

import pytest

from lukewarm.testing import TargetContract


@pytest.mark.servers
class TestCog(TargetContract):
    target = "cog"
