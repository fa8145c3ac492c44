"""Push: one file per provider, each a pure plan and its execution."""

from lukewarm.adapters.push.base import Credentials, Deployment, Provider, PushInput, PushPlan, Run, Step
from lukewarm.predictors.errors import UnsupportedError
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
    return provider_of(provider).plan(given)


def execute(plan: PushPlan, credentials: Credentials, run: Run) -> Deployment:
    """Do what a plan says. Raises NotLoggedIn, ProviderError, StorageError, MissingExtra."""
    return provider_of(plan.provider).execute(plan, credentials, run)


def provider_of(name: str) -> Provider:
    """The row's object. Raises UnsupportedError for another package's row that brings prices only."""
    found = PROVIDERS.load(name)
    if not isinstance(found, Provider):
        raise UnsupportedError(f"provider {name!r} has prices for `lukewarm cost`, but nothing to push with")
    return found


__all__ = [
    "PROVIDERS", "Credentials", "Deployment", "Provider", "PushInput", "PushPlan", "Run", "Step", "execute",
    "plan_push", "provider_of",
]  # fmt: skip
