"""The plots of a report, as SVG that is put into the page: they take its font and its ink, light or dark."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

from lukewarm.benchmarks.contenders.pipeline import BACKEND as BASELINE
from lukewarm.benchmarks.record import Record
from lukewarm.benchmarks.tables import batches, warm
from lukewarm.benchmarks.words import perplexity_ratio, seconds

INK, GRID = "#123456", "#abcdef"  # stand-ins, replaced by the page's own colours
# Okabe and Ito's palette: told apart by colour-blind readers
PHASES = {"interpreter": "#999999", "imports": "#0072B2", "load": "#E69F00", "first": "#009E73"}
BACKENDS = {BASELINE: "#777777", "hf": "#CC79A7", "ort": "#0072B2", "ct2": "#009E73", "bnb": "#D55E00"}
ROW_INCHES = 0.34


def cold(rows: Sequence[Record]) -> str:
    """Stacked phases of every cold start, the fastest on top; the fast ones once more, enlarged."""
    measured = sorted((r for r in rows if r.phases), key=lambda r: r.phases.total.median if r.phases else 0.0)
    if not measured:
        return ""
    longest = max(r.phases.total.median for r in measured if r.phases)
    fast = [r for r in measured if r.phases and r.phases.total.median < longest / 3]
    panels = [measured, fast] if 0 < len(fast) < len(measured) else [measured]
    figure, axes = _figure([len(panel) for panel in panels])
    for axis, panel in zip(axes, panels, strict=True):
        _bars(axis, panel)
    axes[0].legend(
        ncols=4, loc="lower left", bbox_to_anchor=(0, 1.0), frameon=False, labelcolor=INK, handlelength=1, fontsize=9.5
    )
    if len(panels) > 1:
        axes[1].set_title("the fast ones, enlarged", color=INK, fontsize=10, loc="left", alpha=0.75)
    axes[-1].set_xlabel("seconds from the spawn of the process, medians", color=INK)
    return _svg(figure, "cold")


def _bars(axis: Any, panel: Sequence[Record]) -> None:
    names = [r.case.label for r in panel]
    left = [0.0] * len(panel)
    for phase, colour in PHASES.items():
        widths = [getattr(r.phases, phase).median for r in panel]
        axis.barh(names, widths, left=left, color=colour, label=phase, height=0.62)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    totals = [r.phases.total for r in panel if r.phases]
    reach = max(max(total.high for total in totals), max(left))
    for place, (end, total) in enumerate(zip(left, totals, strict=True)):
        axis.plot([total.low, total.high], [place, place], color=INK, linewidth=1.2)
        x = max(end, total.high) + reach * 0.012
        axis.text(x, place, f"{seconds(total.median)} s", va="center", color=INK, fontsize=9.5)
    axis.set_xlim(0, reach * 1.13)
    axis.invert_yaxis()


def latency(rows: Sequence[Record]) -> str:
    """Warm latency per batch size: the median and its interval."""
    sizes = batches(rows)
    measured = sorted((r for r in rows if r.warm), key=lambda r: r.warm[0].latency.median)
    if not sizes or not measured:
        return ""
    figure, axes = _figure([len(measured)], columns=len(sizes))
    for axis, size in zip(axes, sizes, strict=True):
        for place, row in enumerate(measured):
            found = warm(row, size)
            if found is None:
                axis.text(0.02, place, "not measured", transform=axis.get_yaxis_transform(), va="center", color=INK,
                          fontsize=8.5, alpha=0.7)  # fmt: skip
                continue
            colour = BACKENDS.get(row.case.backend, "#555555")
            axis.plot([found.latency.low, found.latency.high], [place, place], color=colour, linewidth=2.2, alpha=0.55)
            axis.plot([found.latency.median], [place], "o", color=colour, markersize=6)
            axis.annotate(seconds(found.latency.median), (found.latency.high, place), xytext=(7, 0),
                          textcoords="offset points", va="center", color=INK, fontsize=9)  # fmt: skip
        axis.set_yticks(range(len(measured)), [r.case.label for r in measured])
        axis.set_ylim(len(measured) - 0.5, -0.5)
        axis.set_xlim(0, axis.get_xlim()[1] * 1.14)
        axis.set_title(f"batch {size}", color=INK, fontsize=10.5, loc="left")
        axis.set_xlabel("seconds, whole request", color=INK)
    for axis in axes[1:]:
        axis.set_yticklabels([])
    return _svg(figure, "latency")


def tradeoff(rows: Sequence[Record]) -> str:
    """Bundle size against lost perplexity; the area of a dot is the time of its cold start."""
    known = [(r, ratio) for r in rows if r.phases and r.bundle_bytes and (ratio := perplexity_ratio(r)) is not None]
    if len(known) < 2:
        return ""
    figure, (axis,) = _figure([11])
    for row, ratio in known:
        assert row.bundle_bytes
        assert row.phases
        colour = BACKENDS.get(row.case.backend, "#555555")
        area = 60 + 160 * row.phases.total.median
        axis.scatter(row.bundle_bytes / 1e6, (ratio - 1) * 100, s=area, color=colour, alpha=0.6, linewidths=0)
    _labels(axis, known)
    worst = max(abs(ratio - 1) * 100 for _, ratio in known)
    if worst > 5:
        axis.set_yscale("symlog", linthresh=1)
    axis.margins(x=0.12, y=0.18)
    axis.axhline(1, color=INK, linewidth=0.8, linestyle=(0, (4, 4)), alpha=0.6)
    axis.text(0.995, 1, "+1 %", transform=axis.get_yaxis_transform(), ha="right", va="bottom", color=INK, fontsize=9)
    axis.grid(axis="y", color=GRID, linewidth=0.8)
    axis.set_xlabel("weights, MB", color=INK)
    axis.set_ylabel("perplexity against fp32, %", color=INK)
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:+g}")
    return _svg(figure, "tradeoff")


def _labels(axis: Any, known: Sequence[tuple[Record, float]]) -> None:
    """Names beside the dots, moved down where two dots nearly coincide."""
    placed: list[tuple[float, float]] = []
    for row, ratio in sorted(known, key=lambda item: (item[0].bundle_bytes or 0, item[1])):
        x, y = (row.bundle_bytes or 0) / 1e6, (ratio - 1) * 100
        near = sum(abs(x - a) < 30 and abs(y - b) < max(0.6, abs(y) * 0.25) for a, b in placed)
        offset = (9, 9 - 12 * near)
        axis.annotate(row.case.label, (x, y), xytext=offset, textcoords="offset points", color=INK, fontsize=9)
        placed.append((x, y))


def _figure(heights: Sequence[int], columns: int = 1) -> tuple[Any, list[Any]]:
    import matplotlib

    matplotlib.use("svg")
    from matplotlib.figure import Figure

    inches = sum(heights) * ROW_INCHES + 0.75 * len(heights) + 0.35
    figure = Figure(figsize=(9.6, inches), layout="constrained")
    axes = figure.subplots(len(heights), columns, height_ratios=heights, squeeze=False)
    flat = [axis for line in axes for axis in line]
    for axis in flat:
        axis.set_facecolor("none")
        axis.tick_params(colors=INK, length=0, labelsize=9.5)
        axis.grid(axis="x", color=GRID, linewidth=0.8)
        axis.set_axisbelow(True)
        for side, spine in axis.spines.items():
            spine.set_visible(side == "left")
            spine.set_color(GRID)
    figure.patch.set_alpha(0)
    return figure, flat


def _svg(figure: Any, salt: str) -> str:
    """The figure as an <svg> element whose ids are its own and whose text and lines take the page's colours."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": f"lukewarm-{salt}"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = re.sub(r"font: ([0-9.]+px)[^;\"]*", r"font-size: \1", embeddable(buffer.getvalue(), salt))
    return text.replace(INK, "currentColor").replace(GRID, "var(--line)").strip()


def embeddable(text: str, salt: str) -> str:
    """An SVG file's text as an element for a page: it takes the page's width, and its ids begin with `salt`."""
    text = text[max(0, text.find("<svg")) :]
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'id="([^"]*)"', rf'id="{salt}-\1"', text)
    return re.sub(r'(url\(#|xlink:href="#)', rf"\g<1>{salt}-", text)
