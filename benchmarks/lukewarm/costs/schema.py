"""The shape of the catalog's data files: price rows and billing plans, checked as they are read."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

import msgspec

PHASES = ("queue", "pull", "setup", "active", "idle", "teardown")
Grade = Literal["A", "B", "C", "H"]
Unit = Literal[
    "per_second",
    "per_minute",
    "per_hour",
    "per_core_second",
    "per_vcpu_second",
    "per_vcpu_hour",
    "per_gib_second",
    "per_gb_second",
    "per_gb_hour",
    "per_million_requests",
    "per_gb_month",
]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
Usd = Annotated[float, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One dated price: `usd` for one `unit` of `hardware` exactly as billed; None where no figure was found."""

    provider: Name
    product: Name = "standard"
    hardware: Name
    gpus: tuple[Name, ...] = ()
    gpu_count: Count = 1
    vcpu: Positive | None = None
    memory_gib: Positive | None = None
    unit: Unit
    usd: Usd | None
    usd_high: Usd | None = None
    as_of: dt.date
    precision: Literal["day", "month", "year"] = "day"
    grade: Grade
    vcpu_per_unit: Positive = 1
    withdrawn: dt.date | None = None
    availability: str | None = None
    source: Annotated[str, msgspec.Meta(min_length=4)]
    note: str = ""

    def __post_init__(self) -> None:
        if self.usd_high is not None and (self.usd is None or self.usd_high < self.usd):
            raise ValueError("usd_high is below usd")


class Billed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which phases of a container's life cost money; None where the provider does not say."""

    queue: bool | None
    pull: bool | None
    setup: bool | None
    active: bool | None
    idle: bool | None
    teardown: bool | None


class Window(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long an instance stays up without a request, in seconds. `low`/`high` bound it where it is not documented."""

    default: NotNegative | None = None
    min: NotNegative | None = None
    max: NotNegative | None = None
    low: NotNegative | None = None
    high: NotNegative | None = None
    settable: bool = False
    assumed: bool = False
    min_grade: Grade | None = None


class FreeTier(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a month holds for free; off unless asked for."""

    requests: NotNegative = 0
    gb_s: NotNegative = 0
    gib_s: NotNegative = 0
    vcpu_s: NotNegative = 0
    usd_credit: NotNegative = 0


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan refuses; None where no limit is recorded."""

    image_gb: Positive | None = None
    memory_gb: Positive | None = None
    request_s: Positive | None = None
    setup_s: Positive | None = None
    concurrency: Count | None = None
    max_instances: Count | None = None
    gpus_per_container: Count | None = None
    payload_mb: Positive | None = None


class Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The processors and memory that must be taken with a GPU."""

    vcpu: Positive
    memory_gib: Positive


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one provider bills one kind of deployment."""

    provider: Name
    plan: Name
    targets: tuple[Name, ...] = ()
    default: bool = False
    status: Literal["active", "shut_down"] = "active"
    closed_on: dt.date | None = None
    products: tuple[Name, ...]
    idle_products: tuple[Name, ...] = ()
    kind: Literal["scale", "always_on"] = "scale"
    scale_to_zero: bool = True
    keeps_minimum: bool = True
    bundled: bool = True
    gpu: Literal[True, False, "only"] = True
    interruptible: str = ""
    restricted: str = ""
    scope: Literal["instance", "request"] = "instance"
    billed: Billed
    granularity_s: Positive
    rounding: Literal["up"] | None = None
    minimum_s: NotNegative | None = None
    minimum_grade: Grade | None = None
    window_s: Window = Window()
    routing: Literal["queue", "bound"]
    vcpu_per_gb: Positive | None = None
    fees: tuple[Name, ...] = ()
    fees_provider: str = ""
    storage: tuple[Name, ...] = ()
    storage_free_gb: NotNegative = 0
    free_tier: FreeTier = FreeTier()
    limits: Limits = Limits()
    shapes: dict[str, Shape] = {}
    source: Annotated[str, msgspec.Meta(min_length=4)]
    note: str = ""

    @property
    def name(self) -> str:
        """`provider:plan`, the name every table and option uses."""
        return f"{self.provider}:{self.plan}"
