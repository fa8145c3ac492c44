"""Modelled costs as text tables and as plain data for JSON; every table says that its figures are modelled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from lukewarm.costs.advice import Advice, Option
from lukewarm.costs.band import Band
from lukewarm.costs.catalog import Catalog
from lukewarm.costs.pool import Comparison
from lukewarm.costs.scenarios import Scenario

MODELLED = "modelled from quoted prices"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns of equal width; all but the first are right-aligned if they look like numbers."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(head))]
    out = []
    for line in lines:
        cells = []
        for k, cell in enumerate(line):
            number = k > 0 and cell[:1].isdigit()
            cells.append(cell.rjust(widths[k]) if number else cell.ljust(widths[k]))
        out.append("  ".join(cells).rstrip())
    return "\n".join(out)


def percent(band: Band) -> str:
    low, high = f"{band.low:.1%}", f"{band.high:.1%}"
    return low if low == high else f"{low}-{high}"


def advice_table(advice: Advice, top: int) -> str:
    """The ranked options, the thing to beat, and why the rest was ruled out."""
    head = ("offer", "policy", "USD/month", "+-", "USD/1000", "cold", "p50 s", "p95 s", "p99 s", "break-even/month")
    rows = [_row(o) for o in advice.options[:top]]
    parts = [
        f"{MODELLED}; durations {advice.basis}; a month is 730 hours; a range is low-high where billing is unknown"
    ]
    parts.append(table(head, rows) if rows else "no option meets the goals")
    if len(advice.options) > top:
        parts.append(f"... and {len(advice.options) - top} more (--top)")
    if advice.always_on is not None:
        one = advice.always_on
        parts.append(f"always on, cheapest: {one.offer.name} at {one.usd_month.text()} USD a month")
    missing = sorted({f"{o.offer.plan.name}: {', '.join(o.unpriced)}" for o in advice.options[:top] if o.unpriced})
    if missing:
        parts.append("not in the total, no price known: " + "; ".join(missing))
    risks = sorted({f"{o.offer.plan.name}: {o.offer.plan.interruptible}" for o in advice.options[:top]})
    parts += [f"risk: {r}" for r in risks if not r.endswith(": ")]
    if advice.excluded:
        parts.append("ruled out:\n" + "\n".join(f"  {e.name}: {e.reason}" for e in advice.excluded))
    return "\n\n".join(parts)


def _row(o: Option) -> tuple[str, ...]:
    latency = [o.latency_s[q].text(2) for q in ("p50", "p95", "p99")]
    even = "" if o.break_even is None else f"{o.break_even:,.0f}"
    thousand = (o.usd_per_request * 1000).text(3)
    usd, spread = o.usd_month.text(), f"{o.spread_usd:.2f}"
    return (o.offer.name, o.policy, usd, spread, thousand, percent(o.cold), *latency, even)


def advice_data(advice: Advice, catalog: Catalog) -> dict[str, Any]:
    """An advice as plain data; every figure is modelled, every price row is named."""
    return {
        "kind": "modelled",
        "basis": f"{MODELLED}; durations {advice.basis}",
        "prices_as_of": str(catalog.as_of),
        "options": [option_data(o) for o in advice.options],
        "always_on": option_data(advice.always_on) if advice.always_on else None,
        "excluded": [{"name": e.name, "reason": e.reason} for e in advice.excluded],
        "warnings": list(advice.warnings),
    }


def option_data(o: Option) -> dict[str, Any]:
    return {
        "plan": o.offer.plan.name,
        "hardware": o.offer.hardware,
        "policy": o.policy,
        "window_s": None if o.offer.plan.kind == "always_on" else _ends(o.window_s),
        "usd_month": _ends(o.usd_month),
        "usd_month_spread": o.spread_usd,
        "usd_per_request": _ends(o.usd_per_request),
        "cold_fraction": _ends(o.cold),
        "latency_s": {name: _ends(b) for name, b in o.latency_s.items()},
        "phases_s_month": {name: _ends(b) for name, b in o.phases_s.items()},
        "instances_peak": o.instances_peak,
        "break_even_requests_month": o.break_even,
        "unpriced": list(o.unpriced),
        "risk": o.offer.plan.interruptible or None,
        "prices": [
            {
                "hardware": r.hardware,
                "unit": r.unit,
                "usd": r.usd,
                "as_of": str(r.as_of),
                "grade": r.grade,
                "source": r.source,
            }
            for r in o.offer.rows
        ],
    }


def _ends(band: Band) -> dict[str, float]:
    return {"low": band.low, "high": band.high}


def scenario_table(found: Sequence[Scenario]) -> str:
    rows = [(s.name, _amount(s), ", ".join(f"{k}={v}" for k, v in s.inputs.items()), s.source) for s in found]
    return f"{MODELLED}\n\n" + table(("scenario", "result", "inputs", "source"), rows)


def _amount(s: Scenario) -> str:
    if s.usd is None:
        return f"{s.ratio} x"
    return f"{s.usd:.2f} USD" if round(s.usd, 2) == s.usd else f"{s.usd} USD"


def pool_table(found: Comparison, top: int) -> str:
    """Shared machines against separate services."""
    shared = [
        (
            s.offer.name,
            str(s.machines),
            s.usd_month.text(),
            f"{s.utilisation:.1%}",
            f"{s.p95_s:.2f}",
            f"{s.cold_fraction:.2%}",
            s.risk,
        )
        for s in found.shared[:top]
    ]
    separate = [(s.plan, s.usd_month.text(), f"{s.p95_s:.2f}", f"{s.cold_fraction:.1%}") for s in found.separate[:top]]
    head = ("one pool for all", "machines", "USD/month", "busy", "p95 s", "cold", "risk")
    parts = [f"{MODELLED}; all models stay in memory; a month is 730 hours"]
    parts.append(table(head, shared) if shared else "no machine of the catalog holds all models at once")
    parts.append(table(("a service for each", "USD/month", "p95 s", "cold"), separate))
    return "\n\n".join(parts)


def pool_data(found: Comparison) -> dict[str, Any]:
    return {
        "kind": "modelled",
        "shared": [
            {
                "offer": s.offer.name,
                "machines": s.machines,
                "usd_month": _ends(s.usd_month),
                "utilisation": s.utilisation,
                "p95_s": s.p95_s,
                "cold_fraction": s.cold_fraction,
                "risk": s.risk or None,
            }
            for s in found.shared
        ],
        "separate": [
            {
                "plan": s.plan,
                "usd_month": _ends(s.usd_month),
                "p95_s": s.p95_s,
                "cold_fraction": s.cold_fraction,
                "each_usd_month": {name: _ends(b) for name, b in s.each_usd.items()},
            }
            for s in found.separate
        ],
    }


def catalog_table(catalog: Catalog) -> str:
    """Every row of the catalog that is valid on its day, and the empty cells."""
    rows = []
    for plan in catalog.plans:
        for row in catalog.current(plan):
            usd = "-" if row.usd is None else f"{row.usd:g}" + (f"-{row.usd_high:g}" if row.usd_high else "")
            rows.append((plan.name, row.hardware, usd, row.unit, str(row.as_of), row.grade, row.source))
    return "quoted prices\n\n" + table(("plan", "hardware", "USD", "unit", "as of", "grade", "source"), rows)
