"""Banana: gone. Refuses with the date, and says where its artifact still runs."""

from __future__ import annotations

from collections.abc import Mapping

from lukewarm.adapters.push.base import Credentials, Deployment, Provider, PushInput, PushPlan, Run
from lukewarm.predictors.errors import ProviderError

GONE = (
    "Banana shut down on 2024-03-31: nothing can be pushed there. Its artifact, a Potassium server, runs in any "
    "container (lukewarm build banana); these still take a push: replicate, modal, runpod"
)


class Banana(Provider):
    name = "banana"
    target = "banana"
    needs_image = False
    gone = GONE

    def plan(self, given: PushInput) -> PushPlan:
        raise ProviderError(GONE, reason="unavailable")

    def credentials(self, env: Mapping[str, str]) -> Credentials:
        raise ProviderError(GONE, reason="unavailable")

    def run(self, plan: PushPlan, credentials: Credentials, run: Run) -> Deployment:
        raise ProviderError(GONE, reason="unavailable")


provider = Banana()
