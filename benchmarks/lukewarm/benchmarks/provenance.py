"""Where numbers come from: date, machine, versions and conditions of a run, in words."""

from __future__ import annotations

from collections.abc import Sequence

from lukewarm.benchmarks.record import Machine, Record


def as_of(machine_: Machine | None) -> str:
    """One line about a machine, for tables."""
    if machine_ is None:
        return "unknown machine"
    flags = ", ".join(machine_.flags)
    return (
        f"{machine_.cpu}, {machine_.cores} cores, {machine_.memory_bytes / 1e9:.0f} GB"
        f"{f' ({flags})' if flags else ''}, {machine_.kernel}, Python {machine_.python}"
    )


def subtitle(records: Sequence[Record]) -> str:
    """Date, machine and conditions in one line."""
    first = next((row for row in records if row.kind == "measured"), None)
    if first is None:
        return "No measured rows."
    s = first.settings
    threads = f"{s.threads} threads" if s.threads else "all cores"
    cache = "page cache dropped before every start" if s.page_cache == "dropped" else "warm page cache"
    return (
        f"Measured {first.date[:10]} on {as_of(first.machine)}. Fresh processes, {s.rounds} interleaved rounds after a "
        f"discarded one, {cache}, {threads}; {s.prompt_tokens} prompt tokens, {s.new_tokens} new ones, greedy."
    )


def facts(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Provenance: machine, versions, digests, and what every word means."""
    measured = [row for row in records if row.kind == "measured"]
    if not measured:
        return []
    first = measured[0]
    machine = first.machine
    found = [
        ("Date", f"{min(r.date for r in measured)} – {max(r.date for r in measured)}"),
        ("Machine", as_of(machine)),
    ]
    if machine and machine.load_1min is not None:
        busy = " (busy: expect wider spreads and worse medians)" if machine.load_1min > machine.cores / 2 else ""
        found.append(("Load before the run", f"{machine.load_1min:g}{busy}"))
    found.append(("Versions", ", ".join(f"{name} {version}" for name, version in sorted(first.versions.items()))))
    found += [
        (row.case.label, f"bundle {row.bundle_digest[:16]}, record {row.key}") for row in measured if row.bundle_digest
    ]
    failed = "; ".join(f"{r.case.label}: {len(r.failures)}" for r in measured if r.failures)
    found.append(("Failed processes", failed or "none"))
    return found
