"""Plots of modelled costs, as PNG and SVG: cost against traffic, cost against p95, cold fraction against the window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lukewarm.costs.advice import Advice, Option
from lukewarm.costs.breakeven import measured
from lukewarm.costs.catalog import SECONDS_PER_MONTH
from lukewarm.costs.closed import mg1_setup
from lukewarm.costs.evaluate import Workload
from lukewarm.costs.price import closed_month
from lukewarm.predictors.errors import MissingExtra, PriceError, StorageError

MOST_LINES = 8
_FULL = 0.95
_NOTE = "modelled from quoted prices; one instance, Poisson arrivals (closed form)"


def write(advice: Advice, workload: Workload, folder: Path, formats: tuple[str, ...] = ("png", "svg")) -> list[Path]:
    """Write the three plots of an advice; returns their paths. Raises PriceError where nothing is left to plot."""
    if not advice.options:
        raise PriceError("no option meets the goals: there is nothing to plot")
    made = {
        "cost-traffic": cost_against_traffic(advice, workload),
        "cost-p95": cost_against_p95(advice),
        "cold-window": cold_against_window(workload),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for name, figure in made.items():
            for kind in formats:
                path = folder / f"{name}.{kind}"
                temporary = folder / f".{name}.{kind}"
                figure.savefig(temporary, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
                temporary.replace(path)
                paths.append(path)
    except OSError as error:
        raise StorageError(f"{folder}: cannot write the plots: {error.strerror}") from error
    return paths


def _figure(title: str, x: str, y: str) -> tuple[Any, Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("matplotlib", "bench") from error
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(True, alpha=0.3)
    return figure, axes


def _one_per_plan(options: tuple[Option, ...]) -> list[Option]:
    """The cheapest option of each plan, few enough to tell their lines apart."""
    best: dict[str, Option] = {}
    for option in options:
        best.setdefault(option.offer.plan.name, option)
    return list(best.values())[:MOST_LINES]


def cost_against_traffic(advice: Advice, workload: Workload) -> Any:
    """USD a month over requests a month on logarithmic axes, with the break-evens against the always-on machine."""
    figure, axes = _figure(f"Cost against traffic\n{_NOTE}", "requests a month", "USD a month")
    times = measured(workload)
    most = _FULL / max(times.exec_s, 1e-6) * SECONDS_PER_MONTH
    traffic = [most * 10 ** (-5 + 5 * k / 60) for k in range(61)]
    scaling = [o for o in advice.options if o.offer.plan.kind == "scale" and not o.kept]
    for option in _one_per_plan(tuple(scaling)):
        bands = [closed_month(option.offer, times, option.window_s.high, r)[0] for r in traffic]
        label = f"{option.offer.name}, {option.window_s.high:,.0f} s"
        (line,) = axes.plot(traffic, [b.high for b in bands], label=label)
        axes.fill_between(traffic, [b.low for b in bands], [b.high for b in bands], color=line.get_color(), alpha=0.2)
        if advice.always_on is not None and option.break_even is not None:
            axes.plot([option.break_even], [advice.always_on.usd_month.low], "o", color=line.get_color())
    if advice.always_on is not None:
        fixed = advice.always_on
        axes.axhline(fixed.usd_month.high, color="black", linestyle="--", label=f"always on: {fixed.offer.name}")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.legend(fontsize=7)
    return figure


def pareto(options: tuple[Option, ...]) -> list[Option]:
    """The options that no other beats on both cost and p95, by rising cost."""
    front: list[Option] = []
    for option in sorted(options, key=lambda o: (o.usd_month.high, o.latency_s["p95"].high)):
        if not front or option.latency_s["p95"].high < front[-1].latency_s["p95"].high:
            front.append(option)
    return front


def cost_against_p95(advice: Advice) -> Any:
    """Every option as a point, and the front of those that nothing beats."""
    figure, axes = _figure("Cost against p95 (simulated)\nmodelled from quoted prices", "p95 latency, s", "USD a month")
    for kind, marker in (("scale", "o"), ("always_on", "s")):
        mine = [o for o in advice.options if o.offer.plan.kind == kind]
        x, y = [o.latency_s["p95"].high for o in mine], [o.usd_month.high for o in mine]
        axes.scatter(x, y, marker=marker, alpha=0.5, label=kind.replace("_", " "))
    front = pareto(advice.options)[::-1]  # by rising p95: a step is the least that the p95 to its left can be had for
    x, y = [o.latency_s["p95"].high for o in front], [o.usd_month.high for o in front]
    axes.plot(x, y, color="black", drawstyle="steps-post", label="nothing is better on both")
    axes.margins(x=0.12)
    for option in front:
        at = (option.latency_s["p95"].high, option.usd_month.high)
        side = {"ha": "right", "xytext": (-5, 4)} if at[0] > max(x) / 2 else {"ha": "left", "xytext": (5, 4)}
        text = f"{option.offer.name}\n{option.policy}"
        axes.annotate(text, at, fontsize=6, textcoords="offset points", **side)
    axes.set_yscale("log")
    axes.legend(fontsize=7)
    return figure


def cold_against_window(workload: Workload) -> Any:
    """The fraction of requests that wait for a start over the idle window, for several traffics."""
    figure, axes = _figure(f"Cold fraction against the idle window\n{_NOTE}", "idle window, s", "cold fraction")
    windows = [10 ** (4 * k / 80) for k in range(81)]
    service, setup = workload.exec.moments, workload.cold.length.moments
    for requests in (100, 1_000, 10_000, 100_000, 1_000_000):
        rate = requests / SECONDS_PER_MONTH
        if rate * service.mean < _FULL:
            cold = [mg1_setup(rate, service, setup, w).cold_fraction for w in windows]
            axes.plot(windows, cold, label=f"{requests:,} requests a month")
    axes.set_xscale("log")
    axes.set_ylim(0, 1.02)
    axes.legend(fontsize=7)
    return figure
