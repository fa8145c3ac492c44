"""Push: one file per provider, each a pure plan and its execution."""

from lukewarm.adapters.push.base import Credentials, Deployment, Provider, PushInput, PushPlan, Run, Step
from lukewarm.predictors.registry import Registry, Row

_P = "lukewarm.adapters.push"
# The attribute is a `Provider` object (base.py). The extra is what a push needs on this machine.
PROVIDERS = Registry(
    "provider",
    "lukewarm.providers",
    (
        Row("replicate", f"{_P}.replicate", "provider", "push"),
        Row("modal", f"{_P}.modal", "provider", "push"),
        Row("runpod", f"{_P}.runpod", "provider", "push"),
        Row("banana", f"{_P}.banana", "provider", "push"),
    ),
)


def plan_push(provider: str, given: PushInput) -> PushPlan:
    """The plan of one provider. Pure. Raises SpecError, UnsupportedError, ProviderError (a provider that is gone)."""
    found: Provider = PROVIDERS.load(provider)
    return found.plan(given)


def execute(plan: PushPlan, credentials: Credentials, run: Run) -> Deployment:
    """Do what a plan says. Raises NotLoggedIn, ProviderError, StorageError, MissingExtra."""
    found: Provider = PROVIDERS.load(plan.provider)
    return found.execute(plan, credentials, run)


__all__ = [
    "PROVIDERS", "Credentials", "Deployment", "Provider", "PushInput", "PushPlan", "Run", "Step", "execute",
    "plan_push",
]  # fmt: skip
