"""The contract on the real local server of cog."""

from __future__ import annotations

import pytest

from lukewarm.testing import DUPLICATES, TargetContract


@pytest.mark.servers
class TestCog(TargetContract):
    target = "cog"
    lenient = DUPLICATES | {
        "unknown key",
        "unknown key: empty",
        "unknown key: not ASCII",
        "unknown key: 10,000 characters",
        "stream: number",
        "items beside a prompt",
    }
