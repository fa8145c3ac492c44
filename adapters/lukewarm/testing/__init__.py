"""The contract kit: inherit `TargetContract` in a test of your own target, name it, and run pytest."""

import pytest

pytest.register_assert_rewrite("lukewarm.testing.targets")

from lukewarm.testing.targets import DUPLICATES, Built, TargetContract, echo_project  # noqa: E402 - after the registration

__all__ = ["DUPLICATES", "Built", "TargetContract", "echo_project"]
