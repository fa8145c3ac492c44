"""`lukewarm cost`: what a model will cost at a given traffic, per provider; modelled from quoted prices."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lukewarm.cli.common import json_option, print_json, progress

if TYPE_CHECKING:
    from lukewarm.costs.advice import Advice, Goals
    from lukewarm.costs.arrivals import Arrivals
    from lukewarm.costs.catalog import Catalog
    from lukewarm.costs.evaluate import Workload

F = TypeVar("F", bound=Callable[..., Any])
FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)
EPILOG = """\b
Durations are a number of seconds, or a law: exp:2.5, lognormal:2.5,0.8 (mean, cv), file:PATH (one value a line),
or a mixture: 0.67*7+0.33*100.

\b
  lukewarm cost --service-s 2 --cold-start-s 20 --pull-s 5 --gpu L4 --memory-gb 16 --requests-per-month 10000
  lukewarm cost --records report/records.jsonl --requests-per-month 3000 --profile working-hours --slo-p95 5
  lukewarm cost --tune --service-s 2 --cold-start-s 20 --log access.log --max-cold 0.05
  lukewarm cost --scenario all --json"""


def _options(*groups: list[Callable[[F], F]]) -> Callable[[F], F]:
    """All options of some groups as one decorator, in the order in which they stand."""

    def add(function: F) -> F:
        for option in reversed([o for group in groups for o in group]):
            function = option(function)
        return function

    return add


WHAT = [
    click.option(
        "-f", "--spec", type=click.Path(path_type=Path), help="Spec file or folder; default: one in this folder."
    ),
    click.option("--bundle", type=FOLDER, help="A bundle: its size is what a machine must hold."),
    click.option("--records", type=FILE, help="Measured records of `lukewarm bench`: durations, memory, image."),
    click.option("--service-s", help="How long a request takes."),
    click.option("--cold-start-s", help="How long a start takes, from nothing to ready."),
    click.option("--pull-s", type=float, help="The part of a start spent pulling the image."),
    click.option("--queue-s", type=float, help="The part of a start spent waiting for hardware."),
    click.option("--hit-s", help="A start soon after the last run (snapshot or cached image still there)."),
    click.option("--hit-tau-s", type=float, help="A start after a gap g is a hit with probability exp(-g/tau)."),
    click.option("--memory-gb", type=float),
    click.option("--vcpu", type=float),
    click.option("--gpu", help="T4, L4, A100-80GB ..., `any`, or `none`."),
    click.option("--gpu-memory-gb", type=float),
    click.option("--image-mb", type=float),
]
TRAFFIC = [
    click.option("--requests-per-month", type=float),
    click.option(
        "--profile",
        default="steady",
        show_default=True,
        help="steady, bursty, diurnal, working-hours, few-a-day, front-page.",
    ),
    click.option("--log", type=FILE, help="Replay an access log (combined format, JSON lines, timestamps)."),
    click.option(
        "--trace", type=FILE, multiple=True, help="Azure Functions trace: 2019 day files in order, or the 2021 file."
    ),
    click.option("--trace-function", help="Which function of the trace; default: the busiest."),
]
HOW = [
    click.option("--provider", "names", multiple=True, help="Only these: modal, runpod:flex, a target's name ..."),
    click.option("--concurrency", type=click.IntRange(1), help="Requests at once in one instance."),
    click.option("--max-instances", type=click.IntRange(1)),
    click.option(
        "--concurrency-marginal",
        type=float,
        default=1.0,
        help="Extra time of each further request at once (1: no gain).",
    ),
    click.option(
        "--batch-marginal",
        type=float,
        help="Extra time of each further batch item (1: no gain); measured if in the records.",
    ),
    click.option("--slo-p95", type=float, help="Goal: p95 latency in seconds."),
    click.option("--max-usd-month", type=float, help="Goal: USD a month."),
    click.option("--max-cold", type=float, help="Goal: fraction of requests that wait for a start."),
    click.option("--as-of", type=click.DateTime(["%Y-%m-%d"]), help="Prices as of this day; default: today."),
    click.option("--prices", type=FILE, help="Your own price rows (YAML); they win."),
    click.option("--free-tier", is_flag=True, help="Count the monthly free tier."),
    click.option("--seed", type=int, default=0),
]
OUTPUT = [
    click.option(
        "--tune", is_flag=True, help="Choose window, minimum, concurrency and batch, and write them to the spec."
    ),
    click.option("--dry-run", is_flag=True, help="With --tune: print the values, write nothing."),
    click.option("--plots", type=FOLDER, help="Write cost-traffic, cost-p95 and cold-window as PNG and SVG here."),
    click.option("--models", type=FILE, help="Several models (YAML): one pool for all against a service for each."),
    click.option("--interruptions-per-month", type=float, help="Your figure for spot machines, with --models."),
    click.option("--scenario", help="A published figure by name, or `all`."),
    click.option("--list-prices", is_flag=True, help="Print the catalog."),
    click.option("--top", type=click.IntRange(1), default=20, show_default=True),
]


@click.command(epilog=EPILOG)
@_options(WHAT, TRAFFIC, HOW, OUTPUT)
@json_option
def cost(as_json: bool, **o: Any) -> None:
    """What a model will cost at a given traffic, per provider: ranked, with cold fraction, latencies and break-even."""
    from lukewarm.costs import scenarios, text

    if o["scenario"]:
        found = scenarios.run(o["scenario"])
        print_json(found) if as_json else click.echo(text.scenario_table(found))
        return
    catalog = _catalog(o)
    if o["list_prices"]:
        print_json(catalog.rows + catalog.overlay) if as_json else click.echo(text.catalog_table(catalog))
    elif o["models"]:
        _compare(catalog, o, as_json)
    elif o["tune"]:
        _tune(catalog, o, as_json)
    else:
        _advise(catalog, o, as_json)


def _catalog(o: dict[str, Any]) -> Catalog:
    from lukewarm.costs.catalog import load

    day: dt.datetime | None = o["as_of"]
    return load(day.date() if day else None, o["prices"])


def _advise(catalog: Catalog, o: dict[str, Any], as_json: bool) -> None:
    from lukewarm.costs import plots, text
    from lukewarm.costs.advice import Settings, advise
    from lukewarm.costs.policy import Policy

    workload, arrivals, _ = _inputs(o)
    base = Policy(60.0, concurrency=o["concurrency"] or 1, max_instances=o["max_instances"])
    settings = Settings(base=base, free_tier=o["free_tier"], seed=o["seed"], progress=progress(quiet=as_json))
    found = advise(catalog, workload, arrivals, _goals(o), names=o["names"], settings=settings)
    _warn(found)
    if o["plots"]:
        for path in plots.write(found, workload, o["plots"]):
            click.echo(f"wrote {path}", err=True)
    print_json(text.advice_data(found, catalog)) if as_json else click.echo(text.advice_table(found, o["top"]))


def _tune(catalog: Catalog, o: dict[str, Any], as_json: bool) -> None:
    from lukewarm.costs import specedit, text
    from lukewarm.costs.tune import Gains, tune
    from lukewarm.predictors import specfile

    path = _spec_path(o)
    workload, arrivals, marginal = _inputs(o)
    gains = Gains(o["concurrency_marginal"], 1.0 if marginal is None else marginal)
    names = o["names"] or _priced_targets(catalog, specfile.load(path) if path else None)
    tuned = tune(catalog, workload, arrivals, _goals(o), names, gains)
    if path and not o["dry_run"]:
        specedit.write(path, tuned.changes)
    if as_json:
        options = [text.option_data(option) for option in tuned.options]
        written = str(path) if path and not o["dry_run"] else None
        print_json({"kind": "modelled", "changes": tuned.changes, "written": written, "options": options})
        return
    click.echo(f"{text.MODELLED}; {tuned.tried} settings tried\n\n{specedit.as_text(tuned.changes)}\n")
    for option in tuned.options:
        p95, cold = option.latency_s["p95"].text(), text.percent(option.cold)
        click.echo(f"{option.offer.name}: {option.usd_month.text()} USD a month, p95 {p95} s, cold {cold}")
    click.echo(f"\nwrote {path}" if path and not o["dry_run"] else "\nnothing written")


def _compare(catalog: Catalog, o: dict[str, Any], as_json: bool) -> None:
    from lukewarm.costs import text
    from lukewarm.costs.inputs import read_models
    from lukewarm.costs.pool import compare

    models = read_models(o["models"])
    found = compare(catalog, models, names=o["names"], interruptions_per_month=o["interruptions_per_month"])
    print_json(text.pool_data(found)) if as_json else click.echo(text.pool_table(found, o["top"]))


def _inputs(o: dict[str, Any]) -> tuple[Workload, Arrivals, float | None]:
    """The workload (flags win over records, records over the spec), the traffic, and a batch marginal if known."""
    from lukewarm.cli.cost_figures import figures
    from lukewarm.costs.inputs import traffic

    known = figures(_spec_path(o), o["bundle"], o["records"])
    need, basis = known.need({key: o[key] for key in known.keys})
    arrivals = traffic(o["requests_per_month"], o["profile"], o["log"], o["trace"], o["trace_function"])
    marginal = known.batch_marginal if o["batch_marginal"] is None else o["batch_marginal"]
    return need.workload(basis), arrivals, marginal


def _goals(o: dict[str, Any]) -> Goals:
    from lukewarm.costs.advice import Goals

    return Goals(o["slo_p95"], o["max_usd_month"], o["max_cold"])


def _spec_path(o: dict[str, Any]) -> Path | None:
    """The spec that was named, else the one in this folder if there is one."""
    from lukewarm.predictors import specfile
    from lukewarm.predictors.errors import SpecError

    path: Path | None = o["spec"]
    if path is not None:
        return specfile.find(path) if path.is_dir() else path
    try:
        return specfile.find(Path("."))
    except SpecError:
        return None  # no spec here: the flags must say it all


def _priced_targets(catalog: Catalog, spec: Any) -> tuple[str, ...]:
    """The spec's targets that the catalog prices, else every provider whose window can be set."""
    from lukewarm.predictors.errors import PriceError

    found = []
    for target in spec.targets if spec else ():
        try:
            plan = catalog.deployable(target)
        except PriceError as error:
            click.echo(f"left out {target}: {error}", err=True)
            continue
        if plan.kind == "scale":
            found.append(target)
    if not found:
        found = ["modal", "runpod"]
        click.echo("no priced target in the spec: tuned for modal and runpod (--provider names others)", err=True)
    return tuple(found)


def _warn(found: Advice) -> None:
    for warning in found.warnings:
        click.echo(f"warning: {warning}", err=True)
