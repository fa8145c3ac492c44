"""The contract on the real local server of sagemaker."""

from __future__ import annotations

import pytest

from lukewarm.testing import TargetContract


@pytest.mark.servers
class TestSageMaker(TargetContract):
    target = "sagemaker"
