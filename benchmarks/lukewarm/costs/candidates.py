"""Which offers can run a workload at all, and why the others cannot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lukewarm.costs.catalog import Catalog
from lukewarm.costs.evaluate import Workload
from lukewarm.costs.offers import Offer, is_hardware, offers
from lukewarm.costs.schema import Plan, Shape
from lukewarm.predictors.errors import PriceError, unknown

ANY_GPU = "any"


@dataclass(frozen=True)
class Excluded:
    """Something that was ruled out, and the reason."""

    name: str
    reason: str


def candidates(catalog: Catalog, workload: Workload, names: tuple[str, ...] = ()) -> tuple[list[Offer], list[Excluded]]:
    """The cheapest fitting offer per plan and GPU type, and everything that was ruled out.

    `names` narrows the plans (`modal`, `runpod:flex`, a target). Raises PriceError for an unknown provider or GPU.
    """
    check_gpu(catalog, workload.gpu)
    kept: list[Offer] = []
    excluded: list[Excluded] = []
    for plan in _plans(catalog, names):
        if plan.status != "active":
            excluded.append(Excluded(plan.name, f"shut down on {plan.closed_on}"))
        elif plan.restricted and plan.name not in names:
            excluded.append(Excluded(plan.name, plan.restricted))
        else:
            fitting, ruled_out = _of_plan(catalog, plan, workload)
            kept += fitting
            excluded += ruled_out
    return kept, excluded


def check_gpu(catalog: Catalog, gpu: str | None) -> None:
    """PriceError for a GPU that no row and no table of the catalog knows."""
    if gpu is None or gpu == ANY_GPU:
        return
    known = {g for r in (*catalog.rows, *catalog.overlay) for g in r.gpus} | set(catalog.gpus_gb)
    if gpu not in known:
        raise PriceError(unknown("GPU", gpu, known))


def _plans(catalog: Catalog, names: tuple[str, ...]) -> Iterator[Plan]:
    if not names:
        yield from catalog.plans
        return
    chosen: dict[str, Plan] = {}
    for name in names:
        plan = catalog.deployable(name)  # an unknown or closed provider is an error when it is asked for by name
        mine = [plan] if ":" in name else [p for p in catalog.plans if p.provider == plan.provider]
        chosen.update({p.name: p for p in mine})
    yield from chosen.values()


def _of_plan(catalog: Catalog, plan: Plan, workload: Workload) -> tuple[list[Offer], list[Excluded]]:
    wanted = workload.gpu
    if wanted and plan.gpu is False:
        return [], [Excluded(plan.name, "offers no GPU")]
    if not wanted and plan.gpu == "only":
        return [], [Excluded(plan.name, "offers GPUs only")]
    if reason := plan_limit(plan, workload):
        return [], [Excluded(plan.name, reason)]
    named = [r for r in catalog.current(plan) if is_hardware(plan, r) and _matches(r.gpus, wanted)]
    if not named:
        what = "a GPU" if wanted == ANY_GPU else wanted or "a processor without a GPU"
        return [], [Excluded(plan.name, f"does not offer {what}")]
    excluded = [Excluded(f"{plan.name} {r.hardware}", f"no price known: {r.source}") for r in named if r.usd is None]
    shape = Shape(vcpu=workload.vcpu, memory_gib=workload.memory_gb)
    best: dict[str, Offer] = {}
    for one in offers(catalog, plan, shape):
        if one.hardware not in {r.hardware for r in named}:
            continue
        if reason := misfit(one, workload):
            excluded.append(Excluded(one.name, reason))
        elif (key := one.gpu or "cpu") not in best or one.usd_per_s.high < best[key].usd_per_s.high:
            best[key] = one
    return list(best.values()), excluded


def _matches(gpus: tuple[str, ...], wanted: str | None) -> bool:
    if wanted is None:
        return not gpus
    return bool(gpus) if wanted == ANY_GPU else wanted in gpus


def plan_limit(plan: Plan, workload: Workload) -> str:
    """The reason why a plan's limits rule the workload out, or an empty string."""
    limits = plan.limits
    if limits.image_gb is not None and workload.image_gb > limits.image_gb:
        return f"image of {workload.image_gb:g} GB, at most {limits.image_gb:g}"
    if limits.memory_gb is not None and workload.memory_gb > limits.memory_gb and not plan.shapes:
        return f"memory of {workload.memory_gb:g} GB, at most {limits.memory_gb:g}"
    exec_s = workload.exec.moments.mean
    if limits.request_s is not None and exec_s > limits.request_s:
        return f"a request takes {exec_s:g} s, at most {limits.request_s:g}"
    start_s = workload.cold.length.moments.mean
    if limits.setup_s is not None and start_s > limits.setup_s:
        return f"a start takes {start_s:g} s, at most {limits.setup_s:g}"
    return ""


def misfit(one: Offer, workload: Workload) -> str:
    """The reason why a machine is too small, or an empty string; what the catalog does not know rules nothing out."""
    if one.memory_gib is not None and one.memory_gib < workload.memory_gb:
        return f"memory of {workload.memory_gb:g} GB, the machine has {one.memory_gib:g}"
    if one.vcpu is not None and one.vcpu < workload.vcpu and one.plan.vcpu_per_gb is None:
        return f"{workload.vcpu:g} vCPU, the machine has {one.vcpu:g}"
    if workload.gpu and one.gpu_memory_gb is not None and one.gpu_memory_gb < workload.gpu_memory_gb:
        return f"GPU memory of {workload.gpu_memory_gb:g} GB, {one.gpu} has {one.gpu_memory_gb:g}"
    return ""
