"""The contract on the real local server of runpod."""

from __future__ import annotations

import pytest

from lukewarm.testing import DUPLICATES, TargetContract


@pytest.mark.servers
class TestRunpod(TargetContract):
    target = "runpod"
    lenient = DUPLICATES
