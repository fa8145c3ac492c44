"""Writes docs/performance.md from measured records: `python -m lukewarm.benchmarks.performance_doc RECORDS [OUT]`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from lukewarm.benchmarks import bars, notes, pages, tables, words
from lukewarm.benchmarks.performance import SUITE
from lukewarm.benchmarks.provenance import subtitle
from lukewarm.benchmarks.record import Record
from lukewarm.benchmarks.words import Cell, Row, Table
from lukewarm.predictors.errors import SpecError

ENOUGH = 7  # processes of each side of a ratio, for a verdict without a remark
COMMAND = "lukewarm bench --suite performance"
HEAD = f"""# Performance

Written by `python -m lukewarm.benchmarks.performance_doc` from the records of `{COMMAND}`; do not edit.
`make performance` measures again on your machine and shows the same table in `report/report.html`.

{{subtitle}}

The baseline is `transformers.pipeline` in fp32 (for translation `generate`), measured in turn with all rows of
the same model: a ratio is the baseline's median over the row's. {{gpt2}} A bar that is not met is open.
"""
TIMING = (
    "GPT-2 has its real 124M shape and random weights, so it\nis for timing; whether a precision is lossless is judged "
    "on the real model. The dropped page cache, the fork and\nthe own cost are measured on that alone."
)
NO_TIMING = "GPT-2, which is for timing\nat a shape that everybody knows, was not part of this run."

# what an open bar waits for, by the beginning of its figure; the figures stand in docs/ort.md
WHY_OPEN = {
    "cold start, best": "what is left is the interpreter, imports, the tokenizer, weights to read or pack, and the "
    "first token. The baseline's start is nearly all imports, and how long those take differs between machines.",
    "page cache dropped": "most of it is reading the interpreter's, the runtime's and the model's files.",
    "warm, batch 1, within": "a step reads every weight once; the baseline in fp32 gains more from AVX-512 than "
    "products of one row at 8 bits do.",
    "warm, batch 1, 4-bit": "with VNNI the 8-bit kernels are as fast as the 4-bit ones, so that 4 bits gain bytes and "
    "no time there (`docs/ort.md`, batches).",
    "4-bit perplexity loss": "the loss counts at that speed only.",
    "throughput, batch": "32 rows of 32 + 32 tokens are some 490 billion operations of SmolLM2-135M. On two cores the "
    "8-bit blocks that lose less than 1 % reach 110 billion a second with AVX2 and 280 with VNNI. Whole rows reach "
    "more, but only some products lose little in them, and the nodes that scale each token are then a third of a step "
    "(`docs/ort.md`, batches).",
    "one artifact": "8-bit weights are packed at every start, beside the imports; fp32 that is not packed starts "
    "sooner, and is slower from then on (`docs/ort.md`, not reached).",
    "translation, cold start": "the interpreter and imports take half of such a start; the ratio moves with the host.",
    "installed, in an image": "the bar was set against 1,164 MB of torch and transformers; the size of torch's "
    "wheel differs between its builds.",
    "installed, as pip": "wheels come with debug symbols, tests and a second engine, and `tokenizers` asks for "
    "huggingface_hub; images of ours take a closed list without them.",
    "fork from a warm parent": "the fork itself takes 3 to 15 ms, and the child's first writes copy pages that "
    "it shares; the rest is reading the prompt.",
}


def table(records: Sequence[Record]) -> Table | None:
    """The bars as a table; None without rows of the performance suite."""
    lines = bars.judge(records)
    if not lines:
        return None
    return Table(
        title="Bars",
        kind="measured",
        head=("figure", "model", "row", "measured", "n", "bar", "aim", "reached"),
        rows=tuple(_row(line) for line in lines),
        notes=(f"Small: 95 % interval where one can be given. {notes.SPREAD}",),
        anchor="bars",
    )


def _row(line: bars.Line) -> Row:
    head = (Cell(line.figure, line.note, "label"), Cell(line.model), Cell(line.row))
    few = f"only n {min(line.n)}" if len(line.n) == 2 and min(line.n) < ENOUGH else ""
    limits = (Cell(value(line.bar, line.unit)), Cell(value(line.aim, line.unit)), Cell(line.verdict, few))
    if line.value is None:
        return Row((*head, Cell(), Cell(), *limits))
    spread = ""
    if line.low is not None and line.high is not None and min(line.n) > 1:
        spread = f"{value(line.low, line.unit)} – {value(line.high, line.unit)}"
    n = " / ".join(str(n) for n in line.n)
    return Row((*head, Cell(value(line.value, line.unit), spread, "best"), Cell(n), *limits))


def why_open(records: Sequence[Record]) -> list[str]:
    """One line for every kind of bar that is open and has an explanation."""
    figures = [line.figure for line in bars.judge(records) if line.verdict == "open"]
    found = {name: why for name, why in WHY_OPEN.items() if any(figure.startswith(name) for figure in figures)}
    return ["\n### Why open\n", *(f"- {name}: {why}" for name, why in found.items())] if found else []


def value(number: float, unit: str) -> str:
    """A bar's number with its unit."""
    if unit == "×":
        return words.times(number)
    return f"{words.seconds(number)} s" if unit == "s" else f"{number:.2g} %".replace("-", "−")


def page(records: Sequence[Record]) -> str:
    """The whole document. Raises SpecError without rows of the performance suite."""
    mine = [row for row in records if row.suite.startswith(SUITE)]
    bar_table = table(mine)
    if bar_table is None:
        raise SpecError(f"no records of the performance suite; run: {COMMAND}")
    gpt2 = TIMING if any(row.case.model == bars.MODEL_FREE for row in mine) else NO_TIMING
    parts = [HEAD.format(subtitle=subtitle(mine), gpt2=gpt2), "## Bars\n", words.markdown(bar_table), *why_open(mine)]
    for model in dict.fromkeys(row.case.model for row in mine):
        for suite, title in ((SUITE, ""), (f"{SUITE}-dropped", ", page cache dropped")):
            rows = [row for row in mine if row.suite == suite and row.case.model == model]
            if rows:
                parts += [f"\n## {model}{title}: cold start\n", words.markdown(tables.cold(rows))]
            warm = tables.latency(rows)
            if warm is not None:
                parts += [f"\n## {model}: warm\n", words.markdown(warm)]
                parts += [f"\n## {model}: size and accuracy\n", words.markdown(tables.size(rows))]
    return "\n".join([*parts, *pages.provenance(mine)])


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `python -m lukewarm.benchmarks.performance_doc`."""
    return pages.main("lukewarm.benchmarks.performance_doc", page, "docs/performance.md", arguments)


if __name__ == "__main__":
    sys.exit(main())
