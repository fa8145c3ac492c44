"""Offers: what a second of one provider's hardware costs once GPU, processor and memory meters are added up."""

from __future__ import annotations

from dataclasses import dataclass

from lukewarm.costs.band import ZERO, Band
from lukewarm.costs.catalog import HOURS_PER_MONTH, Catalog
from lukewarm.costs.schema import Plan, Row, Shape
from lukewarm.predictors.errors import PriceError, unknown

# The shapes that are supposed where a caller names none; the first is the one the published per-GPU comparisons use.
GPU_SHAPE = Shape(vcpu=4, memory_gib=16)
CPU_SHAPE = Shape(vcpu=1, memory_gib=2)
_SECONDS = {"per_second": 1.0, "per_minute": 60.0, "per_hour": 3600.0}
_CPU = {"per_core_second": 1.0, "per_vcpu_second": 1.0, "per_vcpu_hour": 3600.0}
_MEMORY = {"per_gib_second": 1.0, "per_gb_second": 1.0, "per_gb_hour": 3600.0}


@dataclass(frozen=True)
class Meter:
    """One running meter: `units` of `kind` (instance_s, vcpu_s, gib_s, gb_s), each `usd` a second."""

    kind: str
    units: float
    usd: Band


@dataclass(frozen=True)
class Offer:
    """One plan on one hardware. Quoted prices only; `rows` are the rows they come from."""

    plan: Plan
    hardware: str
    gpu: str | None
    gpu_memory_gb: float | None
    vcpu: float | None
    memory_gib: float | None
    meters: tuple[Meter, ...]
    idle_usd_per_s: Band
    usd_per_request: Band
    fee_per_request: Band
    fee_per_month: Band
    storage_usd_per_gb: Band
    unpriced: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def usd_per_s(self) -> Band:
        total = ZERO
        for meter in self.meters:
            total += meter.usd * meter.units
        return total

    @property
    def usd_per_hour(self) -> Band:
        return self.usd_per_s * 3600.0

    @property
    def name(self) -> str:
        return f"{self.plan.name} {self.hardware}"


def offers(catalog: Catalog, plan: Plan, shape: Shape | None = None) -> list[Offer]:
    """Every hardware of a plan for which a price is known on the catalog's day."""
    rows = [r for r in catalog.current(plan) if r.usd is not None and is_hardware(plan, r)]
    return [_build(catalog, plan, row, shape) for row in rows]


def offer(catalog: Catalog, plan: Plan, hardware: str, shape: Shape | None = None) -> Offer:
    """The offer for a hardware name or a GPU name (the cheapest machine that has it).

    Raises PriceError for unknown hardware and where the catalog holds no figure.
    """
    rows = [r for r in catalog.current(plan) if is_hardware(plan, r)]
    named = [r for r in rows if r.hardware == hardware] or [r for r in rows if hardware in r.gpus]
    if not named and hardware == "cpu":
        named = [r for r in rows if not r.gpus]
    if not named:
        known = {r.hardware for r in rows} | {g for r in rows for g in r.gpus}
        raise PriceError(unknown(f"hardware of {plan.name}", hardware, known))
    priced = [r for r in named if r.usd is not None]
    if not priced:
        raise PriceError(
            f"the catalog has no price for {plan.name} {hardware}: {named[0].source}; put one in --prices FILE"
        )
    built = [_build(catalog, plan, row, shape) for row in priced]
    return min(built, key=lambda o: o.usd_per_s.high)


def is_hardware(plan: Plan, row: Row) -> bool:
    """Whether a row is something to run on, not a memory, request or storage meter beside it."""
    if row.hardware in ("memory", "requests") or row.unit in ("per_million_requests", "per_gb_month"):
        return False
    return not (plan.gpu == "only" and not row.gpus)


def _build(catalog: Catalog, plan: Plan, row: Row, shape: Shape | None) -> Offer:
    gpu = row.gpus[0] if row.gpus else None
    used = [row]
    vcpu, memory_gib = row.vcpu, row.memory_gib
    if plan.bundled:
        meters = [_meter(row, 1.0)]
    else:
        wanted = _shape(plan, gpu, shape)
        vcpu, memory_gib = wanted.vcpu, wanted.memory_gib
        meters, more = _unbundled(catalog, plan, row, wanted)
        used += more
        if row.unit in _MEMORY and plan.vcpu_per_gb:
            vcpu = memory_gib * plan.vcpu_per_gb
    per_request, request_rows = _request_price(catalog, plan)
    fees = _fees(catalog, plan)
    return Offer(
        plan=plan,
        hardware=row.hardware,
        gpu=gpu,
        gpu_memory_gb=None if gpu is None else catalog.gpus_gb.get(gpu, 0.0) * row.gpu_count or None,
        vcpu=vcpu,
        memory_gib=memory_gib,
        meters=tuple(meters),
        idle_usd_per_s=_idle_rate(catalog, plan, vcpu, meters),
        usd_per_request=per_request,
        fee_per_request=fees.per_request,
        fee_per_month=fees.per_month,
        storage_usd_per_gb=fees.per_gb,
        unpriced=fees.unpriced,
        rows=(*used, *request_rows, *fees.rows),
    )


def _shape(plan: Plan, gpu: str | None, shape: Shape | None) -> Shape:
    """The shape asked for, or the supposed one; never below what the provider makes one take with a GPU."""
    wanted = shape or (GPU_SHAPE if gpu else CPU_SHAPE)
    least = plan.shapes.get(gpu or "")
    if least is None:
        return wanted
    return Shape(vcpu=max(wanted.vcpu, least.vcpu), memory_gib=max(wanted.memory_gib, least.memory_gib))


def _unbundled(catalog: Catalog, plan: Plan, row: Row, shape: Shape) -> tuple[list[Meter], list[Row]]:
    """Meters of a plan that bills processor and memory beside the GPU, or memory alone (Lambda)."""
    if row.unit in _MEMORY:
        return [_meter(row, shape.memory_gib)], []
    meters, rows = ([_meter(row, 1.0)], []) if row.gpus else ([], [])
    for hardware, units in (("cpu", shape.vcpu), ("memory", shape.memory_gib)):
        part = row if hardware == row.hardware else catalog.row(plan.provider, plan.products, hardware)
        meters.append(_meter(part, units))
        rows += [part] if part is not row else []
    return meters, rows


def _meter(row: Row, units: float) -> Meter:
    usd = _usd(row)
    if row.unit in _CPU:
        return Meter("vcpu_s", units / row.vcpu_per_unit, usd * (1.0 / _CPU[row.unit]))
    if row.unit in _MEMORY:
        return Meter("gib_s" if row.unit == "per_gib_second" else "gb_s", units, usd * (1.0 / _MEMORY[row.unit]))
    if row.unit in _SECONDS:
        return Meter("instance_s", units, usd * (1.0 / _SECONDS[row.unit]))
    raise PriceError(f"{row.provider} {row.hardware}: a price {row.unit} is no price of running time")


def _usd(row: Row) -> Band:
    if row.usd is None:
        raise PriceError(f"the catalog has no price for {row.provider} {row.hardware}: {row.source}")
    return Band(row.usd, row.usd if row.usd_high is None else row.usd_high)


def _request_price(catalog: Catalog, plan: Plan) -> tuple[Band, list[Row]]:
    names = {(r.provider, r.product) for r in (*catalog.overlay, *catalog.rows) if r.hardware == "requests"}
    if not any((plan.provider, product) in names for product in plan.products) or plan.gpu == "only":
        return ZERO, []
    row = catalog.row(plan.provider, plan.products, "requests")
    return _usd(row) * 1e-6, [row]


def _idle_rate(catalog: Catalog, plan: Plan, vcpu: float | None, meters: list[Meter]) -> Band:
    """The rate of kept-warm seconds where idle time is free otherwise: a known part, and memory as a band."""
    if not plan.idle_products or vcpu is None:
        return ZERO
    idle = _meter(catalog.row(plan.provider, plan.idle_products, "cpu"), vcpu)
    memory = [m.usd.high * m.units for m in meters if m.kind in ("gib_s", "gb_s")]
    return idle.usd * idle.units + Band(0.0, sum(memory))


@dataclass(frozen=True)
class _Fees:
    per_request: Band = ZERO
    per_month: Band = ZERO
    per_gb: Band = ZERO
    unpriced: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()


def _fees(catalog: Catalog, plan: Plan) -> _Fees:
    """Gateway, load balancer, registry and volume fees of a plan."""
    per_request, per_month, per_gb = ZERO, ZERO, ZERO
    unpriced: list[str] = []
    rows: list[Row] = []
    named = [(plan.fees_provider, "fees", fee) for fee in plan.fees]
    named += [(plan.provider, "storage", volume) for volume in plan.storage]
    for provider, product, hardware in named:
        row = catalog.row(provider, product, hardware)
        if row.usd is None:
            unpriced.append(hardware)
            continue
        rows.append(row)
        if row.unit == "per_million_requests":
            per_request += _usd(row) * 1e-6
        elif row.unit == "per_gb_month":
            per_gb += _usd(row)
        else:
            per_month += _usd(row) * HOURS_PER_MONTH
    return _Fees(per_request, per_month, per_gb, tuple(unpriced), tuple(rows))
