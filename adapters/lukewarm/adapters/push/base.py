"""What a push is: a pure plan of steps that can be read before anything happens, and its execution."""

from __future__ import annotations

import abc
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from lukewarm.images.auth import redact
from lukewarm.images.base import Connect
from lukewarm.images.build import Image
from lukewarm.images.reference import is_loopback
from lukewarm.images.registry import Registry
from lukewarm.images.retry import Retry
from lukewarm.predictors.errors import LukewarmError, SpecError, UnsupportedError, unknown
from lukewarm.predictors.spec import ModelSpec

Progress = Callable[[str, float | None], None]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing that will be done. `how` is a method and URL, or a command; a body never holds a secret's value."""

    what: str
    how: str
    body: Mapping[str, Any] | None = None
    upload_bytes: int | None = None  # at most: what the other side already has is not sent


@dataclass(frozen=True, kw_only=True)
class PushInput:
    """Everything a plan depends on. No network, no clock, no credential."""

    spec: ModelSpec
    artifact: Path
    artifact_bytes: int
    image: Image | None = None  # built; None where the provider builds it, or when it could not be built for a dry run
    name: str | None = None  # default: the spec's
    hardware: str | None = None  # a GPU's name or the provider's own; default: the spec's resources
    builder: str = "lukewarm"  # who builds the image: lukewarm, or cog (its command and Docker; Replicate only)
    image_reference: str | None = None  # where the image goes, for providers that pull from the user's registry
    options: Mapping[str, Any] = field(default_factory=dict)  # `targets.<target>.overrides`
    env: Mapping[str, str] = field(default_factory=dict)  # only read for base URLs

    @property
    def deployment_name(self) -> str:
        return self.name or self.spec.name

    @property
    def gpu(self) -> str:
        """What was asked for: a GPU's name, `cpu`, or a provider's own name."""
        return self.hardware or self.spec.resources.gpu or "cpu"


@dataclass(frozen=True, kw_only=True)
class PushPlan:
    """What a push will do, in order."""

    provider: str
    name: str
    hardware: str  # in the provider's words
    price_hardware: str  # in the price catalog's words
    gpu_count: int = 1
    image: str | None = None
    builder: str = "lukewarm"
    artifact: Path
    steps: tuple[Step, ...]
    notes: tuple[str, ...] = ()

    @property
    def upload_bytes(self) -> int | None:
        """Bytes that may leave this machine at most; None if a step's are not known."""
        found = [step.upload_bytes for step in self.steps if step.upload_bytes is not None]
        return sum(found) if found else None


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """Where they were found, and their values, which no repr shows."""

    source: str  # the names of the variables or the file
    values: Mapping[str, str] = field(repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        return tuple(self.values.values())


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """What there is now."""

    provider: str
    name: str
    id: str
    url: str  # where to look at it or call it
    created: bool  # False: an existing one was updated, or there was nothing to do
    image: str | None = None
    version: str | None = None
    uploaded_bytes: int = 0
    next: str = ""  # a first request, for people to copy


@dataclass(frozen=True, kw_only=True)
class Run:
    """What executing needs beside plan and credentials."""

    progress: Progress
    image: Image | None = None
    connect: Connect = Registry
    retry: Retry = field(default_factory=Retry)
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    wait_s: float = 300.0  # for the provider to take in what was pushed


class Provider(abc.ABC):
    """One provider: thin, stateless, importing nothing of its SDK."""

    name: ClassVar[str]
    target: ClassVar[str]  # whose artifact it takes
    needs_image: ClassVar[bool]
    takes_overrides: ClassVar[bool] = False  # `targets.<target>.overrides` are for the provider, not in the artifact
    gone: ClassVar[str] = ""  # why nothing can be pushed there any more
    hardware: ClassVar[Mapping[str, str]] = {}  # GPU name -> the provider's own name

    @abc.abstractmethod
    def plan(self, given: PushInput) -> PushPlan:
        """The steps. Pure. Raises SpecError, UnsupportedError."""

    @abc.abstractmethod
    def credentials(self, env: Mapping[str, str]) -> Credentials:
        """The user's own, from the vendor's variables or files. Raises NotLoggedIn saying where it looked."""

    @abc.abstractmethod
    def run(self, plan: PushPlan, credentials: Credentials, run: Run) -> Deployment:
        """Do it. Every step first looks whether it is done already, so a failed push goes on when it is run again."""

    def execute(self, plan: PushPlan, credentials: Credentials, run: Run) -> Deployment:
        """As `run`, with no secret in any error. Raises NotLoggedIn, ProviderError, StorageError, MissingExtra."""
        try:
            return self.run(plan, credentials, run)
        except LukewarmError as error:
            shown = redact(str(error), credentials.secrets)
            if shown != str(error):
                error.args = (shown,)
                raise error from None  # the cause may carry the unredacted text
            raise

    def hardware_for(self, asked: str) -> tuple[str, str]:
        """(the provider's name, the GPU's name) for either of them. Raises UnsupportedError with those known."""
        for gpu, own in self.hardware.items():
            if asked.lower() in (gpu.lower(), own.lower()):
                return own, gpu
        message = unknown(f"hardware of {self.name}", asked, self.hardware)
        raise UnsupportedError(f"{message}; choose with --hardware")


def base_url(env: Mapping[str, str], variable: str, default: str) -> str:
    """A provider's address, or what its SDK's variable says; unencrypted only on this machine. Raises SpecError."""
    url = (env.get(variable) or default).rstrip("/")
    scheme, _, rest = url.partition("://")
    host = rest.split("/")[0]
    if scheme != "https" and not (scheme == "http" and is_loopback(host)):
        raise SpecError(f"{url!r} is not https; a token is only sent encrypted, or to this machine itself", variable)
    return url


def image_bytes(given: PushInput) -> int | None:
    return given.image.total_bytes if given.image else None
