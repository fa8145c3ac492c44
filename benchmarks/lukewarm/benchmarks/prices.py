"""Prices measured rows on a first set of providers: MODELLED from quoted prices, one record per row and provider."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from lukewarm.benchmarks.record import Price, Record, digest
from lukewarm.benchmarks.rounds import now
from lukewarm.predictors.errors import PriceError
from lukewarm.predictors.spec import ModelSpec

# Processors only: a duration measured on a processor says nothing about a GPU's.
PROVIDERS = (
    ("modal", "cpu"),
    ("aws_lambda", "x86_64"),
    ("cloud_run:request", "cpu"),
    ("replicate:public", "cpu"),
    ("cerebrium", "cpu"),
)
REQUESTS_PER_MONTH = 10_000.0
NOTE = (
    "modelled from quoted prices: start without image pull and provider overhead, request of the measured length, "
    "on the spec's processors and memory as if they were this machine's"
)


def price(records: Iterable[Record], spec: ModelSpec) -> tuple[list[Record], list[str]]:
    """A modelled record per measured row and provider, and one sentence per provider that has no price for it."""
    from lukewarm.costs import catalog as catalogs
    from lukewarm.costs.price import Measured, price_measured

    catalog = catalogs.load()
    made: list[Record] = []
    missing: dict[str, str] = {}
    for row in records:
        if row.kind != "measured" or row.phases is None or not row.warm:
            continue
        measured = Measured(
            cold_start_s=row.phases.total.median,
            exec_s=row.warm[0].latency.median,
            vcpu=spec.resources.cpu,
            memory_gib=spec.resources.memory_gb,
        )
        for provider, hardware in PROVIDERS:
            try:
                priced = price_measured(catalog, provider, hardware, measured, requests_per_month=REQUESTS_PER_MONTH)
            except PriceError as error:
                missing[provider] = str(error)
                continue
            month, cold = priced.month_usd, priced.cold_fraction
            made.append(
                _record(
                    row,
                    Price(
                        provider=priced.provider,
                        hardware=priced.hardware,
                        warm_usd=(priced.warm_usd.low, priced.warm_usd.high),
                        cold_usd=(priced.cold_usd.low, priced.cold_usd.high),
                        idle_usd=(priced.idle_usd.low, priced.idle_usd.high),
                        month_usd=(month.low, month.high) if month else None,
                        cold_fraction=(cold.low, cold.high) if cold else None,
                        requests_per_month=REQUESTS_PER_MONTH,
                        prices_as_of=str(catalog.as_of),
                        note=NOTE,
                    ),
                )
            )
    return made, [f"{provider}: {why}" for provider, why in sorted(missing.items())]


def _record(row: Record, priced: Price) -> Record:
    return Record(
        schema=row.schema,
        kind="modelled",
        suite=row.suite,
        key=digest("price", row.key, priced.provider, priced.hardware),
        case=row.case,
        date=now(),
        settings=row.settings,
        bundle_digest=row.bundle_digest,
        machine=row.machine,
        price=msgspec.structs.replace(priced, note=f"{priced.note} (measured record {row.key})"),
    )
