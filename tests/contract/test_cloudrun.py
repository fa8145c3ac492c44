"""The contract on the real local server of cloudrun."""

from __future__ import annotations

import pytest

from lukewarm.testing import TargetContract


@pytest.mark.servers
class TestCloudRun(TargetContract):
    target = "cloudrun"
    fuzz_all = True
