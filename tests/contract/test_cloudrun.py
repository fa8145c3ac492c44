"""The contract on the real local server of cloudrun."""

from __future__ import annotations

from pathlib import Path

import pytest

from lukewarm.adapters.base import Adapter
from lukewarm.testing import TargetContract


@pytest.mark.servers
class TestCloudRun(TargetContract):
    target = "cloudrun"
    fuzz_all = True

    def test_the_openai_client_embeds(self, adapter: Adapter, tmp_path: Path) -> None:  # the others: make test-fuzz
        super().test_the_openai_client_embeds(adapter, tmp_path)
