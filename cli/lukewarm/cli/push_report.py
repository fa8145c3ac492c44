"""What `lukewarm push` prints: the plan as a table, its price with date and source, and what there is afterwards."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click
import msgspec

from lukewarm.predictors.errors import PriceError
from lukewarm.predictors.spec import ModelSpec

if TYPE_CHECKING:
    from lukewarm.adapters.push import Deployment, PushInput, PushPlan

HOURS_PER_MONTH = 730.0


@dataclass(frozen=True, kw_only=True)
class Price:
    """What the provider lists for the plan's hardware: `quoted` is theirs, `modelled` computed from it."""

    usd_per_second: tuple[float, float] | None = None  # low, high
    usd_per_hour: tuple[float, float] | None = None
    usd_per_request: tuple[float, float] | None = None  # besides time
    floor_usd_per_month: float | None = None  # modelled: instances that are always kept
    billed: tuple[str, ...] = ()  # phases that cost money
    unclear: tuple[str, ...] = ()  # phases that the provider does not say
    rows: tuple[dict[str, str], ...] = ()  # hardware, date, source, grade
    plan: str = ""
    missing: str = ""  # why there is no price
    mark: str = field(default="quoted")


def price(plan: PushPlan, spec: ModelSpec) -> Price:
    """The price of the plan's hardware out of the catalog; without one, why not. Never raises for a missing price."""
    try:
        from lukewarm.costs import catalog, offers
        from lukewarm.costs.schema import Shape
    except ImportError as error:
        return Price(missing=f"the price catalog is not installed ({error.name})")
    try:
        prices = catalog.load()
        billing = prices.deployable(plan.provider)
        shape = Shape(vcpu=spec.resources.cpu, memory_gib=spec.resources.memory_gb)
        offer = offers.offer(prices, billing, plan.price_hardware, shape)
    except PriceError as error:
        return Price(missing=str(error))
    count = plan.gpu_count if plan.price_hardware != "cpu" else 1
    second, hour, request = offer.usd_per_s * float(count), offer.usd_per_hour * float(count), offer.usd_per_request
    phases = msgspec.structs.asdict(billing.billed)
    kept = spec.scaling.min_instances
    return Price(
        usd_per_second=(second.low, second.high), usd_per_hour=(hour.low, hour.high),
        usd_per_request=(request.low, request.high) if request.high else None,
        floor_usd_per_month=kept * hour.low * HOURS_PER_MONTH if kept else None,
        billed=tuple(name for name, paid in phases.items() if paid),
        unclear=tuple(name for name, paid in phases.items() if paid is None),
        rows=tuple(
            {"hardware": row.hardware, "as_of": str(row.as_of), "source": row.source, "grade": row.grade}
            for row in dict.fromkeys(offer.rows)
            if row.unit != "per_gb_month"  # volumes, which a push makes none of
        ),
        plan=billing.name,
    )  # fmt: skip


def plan_json(plan: PushPlan, priced: Price, given: PushInput, notes: list[str]) -> dict[str, Any]:
    """Everything a program needs of a plan."""
    parts = given.image.parts if given.image else {}
    return {
        "provider": plan.provider, "name": plan.name, "hardware": plan.hardware, "image": plan.image,
        "image_digest": given.image.manifest.digest if given.image else None,
        "image_bytes": parts, "upload_bytes_at_most": plan.upload_bytes, "artifact": plan.artifact,
        "steps": plan.steps, "price": priced, "notes": notes,
    }  # fmt: skip


def print_plan(plan: PushPlan, priced: Price, given: PushInput, notes: list[str], *, err: bool = False) -> None:
    """The plan as a table, then the image's parts, the price's rows and the notes. `err`: on standard error."""
    say = functools.partial(click.echo, err=err)
    say(f"{plan.provider}: {plan.name} on {plan.hardware}" + (f", image {plan.image}" if plan.image else ""))
    last = len(plan.steps)
    rows: list[tuple[str, ...]] = [("", "what", "bytes", "price")]
    for number, step in enumerate(plan.steps, 1):
        size = "" if step.upload_bytes is None else f"{_size(step.upload_bytes)} at most"
        rows.append((str(number), step.what, size, _short(priced) if number == last else ""))
        rows.append(("", f"  {step.how}", "", ""))
    say(_table(rows))
    if given.image:
        parts = ", ".join(f"{name} {_size(size)}" for name, size in given.image.parts.items())
        say(f"image: {parts} (measured, as they travel); what the registry has already is not sent")
    for line in [*_price_lines(priced), *(f"note: {note}" for note in notes)]:
        say(line)


def print_deployment(deployment: Deployment) -> None:
    """What there is now, and how to try it."""
    done = "made" if deployment.created else "up to date"
    click.echo(f"{deployment.provider}: {deployment.name} is {done}; {_size(deployment.uploaded_bytes)} sent")
    for label, value in (("id", deployment.id), ("url", deployment.url), ("version", deployment.version)):
        if value:
            click.echo(f"  {label:8}{value}")
    if deployment.next:
        click.echo(f"  try     {deployment.next}")


def _short(priced: Price) -> str:
    if priced.usd_per_second is None or priced.usd_per_hour is None:
        return "not known"
    return f"${_band(priced.usd_per_second, 6)}/s = ${_band(priced.usd_per_hour, 2)}/h {priced.mark}"


def _price_lines(priced: Price) -> list[str]:
    if priced.missing:
        return [f"price: not known: {priced.missing}"]
    lines = [f"price: {_short(priced)}, plan {priced.plan}, while: {', '.join(priced.billed)}"]
    if priced.unclear:
        lines[0] += f" (not said for: {', '.join(priced.unclear)})"
    if priced.usd_per_request:
        lines.append(f"  and ${_band(priced.usd_per_request, 7)} a request (quoted)")
    if priced.floor_usd_per_month is not None:
        lines.append(
            f"  kept instances alone: ${priced.floor_usd_per_month:.2f} a month (modelled, {HOURS_PER_MONTH:g} h)"
        )
    lines += [f"  {row['hardware']}: {row['as_of']}, {row['source']} (grade {row['grade']})" for row in priced.rows]
    return lines


def _band(value: tuple[float, float], digits: int) -> str:
    low, high = (f"{number:.{digits}f}" for number in value)
    return low if low == high else f"{low}-{high}"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count / 1e3:.1f} kB"


def _table(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    widths[1] = max(len(row[1]) for row in rows if row[2] or row[3] or not row[1].startswith("  "))
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
