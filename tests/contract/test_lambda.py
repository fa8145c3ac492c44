"""The contract on the real local server of lambda."""

from __future__ import annotations

import pytest

from lukewarm.testing import DUPLICATES, TargetContract


@pytest.mark.servers
class TestLambda(TargetContract):
    target = "lambda"
    lenient = DUPLICATES | {"byte order mark"}
