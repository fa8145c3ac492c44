"""The contract kit: inherit `TargetContract` in a test of your own target, name it, and run pytest."""

import pytest

pytest.register_assert_rewrite(
    "lukewarm.testing.targets", "lukewarm.testing.clients", "lukewarm.testing.openai_client", "lukewarm.testing.load"
)

from lukewarm.testing.project import Built, echo_project  # noqa: E402 - after the registration
from lukewarm.testing.targets import DUPLICATES, TargetContract  # noqa: E402

__all__ = ["DUPLICATES", "Built", "TargetContract", "echo_project"]
