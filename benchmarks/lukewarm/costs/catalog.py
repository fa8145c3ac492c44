"""The price catalog: append-only dated rows and billing plans, looked up as of a day, with a user's own rows on top."""

from __future__ import annotations

import datetime as dt
import functools
import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from lukewarm.costs.schema import Plan, Row
from lukewarm.predictors.errors import PriceError, unknown

STALE_DAYS = 180
HOURS_PER_MONTH = 730.0
SECONDS_PER_MONTH = HOURS_PER_MONTH * 3600
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
T = TypeVar("T")


@dataclass(frozen=True)
class Catalog:
    """Rows and plans as of one day. `rows` of the overlay come last and win over the package's own."""

    rows: tuple[Row, ...]
    overlay: tuple[Row, ...]
    plans: tuple[Plan, ...]
    gpus_gb: dict[str, float]
    as_of: dt.date

    def row(self, provider: str, products: str | Iterable[str], hardware: str) -> Row:
        """The newest row that is valid on the day, or PriceError naming what is known."""
        wanted = (products,) if isinstance(products, str) else tuple(products)
        for rows in (self.overlay, self.rows):
            for product in wanted:
                found = [r for r in rows if (r.provider, r.product, r.hardware) == (provider, product, hardware)]
                if newest := self._newest(found):
                    return newest
        raise self._no_row(provider, wanted, hardware)

    def current(self, plan: Plan) -> list[Row]:
        """The newest valid row of every hardware that a plan can rent; its products win in the order it lists them."""
        names: dict[str, None] = {}
        for row in (*self.overlay, *self.rows):
            if row.provider == plan.provider and row.product in plan.products:
                names.setdefault(row.hardware)
        found = []
        for name in names:
            try:
                found.append(self.row(plan.provider, plan.products, name))
            except PriceError:  # every row of this hardware was withdrawn or is newer than the day asked for
                continue
        return found

    def plan(self, name: str) -> Plan:
        """A plan by `provider`, `provider:plan` or the name of a deployment target."""
        provider, _, which = name.partition(":")
        mine = [p for p in self.plans if p.provider == provider] or [p for p in self.plans if provider in p.targets]
        if not mine:
            raise PriceError(unknown("provider", provider, self.providers()))
        if which:
            chosen = [p for p in mine if p.plan == which]
            if not chosen:
                raise PriceError(unknown(f"plan of {provider}", which, [p.plan for p in mine]))
            return chosen[0]
        return next((p for p in mine if p.default), mine[0])

    def deployable(self, name: str) -> Plan:
        """As `plan`, but a provider that is gone is refused: it stays in the catalog as history only."""
        plan = self.plan(name)
        if plan.status != "active":
            when = f" on {plan.closed_on}" if plan.closed_on else ""
            raise PriceError(
                f"{plan.provider} shut down{when}; its prices are kept as history and cannot be chosen for a new "
                f"deployment; choose one of: {', '.join(self.providers(active=True))}"
            )
        return plan

    def providers(self, *, active: bool = False) -> list[str]:
        return sorted({p.provider for p in self.plans if p.status == "active" or not active})

    def age_days(self, row: Row) -> int:
        return (self.as_of - row.as_of).days

    def stale(self, rows: Iterable[Row]) -> list[str]:
        """One warning for every row that is more than 180 days older than the day asked for."""
        return [
            f"{r.provider} {r.product} {r.hardware}: price of {r.as_of} is {self.age_days(r)} days old ({r.source})"
            for r in dict.fromkeys(rows)
            if self.age_days(r) > STALE_DAYS
        ]

    def _newest(self, rows: Iterable[Row]) -> Row | None:
        valid = [r for r in rows if r.as_of <= self.as_of and (r.withdrawn is None or self.as_of < r.withdrawn)]
        return max(valid, key=lambda r: r.as_of, default=None)

    def _no_row(self, provider: str, products: tuple[str, ...], hardware: str) -> PriceError:
        mine = [r for r in (*self.rows, *self.overlay) if r.provider == provider]
        if not mine:
            return PriceError(unknown("provider", provider, {r.provider for r in self.rows}))
        named = [r for r in mine if r.product in products and r.hardware == hardware]
        if not named:
            return PriceError(unknown(f"hardware of {provider}", hardware, {r.hardware for r in mine}))
        first = min(r.as_of for r in named)
        if first > self.as_of:
            return PriceError(f"no price of {provider} {hardware} on {self.as_of}: the first row is of {first}")
        return PriceError(f"{provider} {hardware} was withdrawn before {self.as_of} and nothing replaced it")


def load(as_of: dt.date | None = None, overlay: str | Path | None = None) -> Catalog:
    """The catalog as of a day (today), with the rows of the user's own file winning over the package's.

    Raises PriceError for a day before the first row, and for an overlay with a wrong row (file and row named).
    """
    rows, plans, gpus_gb = _package_data()
    more_rows, more_plans = _plugins()
    rows, plans = (*rows, *more_rows), (*plans, *more_plans)
    mine, own_plans = read_overlay(Path(overlay)) if overlay else ((), ())
    day = as_of or dt.date.today()
    first = min(r.as_of for r in (*rows, *mine))
    if day < first:
        raise PriceError(f"no prices on {day}: the first row of the catalog is of {first}; give a later --as-of")
    kept = tuple(p for p in plans if p.name not in {q.name for q in own_plans})
    return Catalog(rows, mine, (*kept, *own_plans), gpus_gb, day)


def read_overlay(path: Path) -> tuple[tuple[Row, ...], tuple[Plan, ...]]:
    """A user's own file: a list of rows, or a mapping with `prices` and `plans` (same fields as the package's data)."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PriceError(f"{path}: cannot read the price file: {error}") from error
    data = _parse(text, str(path))
    if isinstance(data, list):
        data = {"prices": data}
    if not isinstance(data, dict) or not set(data) <= {"prices", "plans"}:
        raise PriceError(f"{path}: a price file is a list of rows, or a mapping with 'prices' and 'plans'")
    rows = decode(data.get("prices") or [], Row, f"{path}: price row")
    return rows, decode(data.get("plans") or [], Plan, f"{path}: plan")


def decode(data: Any, kind: type[T], where: str) -> tuple[T, ...]:
    """Every item of a list as `kind`; PriceError names the row by number and what is wrong with it."""
    if not isinstance(data, list):
        raise PriceError(f"{where}s: a list is needed")
    done: list[T] = []
    for number, item in enumerate(data, 1):
        try:
            done.append(msgspec.convert(item, kind))
        except msgspec.ValidationError as error:
            what = (
                f" ({item.get('provider')} {item.get('hardware') or item.get('plan')})"
                if isinstance(item, dict)
                else ""
            )
            raise PriceError(f"{where} {number}{what}: {error}") from error
    return tuple(done)


@functools.cache
def _plugins() -> tuple[tuple[Row, ...], tuple[Plan, ...]]:
    """Providers of other packages: entry points `lukewarm.providers`, each a function that returns {prices, plans},
    or an object for `lukewarm push`, which may have that function as its method `catalog`."""
    rows: tuple[Row, ...] = ()
    plans: tuple[Plan, ...] = ()
    for entry in sorted(entry_points(group="lukewarm.providers"), key=lambda e: e.name):
        try:
            found = entry.load()
        except Exception as error:  # another package's code; one that is broken must not look like a fault of ours
            raise PriceError(f"provider {entry.name!r} of another package cannot be loaded: {error}") from error
        data: dict[str, Any] = (found if inspect.isroutine(found) else getattr(found, "catalog", dict))()
        rows += decode(data.get("prices", []), Row, f"{entry.value}: price row")
        plans += decode(data.get("plans", []), Plan, f"{entry.value}: plan")
    return rows, plans


def _parse(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        raise PriceError(f"{where}: not YAML: {error}") from error


@functools.cache
def _package_data() -> tuple[tuple[Row, ...], tuple[Plan, ...], dict[str, float]]:
    data = files("lukewarm.costs") / "data"
    rows: list[Row] = []
    for file in sorted((data / "prices").iterdir(), key=lambda f: f.name):
        if file.name.endswith(".yaml"):
            rows += decode(_parse(file.read_text("utf-8"), file.name), Row, f"{file.name}: price row")
    plans = decode(_parse((data / "plans.yaml").read_text("utf-8"), "plans.yaml"), Plan, "plans.yaml: plan")
    gpus = msgspec.convert(_parse((data / "gpus.yaml").read_text("utf-8"), "gpus.yaml"), dict[str, float])
    return tuple(rows), plans, gpus
