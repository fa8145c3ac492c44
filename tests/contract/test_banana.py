"""The contract on the real local server of banana."""

from __future__ import annotations

import pytest

from lukewarm.testing import DUPLICATES, TargetContract


@pytest.mark.servers
class TestBanana(TargetContract):
    target = "banana"
    lenient = DUPLICATES | {"byte order mark", "UTF-16"}
