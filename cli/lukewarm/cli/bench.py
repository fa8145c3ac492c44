"""`lukewarm bench`: cold start, latency, memory, size, accuracy and price of every backend and precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from lukewarm.cli.common import Finite, Project, json_option, open_project, print_json, progress, spec_option

SUITES = ("bench", "performance", "targets")


@click.command()
@spec_option
@click.option("--backend", "backends", multiple=True, help="May be given several times; default: all.")
@click.option("--precision", "precisions", multiple=True, help="May be given several times; default: all.")
@click.option("--rounds", type=click.IntRange(1, 1000), help="Measured rounds after the discarded one.  [default: 7]")
@click.option("--prompt-tokens", type=click.IntRange(1, 100_000), default=32, show_default=True)
@click.option("--new-tokens", type=click.IntRange(1, 100_000), default=32, show_default=True)
@click.option("--batch", "batches", type=click.IntRange(1, 1024), multiple=True, help="Of warm runs.  [default: 1, 8]")
@click.option("--threads", type=click.IntRange(0, 1024), default=0, show_default=True, help="0: every processor.")
@click.option("--core", type=click.IntRange(min=0), help="Pin every measured process to this processor.")
@click.option("--cold-cache", is_flag=True, help="Drop packages and bundle from the page cache before every start.")
@click.option("--limit", "limit_s", type=Finite(1), default=600.0, show_default=True, help="s per process.")
@click.option("--no-baseline", is_flag=True, help="Leave out transformers.pipeline.")
@click.option("--quick", is_flag=True, help="A small case: 2 rounds, 8 tokens, the usual precisions.")
@click.option("--resume", is_flag=True, help="Keep what an earlier run measured under the same conditions.")
@click.option("--suite", type=click.Choice(SUITES), default="bench", show_default=True)
@click.option("--profile-start", is_flag=True, help="Where the time of a cold start went, of the spec's own bundle.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the results.  [default: report, by the spec]")
@json_option
def bench(spec_path: Path, as_json: bool, **options: Any) -> None:
    """Measure cold start, latency, accuracy and size in fresh processes; write report.html, report.md, records.jsonl.

    A case that cannot run is a row with its reason. Interrupted: the same command with --resume goes on.
    """
    project = open_project(spec_path)
    out: Path = options["out"] or project.root / "report"
    show = progress(quiet=as_json)
    if options["profile_start"]:
        _profile(project, out, options, as_json)
        return
    records = _suite(options["suite"])(project, out, options, show)
    from lukewarm.benchmarks import bench as benches
    from lukewarm.benchmarks import record, report
    from lukewarm.benchmarks.bars import judge

    everything = record.read(out / benches.RECORDS)
    pages = report.write(everything, out)
    if as_json:
        bars = [line.as_data() for line in judge(records)]
        print_json({"records": records, "report": pages} | ({"bars": bars} if bars else {}))
    else:
        click.echo(report.summary(records))
        click.echo(f"report: {pages[0]}  {pages[1]}  records: {out / benches.RECORDS}")
    benches.check(records)


def _suite(name: str) -> Any:
    return {"bench": _bench, "performance": _performance, "targets": _targets}[name]


def settings(options: dict[str, Any]) -> Any:
    """The conditions that the options ask for; --quick sets what was not given."""
    from lukewarm.benchmarks.record import Settings

    quick = options["quick"]
    chosen = Settings(
        rounds=options["rounds"] or (2 if quick else 7),
        prompt_tokens=options["prompt_tokens"],
        new_tokens=min(options["new_tokens"], 8) if quick else options["new_tokens"],
        batches=tuple(sorted(set(options["batches"]))) or (1, 8),
        warm_runs=1 if quick else 3,
        threads=options["threads"],
        core=options["core"],
        page_cache="dropped" if options["cold_cache"] else "warm",
        limit_s=options["limit_s"],
    )
    return msgspec.structs.replace(chosen, warm_limit_s=10.0) if quick else chosen


def _call(project: Project, out: Path, options: dict[str, Any]) -> Any:
    from lukewarm.benchmarks import bench as benches
    from lukewarm.benchmarks import plan

    return benches.Run(
        spec=project.spec,
        place=plan.Place(spec_dir=project.root, bundles_dir=project.bundles),
        choice=plan.Choice(
            backends=options["backends"],
            precisions=options["precisions"],
            baseline=not options["no_baseline"],
            quick=options["quick"],
        ),
        settings=settings(options),
        out=out,
        resume=options["resume"],
    )


def _bench(project: Project, out: Path, options: dict[str, Any], show: Any) -> Any:
    from lukewarm.benchmarks import bench as benches

    return benches.run(_call(project, out, options), show)


def _performance(project: Project, out: Path, options: dict[str, Any], show: Any) -> Any:
    from lukewarm.benchmarks import performance

    return performance.run(_call(project, out, options), show)


def _targets(project: Project, out: Path, options: dict[str, Any], show: Any) -> Any:
    from lukewarm.benchmarks import targets

    return targets.run(_call(project, out, options), show)


def _profile(project: Project, out: Path, options: dict[str, Any], as_json: bool) -> None:
    from lukewarm.benchmarks import profile

    found = profile.run(_call(project, out, options), progress(quiet=as_json))
    if as_json:
        print_json(found)
    else:
        click.echo(profile.text(found))
