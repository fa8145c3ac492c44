"""Judges the performance suite: each bar with the row that comes nearest, its ratio, n and spread. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import msgspec

from lukewarm.benchmarks import tables
from lukewarm.benchmarks.contenders import bare, fork
from lukewarm.benchmarks.performance import SUITE, TRANSLATION
from lukewarm.benchmarks.record import Record
from lukewarm.benchmarks.stats import Figure, Ratio, ratio
from lukewarm.benchmarks.tables import BASELINES
from lukewarm.benchmarks.words import percent

Unit = Literal["×", "%", "s"]
LOSSLESS = 1.01
FOUR_BIT_WARM = 6.5
BLEU_LOST = 1.0
TOO_MUCH = "not measured, or every row lost more than 1 BLEU"
MODEL_FREE = "gpt2-124m-random"  # random weights: whether a precision is lossless is judged on the real model


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One bar of one model. `value` None: not measured, and `note` says why."""

    figure: str
    model: str
    row: str
    unit: Unit
    bar: float
    aim: float
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: tuple[int, ...] = ()
    note: str = ""

    def as_data(self) -> dict[str, object]:
        """For JSON: the fields and the verdict."""
        return {**msgspec.structs.asdict(self), "reached": self.verdict}

    @property
    def verdict(self) -> str:
        """aim, bar or open; empty if not measured. For % and s less is better."""
        if self.value is None:
            return ""
        more = self.unit == "×"
        for name, limit in (("aim", self.aim), ("bar", self.bar)):
            if self.value >= limit if more else self.value <= limit:
                return name
        return "open"


class Rows:
    """The suite's records, found by part, model and kind of row."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.all = [row for row in records if row.kind == "measured" and row.suite.startswith(SUITE)]
        self.models = [m for m in dict.fromkeys(row.case.model for row in self.all) if m != TRANSLATION]
        self._change = {
            (row.case.backend, row.case.precision): row.accuracy["perplexity_ratio"]
            for row in self.all
            if row.case.model not in (MODEL_FREE, TRANSLATION) and "perplexity_ratio" in row.accuracy
        }

    def part(self, model: str, part: str = "") -> list[Record]:
        suite = f"{SUITE}-{part}" if part else SUITE
        return [row for row in self.all if row.suite == suite and row.case.model == model and row.phases]

    def base(self, model: str, part: str = "") -> Record | None:
        return next((row for row in self.part(model, part) if row.case.backend in BASELINES), None)

    def change(self, row: Record) -> float | None:
        """Perplexity over fp32 of this backend and precision, on the real model."""
        return self._change.get((row.case.backend, row.case.precision))

    def lossless(self, row: Record) -> bool:
        change = self.change(row)
        return change is not None and change <= LOSSLESS


def judge(records: Iterable[Record]) -> list[Line]:
    """Every bar, in the order of the table. Empty without rows of the performance suite."""
    rows = Rows(records)
    lines: list[Line] = []
    for model in rows.models:
        lines += _starts(rows, model)
        lines += _warm(rows, model)
        lines += [_one_artifact(rows, model)]
        lines += _memory(rows, model)
        if model != MODEL_FREE:
            lines += _own_cost(rows, model)
            lines += _fork(rows, model)
    if rows.models:
        lines += _translation(rows) + _installed(rows, rows.models[0])
    return lines


Pick = Callable[[Record], Figure | None]


def _best(part: Sequence[Record], base: Record | None, pick: Pick) -> tuple[Record, Ratio] | None:
    """The row with the greatest gain over the baseline."""
    below = pick(base) if base else None
    found = [(row, figure) for row in part if row.case.backend not in BASELINES and (figure := pick(row))]
    if below is None or not found:
        return None
    row, figure = min(found, key=lambda item: item[1].median)
    return row, ratio(below.samples, figure.samples)


def _line(rows: Rows, line: Line, best: tuple[Record, Ratio] | None) -> Line:
    if best is None:
        return msgspec.structs.replace(line, note=line.note or "not measured")
    row, found = best
    change = rows.change(row)
    loss = f"perplexity {percent(change)}" if change else ""
    return msgspec.structs.replace(
        line,
        row=row.case.label,
        value=found.value,
        low=found.low,
        high=found.high,
        n=found.n,
        note="; ".join(part for part in (loss, line.note) if part),
    )


def _starts(rows: Rows, model: str) -> list[Line]:
    lines = []
    parts = [("", "cold start", 12.0), ("dropped", "page cache dropped", 10.0)]
    for part, title, bar in parts[:1] if model == MODEL_FREE else parts:
        measured, base = rows.part(model, part), rows.base(model, part)
        for backend in ("ct2", "ort"):
            line = Line(figure=f"{title}, best {backend} row", model=model, row="", unit="×", bar=bar, aim=15)
            mine = [row for row in measured if row.case.backend == backend]
            lines.append(_line(rows, line, _best(mine, base, tables.total)))
    eight = [row for row in rows.part(model) if _is_eight(row, "ort") and rows.lossless(row)]
    line = Line(figure="cold start, 8-bit ort within +1 % perplexity", model=model, row="", unit="×", bar=9, aim=12)
    lines.insert(2, _line(rows, line, _best(eight, rows.base(model), tables.total)))
    return lines


def _is_eight(row: Record, backend: str) -> bool:
    return row.case.backend == backend and "int8" in row.case.precision


def _warm(rows: Rows, model: str) -> list[Line]:
    part, base = rows.part(model), rows.base(model)
    lossless = [row for row in part if rows.lossless(row)]
    four = _best([row for row in part if row.case.precision.startswith("int4")], base, tables.warm_figure(1))
    one = Line(figure="warm, batch 1, within +1 % perplexity", model=model, row="", unit="×", bar=4, aim=6)
    lines = [_line(rows, one, _best(lossless, base, tables.warm_figure(1)))]
    lines.append(_line(rows, Line(figure="warm, batch 1, 4-bit", model=model, row="", unit="×", bar=6.5, aim=8), four))
    if model != MODEL_FREE:
        lines.append(_four_bit_loss(rows, model, four))
    for batch in (8, 32):
        line = Line(figure=f"throughput, batch {batch}, within +1 %", model=model, row="", unit="×", bar=3, aim=6)
        lines.append(_line(rows, line, _best(lossless, base, tables.warm_figure(batch))))
    return lines


def _four_bit_loss(rows: Rows, model: str, four: tuple[Record, Ratio] | None) -> Line:
    line = Line(figure="4-bit perplexity loss at 6.5× or more warm", model=model, row="", unit="%", bar=22, aim=9)
    change = rows.change(four[0]) if four else None
    if four is None or change is None:
        return msgspec.structs.replace(line, note="not measured")
    row, gain = four
    loss = (change - 1) * 100
    if gain.value < FOUR_BIT_WARM:
        return msgspec.structs.replace(line, row=row.case.label, note=f"{loss:+.0f} % at {gain.value:.1f}× warm only")
    note = "the source's weights were 4-bit once (Q4_1)"
    return msgspec.structs.replace(line, row=row.case.label, value=loss, n=(1,), note=note)


def _one_artifact(rows: Rows, model: str) -> Line:
    """Cold and warm by one and the same bundle: judged by the smaller of its two shares of the bars (1 is both)."""
    line = Line(
        figure="one artifact: cold ≥ 12×, warm ≥ 4×, within +1 % (share of both)",
        model=model,
        row="",
        unit="×",
        bar=1,
        aim=1.25,
    )
    base = rows.base(model)
    warm = tables.warm_figure(1)
    below = warm(base) if base else None
    if base is None or base.phases is None or below is None:
        return msgspec.structs.replace(line, note="not measured")
    found = []
    for row in rows.part(model):
        mine = warm(row)
        if row is base or row.phases is None or mine is None or not rows.lossless(row):
            continue
        cold = base.phases.total.median / row.phases.total.median
        gain = below.median / mine.median
        found.append((min(cold / 12, gain / 4), cold, gain, row))
    if not found:
        return msgspec.structs.replace(line, note="no row within +1 %")
    share, cold, gain, row = max(found, key=lambda item: item[0])
    assert row.phases
    return msgspec.structs.replace(
        line, row=row.case.label, value=share, n=(row.phases.total.n,), note=f"cold {cold:.1f}×, warm {gain:.1f}×"
    )


def _memory(rows: Rows, model: str) -> list[Line]:
    base = rows.base(model)
    lines = []
    for backend in ("ct2", "ort"):
        line = Line(figure=f"memory at the first token, 8-bit {backend}", model=model, row="", unit="×", bar=3, aim=6)
        mine = [r for r in rows.part(model) if _is_eight(r, backend) and r.start_memory_bytes]
        if base is None or not base.start_memory_bytes or not mine:
            lines.append(msgspec.structs.replace(line, note="not measured"))
            continue
        row = min(mine, key=lambda r: r.start_memory_bytes or 0)
        assert row.phases
        value = base.start_memory_bytes / (row.start_memory_bytes or 1)
        note = f"{(row.start_memory_bytes or 0) / 1e6:.0f} MB against {base.start_memory_bytes / 1e6:.0f} MB"
        n = (row.phases.total.n,)
        lines.append(msgspec.structs.replace(line, row=row.case.label, value=value, n=n, note=note))
    return lines


def _own_cost(rows: Rows, model: str) -> list[Line]:
    lines = []
    for row in rows.part(model, "cost"):
        line = Line(figure="predictor over the bare loop", model=model, row=row.case.label, unit="%", bar=3, aim=1)
        found = row.figures.get(bare.NAME)
        if found is None:
            lines.append(msgspec.structs.replace(line, note=row.not_measured.get(bare.NAME, "not measured")))
            continue
        value, low, high = ((x - 1) * 100 for x in (found.median, found.low, found.high))
        lines.append(msgspec.structs.replace(line, value=value, low=low, high=high, n=(found.n,)))
    return lines


def _fork(rows: Rows, model: str) -> list[Line]:
    part = [row for row in rows.part(model, "fork") if row.case.backend not in BASELINES]
    line = Line(figure="fork from a warm parent to first token", model=model, row="", unit="s", bar=0.12, aim=0.05)
    able = [(row, f) for row in part if (f := row.figures.get(fork.NAME))]
    unable = sorted({row.case.backend for row in part if fork.NAME in row.not_measured})
    note = f"survives no fork: {', '.join(unable)}" if unable else ""
    if not able:
        return [msgspec.structs.replace(line, note=note or "not measured")]
    row, found = min(able, key=lambda item: item[1].median)
    changes = {"value": found.median, "low": found.low, "high": found.high, "n": (found.n,)}
    alone = ", 1 thread" if row.settings.threads == 1 else ""
    return [msgspec.structs.replace(line, row=f"{row.case.label}{alone}", note=note, **changes)]


def _translation(rows: Rows) -> list[Line]:
    part, base = rows.part(TRANSLATION), rows.base(TRANSLATION)
    eight = [row for row in part if _is_eight(row, "ct2")]
    eight = [row for row in eight if row.accuracy.get("bleu_drop", BLEU_LOST + 1) <= BLEU_LOST]
    lines = []
    for name, pick, bar, aim, kept in (
        ("translation, cold start, ct2", tables.total, 20.0, 25.0, [r for r in part if r.case.backend == "ct2"]),
        ("translation, warm, batch 1, ct2 int8, BLEU −1 at most", tables.warm_figure(1), 2.0, 4.0, eight),
        ("translation, warm, batch 8, ct2 int8, BLEU −1 at most", tables.warm_figure(8), 3.0, 6.0, eight),
    ):
        line = Line(figure=name, model=TRANSLATION, row="", unit="×", bar=bar, aim=aim)
        line = msgspec.structs.replace(line, note="" if kept or not part else TOO_MUCH)
        best = _best(kept, base, pick)
        made = _line(rows, line, best)
        lines.append(msgspec.structs.replace(made, note=_bleu(best[0]) if best else made.note))
    return lines


def _bleu(row: Record) -> str:
    """What a translation lost, against references where the conversion had some."""
    if "bleu_drop" in row.accuracy:
        return f"BLEU lost: {row.accuracy['bleu_drop']:.2f}"
    agreement = row.accuracy.get("bleu_agreement")
    return f"BLEU against the source's own answers: {agreement:.1f}" if agreement is not None else "BLEU not measured"


def _installed(rows: Rows, model: str) -> list[Line]:
    """What an image of ours holds, and beside it what pip installs: the bar is the image's."""
    base = rows.base(model)
    lines = []
    for backend, task in (("ct2", model), ("ct2", TRANSLATION), ("ort", model)):
        row = next((r for r in rows.part(task) if r.case.backend == backend and r.installed), None)
        kind = f"translation on {backend}" if task == TRANSLATION else backend
        for name in ("image", "installed"):
            title = "in an image of ours" if name == "image" else "as pip installs the extra"
            line = Line(figure=f"installed, {title}, {kind}", model="any", row="", unit="×", bar=7, aim=13)
            mine = getattr(row, name, None)
            if base is None or base.installed is None or mine is None:
                lines.append(msgspec.structs.replace(line, note="not measured"))
                continue
            note = f"{mine.bytes / 1e6:.0f} MB against {base.installed.bytes / 1e6:.0f} MB"
            lines.append(
                msgspec.structs.replace(line, row=backend, value=base.installed.bytes / mine.bytes, n=(1,), note=note)
            )
    return lines
