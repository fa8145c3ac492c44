"""The contract on the real local server of modal."""

from __future__ import annotations

import pytest

from lukewarm.testing import TargetContract


@pytest.mark.servers
class TestModal(TargetContract):
    target = "modal"
