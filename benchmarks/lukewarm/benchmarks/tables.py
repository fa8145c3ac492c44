"""The tables of the bench suite, from records alone: headline, cold start, warm latency, size and accuracy, prices."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lukewarm.benchmarks import notes
from lukewarm.benchmarks.contenders import pipeline, seq2seq
from lukewarm.benchmarks.record import Record, Warm
from lukewarm.benchmarks.stats import Figure, ratio
from lukewarm.benchmarks.words import (
    Cell,
    Row,
    Table,
    band,
    duration,
    factor,
    label,
    lossless,
    megabytes,
    percent,
    perplexity_ratio,
    times,
)

Pick = Callable[[Record], Figure | None]
BASELINES = (pipeline.BACKEND, seq2seq.BACKEND)
HEADLINE_BACKENDS = ("ort", "ct2")
# measure of a conversion that is not text generation: its column
MEASURES = {
    "bleu": "BLEU",
    "bleu_drop": "BLEU lost",
    "bleu_agreement": "BLEU against the source's answers",
    "chrf_agreement": "chrF against them",
    "cosine_mean": "mean cosine",
    "cosine_min": "smallest cosine",
}


def total(row: Record) -> Figure | None:
    return row.phases.total if row.phases else None


def warm(row: Record, batch: int) -> Warm | None:
    return next((w for w in row.warm if w.batch == batch), None)


def warm_figure(batch: int) -> Pick:
    def pick(row: Record) -> Figure | None:
        found = warm(row, batch)
        return found.latency if found else None

    return pick


def baseline(rows: Sequence[Record]) -> Record | None:
    """The row that everything is compared with, if it was measured."""
    return next((row for row in rows if row.case.backend in BASELINES and row.status == "ok"), None)


def batches(rows: Sequence[Record]) -> list[int]:
    return sorted({w.batch for row in rows for w in row.warm})


def headline(rows: Sequence[Record]) -> Table | None:
    """The best ort and ct2 rows against plain transformers.pipeline; None without a baseline."""
    base = baseline(rows)
    if base is None:
        return None
    figures: list[tuple[str, Pick]] = [("Cold start to first prediction, s", total)]
    figures += [(f"Warm request, batch {b}, s", warm_figure(b)) for b in batches(rows)]
    lines = []
    for name, pick in figures:
        below = pick(base)
        if below is None:
            continue
        for index, (row, figure) in enumerate(_best(rows, pick)):
            change = perplexity_ratio(row)
            cells = (
                Cell(name if index == 0 else "", mark="label"),
                duration(below) if index == 0 else Cell(),
                Cell(row.case.label, mark="label"),
                duration(figure),
                factor(ratio(below.samples, figure.samples), "best"),
                Cell(percent(change) if change else "", "" if change else "not measured"),
            )
            lines.append(Row(cells))
    if not lines:
        return None
    return Table(
        title=f"Against plain {base.case.backend}",
        kind="measured",
        head=("", base.case.label, "best row", "takes, s", "times faster", "perplexity"),
        rows=tuple(lines),
        notes=(notes.HEADLINE,),
        anchor="headline",
    )


def _best(rows: Sequence[Record], pick: Pick) -> list[tuple[Record, Figure]]:
    """Per headline backend: the fastest lossless row, then the fastest of all if it is another."""
    found = []
    for backend in HEADLINE_BACKENDS:
        measured = [(row, f) for row in rows if row.case.backend == backend and (f := pick(row)) is not None]
        measured.sort(key=lambda item: item[1].median)
        keep = [item for item in measured if lossless(item[0])][:1]
        found += keep + [item for item in measured[:1] if item not in keep]
    return found


def cold(rows: Sequence[Record]) -> Table:
    """Every case with its phases; failed and skipped ones with their reasons."""
    base = baseline(rows)
    lines = []
    for row in sorted(rows, key=lambda r: (r.phases is None, r.phases.total.median if r.phases else 0.0)):
        if row.phases is None:
            lines.append(Row((label(row),), f"{row.status}: {row.reason}"))
            continue
        p = row.phases
        parts = [Cell(_s(f)) for f in (p.interpreter, p.imports, p.load, p.first)]
        against = factor(ratio(base.phases.total.samples, p.total.samples)) if base and base.phases else Cell()
        lines.append(
            Row(
                (
                    label(row), *parts, duration(p.total, "best"), Cell() if row is base else against, Cell(_s(p.cpu)),
                    Cell(megabytes(row.start_memory_bytes)), Cell(str(p.total.n), _failures(row)),
                )
            )
        )  # fmt: skip
    return Table(
        title="Cold start",
        kind="measured",
        head=("", "interpreter", "imports", "load", "first", "total, s", "faster", "CPU s", "memory MB", "n"),
        rows=tuple(lines),
        notes=(notes.COLD,),
        anchor="cold",
    )


def _s(figure: Figure) -> str:
    return f"{figure.median:.3f}" if figure.median < 10 else f"{figure.median:.2f}"


def _failures(row: Record) -> str:
    return f"{len(row.failures)} failed" if row.failures else ""


def latency(rows: Sequence[Record]) -> Table | None:
    """Warm latency and throughput per batch size."""
    sizes = batches(rows)
    if not sizes:
        return None
    base = baseline(rows)
    lines = []
    for row in sorted((r for r in rows if r.phases), key=_first_warm):
        cells = [label(row)]
        for size in sizes:
            found = warm(row, size)
            if found is None:
                why = row.not_measured.get(f"warm batch {size}", "not measured")
                cells += [Cell("", why, "why"), Cell(), Cell()]
                continue
            below = warm(base, size) if base else None
            cells += [
                duration(found.latency, "best"),
                Cell(f"{found.tokens_per_s:.0f}" if found.tokens_per_s else ""),
                factor(ratio(below.latency.samples, found.latency.samples)) if below and row is not base else Cell(),
            ]
        lines.append(Row(tuple(cells)))
    head = [""]
    for size in sizes:
        head += [f"batch {size}, s", "per s", "faster"]
    return Table(
        title="Warm latency",
        kind="measured",
        head=tuple(head),
        rows=tuple(lines),
        notes=(notes.WARM,),
        anchor="warm",
    )


def _first_warm(row: Record) -> float:
    return row.warm[0].latency.median if row.warm else float("inf")


def size(rows: Sequence[Record]) -> Table:
    """Bytes of weights and packages, memory, and what was lost against fp32."""
    base = baseline(rows)
    measured = [row for row in rows if row.phases is not None]
    accuracy = _decoder_accuracy(measured) or _accuracy(measured)
    lines = []
    for row, found in zip(measured, accuracy[1:], strict=True):
        smaller = ""
        if base and base.installed and row.installed and row is not base:
            factor_ = base.installed.bytes / row.installed.bytes
            smaller = f"{times(factor_)} smaller" if factor_ > 1 else f"{times(1 / factor_)} larger"
        cells = (
            label(row),
            Cell(megabytes(row.bundle_bytes)),
            Cell(
                megabytes(row.installed.bytes if row.installed else None),
                smaller or row.not_measured.get("installed", ""),
            ),
            Cell(megabytes(row.image.bytes if row.image else None), row.not_measured.get("image", "")),
            Cell(megabytes(row.used.bytes if row.used else None)),
            Cell(megabytes(row.peak_memory_bytes)),
        )
        lines.append(Row((*cells, *found)))
    fixed = ("", "weights MB", "installed MB", "image MB", "imported MB", "peak memory MB")
    return Table(
        title="Size, memory and accuracy",
        kind="measured",
        head=(*fixed, *(cell.text for cell in accuracy[0])),
        rows=tuple(lines),
        notes=(notes.SIZE,),
        anchor="size",
    )


def _decoder_accuracy(rows: Sequence[Record]) -> list[list[Cell]]:
    """A head and one line per row; empty where no row has a perplexity."""
    if rows and not any("perplexity" in row.accuracy for row in rows):
        return []
    names = ("perplexity", "change", "logit diff. mean / median / max", "top-1 agreement")
    lines = [[Cell(name) for name in names]]
    for row in rows:
        a, change = row.accuracy, perplexity_ratio(row)
        lines.append(
            [
                Cell(f"{a['perplexity']:.2f}" if "perplexity" in a else "", "" if a else "not measured"),
                Cell(percent(change) if change else ""),
                Cell(" / ".join(_logit(a, n) for n in ("mean", "median", "max")) if "logit_mean_diff" in a else ""),
                Cell(f"{a['top1_agreement']:.1%}" if "top1_agreement" in a else ""),
            ]
        )
    return lines


def _accuracy(rows: Sequence[Record]) -> list[list[Cell]]:
    """The same for other tasks: whichever measures any row has."""
    names = [name for name in MEASURES if any(name in row.accuracy for row in rows)]
    lines = [[Cell(MEASURES[name]) for name in names]]
    return lines + [[Cell(f"{row.accuracy[n]:.4g}" if n in row.accuracy else "") for n in names] for row in rows]


def _logit(accuracy: dict[str, float], name: str) -> str:
    value = accuracy.get(f"logit_{name}_diff")
    return "" if value is None else f"{value:.2g}"


def prices(rows: Sequence[Record]) -> Table | None:
    """USD a month and per 1,000 warm requests, a column per provider. Modelled."""
    priced = [row for row in rows if row.price]
    if not priced:
        return None
    names = list(dict.fromkeys(row.price.provider for row in priced if row.price))
    lines = []
    for case in dict.fromkeys(row.case for row in priced):
        cells = [Cell(case.label, mark="label")]
        for name in names:
            found = next((r.price for r in priced if r.case == case and r.price and r.price.provider == name), None)
            if found is None:
                cells.append(Cell("", "no price"))
                continue
            month = band(*found.month_usd) if found.month_usd else ""
            cold_share = f" · {found.cold_fraction[1]:.0%} cold" if found.cold_fraction else ""
            warm_usd = band(found.warm_usd[0] * 1000, found.warm_usd[1] * 1000)
            cells.append(Cell(month, f"{warm_usd}{cold_share}"))
        lines.append(Row(tuple(cells)))
    sample = next(row.price for row in priced if row.price)
    requests = f"{sample.requests_per_month:,.0f}" if sample.requests_per_month else "?"
    return Table(
        title=f"USD a month at {requests} requests",
        kind="modelled",
        head=("", *names),
        rows=tuple(lines),
        notes=(notes.PRICES.format(as_of=sample.prices_as_of),),
        anchor="prices",
    )
