"""Published figures as named scenarios: each is computed from the catalog and must come out to the cent."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

from lukewarm.costs.band import Band
from lukewarm.costs.billing import Usage, bill
from lukewarm.costs.catalog import HOURS_PER_MONTH, Catalog, load
from lukewarm.costs.offers import Offer, offer
from lukewarm.costs.schema import Shape
from lukewarm.predictors.errors import PriceError, unknown

_DAYS_30_S = 30 * 86400.0
_ML6 = "https://blog.ml6.eu (2022-05-18), Cloud Run, always on: 57.02 and 134.78 USD a month, 2.4 times"
_MEINKE = "https://www.alexmeinke.de/2022/03/16/serverless-deploy-image-to-text.html"


@dataclass(frozen=True)
class Scenario:
    """One published figure: `usd` as computed here, `ratio` where it is one, and what went in."""

    name: str
    usd: float | None
    ratio: float | None
    inputs: dict[str, float | str]
    source: str


def _usd(value: Band) -> float:
    return round(value.high, 2)


def _cloud_run(catalog: Catalog, vcpu: float, memory_gib: float) -> float:
    """Instance-based, 30 days of 24 hours, no free tier: what the source computes."""
    one = offer(catalog, catalog.plan("cloud_run:instance"), "cpu", Shape(vcpu=vcpu, memory_gib=memory_gib))
    return _usd(bill(one, Usage(Band.exact(_DAYS_30_S), 0)).total)


def _cloud_run_inputs(vcpu: float, memory_gib: float) -> dict[str, float | str]:
    return {"vcpu": vcpu, "memory_gib": memory_gib, "seconds": _DAYS_30_S, "billing": "instance, no free tier"}


def _small(catalog: Catalog) -> Scenario:
    usd = _cloud_run(catalog, 1, 2)
    return Scenario("cloud-run-1-2", usd, None, _cloud_run_inputs(1, 2), _ML6)


def _large(catalog: Catalog) -> Scenario:
    usd = _cloud_run(catalog, 2, 8)
    return Scenario("cloud-run-2-8", usd, None, _cloud_run_inputs(2, 8), _ML6)


def _cloud_run_ratio(catalog: Catalog) -> Scenario:
    small, large = _cloud_run(catalog, 1, 2), _cloud_run(catalog, 2, 8)
    exact = round(large / small, 4)
    inputs: dict[str, float | str] = {"usd_2_vcpu_8_gib": large, "usd_1_vcpu_2_gib": small, "ratio_unrounded": exact}
    return Scenario("cloud-run-ratio", None, round(exact, 1), inputs, _ML6)


def _lambda(catalog: Catalog) -> Scenario:
    one = _lambda_offer(catalog)
    usd = _usd(one.usd_per_s * (10_000 * 10.0))
    inputs: dict[str, float | str] = {
        "requests": 10_000,
        "seconds_each": 10,
        "memory_gb": 1,
        "free_tier": "not counted",
    }
    return Scenario("lambda-10k", usd, None, inputs, f"{_MEINKE}: 1.67 USD a month")


def _lambda_offer(catalog: Catalog) -> Offer:
    return offer(catalog, catalog.plan("aws_lambda"), "x86_64", Shape(vcpu=1, memory_gib=1))


def _registry(catalog: Catalog) -> Scenario:
    usd = _fee(catalog, "registry_storage") * 2
    return Scenario("lambda-registry", round(usd, 2), None, {"image_gb": 2}, f"{_MEINKE}: 0.20 USD a month")


def _file_system(catalog: Catalog) -> Scenario:
    usd = _fee(catalog, "file_system_one_zone") * 2.5
    inputs: dict[str, float | str] = {
        "stored_gb": 2.5,
        "class": "one zone",
        "note": "the source says 'just over 2 GB' and 0.40 USD; size and storage class are inferred from these two",
    }
    return Scenario("lambda-file-system", round(usd, 2), None, inputs, f"{_MEINKE}: 0.40 USD a month")


def _gateway(catalog: Catalog) -> Scenario:
    usd = _fee(catalog, "api_gateway_rest") * 10_000 / 1e6
    inputs: dict[str, float | str] = {"requests": 10_000, "kind": "REST API"}
    return Scenario("lambda-gateway", round(usd, 3), None, inputs, f"{_MEINKE}: under 0.04 USD a month")


def _fee(catalog: Catalog, name: str) -> float:
    usd = catalog.row("aws_fees", "fees", name).usd
    if usd is None:
        raise PriceError(f"the catalog has no price for {name}")
    return usd


def _g4dn(catalog: Catalog) -> Scenario:
    one = offer(catalog, catalog.plan("aws_ec2"), "g4dn.xlarge")
    usd = _usd(one.usd_per_hour * HOURS_PER_MONTH)
    inputs: dict[str, float | str] = {"usd_per_hour": one.usd_per_hour.high, "hours": HOURS_PER_MONTH}
    source = "https://efficientnlp.com, a side project on a budget (about 2023): about 400 USD a month"
    return Scenario("g4dn-always-on", usd, None, inputs, source)


def _sagemaker(catalog: Catalog) -> Scenario:
    managed = offer(catalog, catalog.plan("sagemaker:realtime"), "ml.g4dn.xlarge").usd_per_hour.high
    plain = offer(catalog, catalog.plan("aws_ec2"), "g4dn.xlarge").usd_per_hour.high
    inputs: dict[str, float | str] = {"usd_per_hour_ml_g4dn_xlarge": managed, "usd_per_hour_g4dn_xlarge": plain}
    source = "Cortex, on what SageMaker costs over EC2: about 40 % (FSDL 2022 says 50 to 100 %)"
    return Scenario("sagemaker-ec2", None, round(managed / plain, 2), inputs, source)


def _fargate(catalog: Catalog) -> Scenario:
    row = catalog.row("aws_fargate", "on_demand", "cpu")
    if row.usd is None:
        raise PriceError("the catalog has no price for Fargate")
    inputs: dict[str, float | str] = {"vcpu": 1, "hours": HOURS_PER_MONTH, "usd_per_vcpu_hour": row.usd}
    source = "Cortex: 0.04048 USD per vCPU-hour (US West)"
    return Scenario("fargate-vcpu-month", round(row.usd * HOURS_PER_MONTH, 2), None, inputs, source)


SCENARIOS: dict[str, Callable[[Catalog], Scenario]] = {
    "cloud-run-1-2": _small,
    "cloud-run-2-8": _large,
    "cloud-run-ratio": _cloud_run_ratio,
    "lambda-10k": _lambda,
    "lambda-registry": _registry,
    "lambda-file-system": _file_system,
    "lambda-gateway": _gateway,
    "g4dn-always-on": _g4dn,
    "sagemaker-ec2": _sagemaker,
    "fargate-vcpu-month": _fargate,
}
AS_OF = dt.date(2026, 11, 24)  # the day whose catalog these figures are checked against


def run(name: str, catalog: Catalog | None = None) -> list[Scenario]:
    """One scenario, or `all`. Raises PriceError for an unknown name."""
    if name != "all" and name not in SCENARIOS:
        raise PriceError(unknown("scenario", name, [*SCENARIOS, "all"]))
    catalog = catalog or load(AS_OF)
    return [make(catalog) for key, make in SCENARIOS.items() if name in (key, "all")]
