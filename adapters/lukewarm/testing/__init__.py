"""The contract kit: inherit `TargetContract` in a test of your own target, name it, and run pytest."""

from lukewarm.testing.targets import Built, TargetContract, echo_project

__all__ = ["Built", "TargetContract", "echo_project"]
