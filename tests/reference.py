"""The reference model: what Penstock must answer, computed the slow and obvious way from every event that was sent.

The oracle of the flow and property tests. It imports nothing of the product. It takes the very bodies that a test sends
to the API (metrics, products, rates, a contract with overrides and commits, as plain dicts), so one dict drives both
sides. Money is in cents, as in that API. Everything is walked again for every question.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from itertools import pairwise
from typing import Any

Body = Mapping[str, Any]
Groups = tuple[str | None, ...]
UsageTable = dict[tuple[datetime, Groups], Decimal | None]  # by start of window and group values
Price = tuple[tuple[Decimal | None, Decimal], ...]  # (up to how many units, cents each); None = without end

JSON_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
FAR = datetime(9999, 1, 1, tzinfo=UTC)
ZERO = Decimal(0)


def instant(value: str | datetime) -> datetime:
    """An aware UTC instant from what the API takes."""
    return (datetime.fromisoformat(value) if isinstance(value, str) else value).astimezone(UTC)


def number(value: object) -> Decimal | None:
    """The number that a property holds: a JSON number or a decimal string. Text, booleans, null and nests hold none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float | Decimal):
        return Decimal(str(value))
    return Decimal(value) if isinstance(value, str) and JSON_NUMBER.fullmatch(value) else None


def out_of_range(value: Decimal) -> bool:
    """Whether it has more than 26 digits before or 12 after the point (zeros at the ends do not count)."""
    _, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    written = "".join(map(str, digits)).lstrip("0")
    kept = written.rstrip("0")
    exponent += len(written) - len(kept)
    return bool(kept) and (len(kept) + exponent > 26 or -exponent > 12)


def text(value: object) -> str | None:
    """A group value: the text of a string, the shortest plain decimal of a number, a boolean's JSON word, else None."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    held = number(value)
    if held is None:
        return None
    plain = format(held, "f")
    plain = plain.rstrip("0").rstrip(".") if "." in plain else plain
    return plain if held else "0"


def prop(event: Body, name: str | None) -> Any:
    return event.get("properties", {}).get(name)


def first_of_each_id(sent: Iterable[Body]) -> list[Body]:
    """What is accepted of the events in the order they were sent: of several with one id, the first."""
    kept: dict[str, Body] = {}
    for event in sent:
        kept.setdefault(event["transaction_id"], event)
    return list(kept.values())


def takes_type(metric: Body, event: Body) -> bool:
    """Whether the metric takes events of this type."""
    types = metric.get("event_type_filter") or {}
    wanted, refused = types.get("in_values"), types.get("not_in_values") or ()
    return (wanted is None or event["event_type"] in wanted) and event["event_type"] not in refused


def takes(metric: Body, event: Body) -> bool:
    """Whether the metric takes this event, whatever it counts of it."""
    for rule in metric.get("property_filters") or ():
        value = text(prop(event, rule["name"]))
        if rule.get("exists") is not None and rule["exists"] != (value is not None):
            return False
        wanted, refused = rule.get("in_values"), rule.get("not_in_values") or ()
        if (wanted is not None and value not in wanted) or value in refused:
            return False
    return takes_type(metric, event)


def group_names(metric: Body) -> list[str]:
    """The names of the metric's group keys, each once, in order."""
    return list(dict.fromkeys(name for compound in metric.get("group_keys") or () for name in compound))


def is_quarantined(metrics: Iterable[Body], event: Body) -> bool:
    """Whether a number that some metric of this event type reads is out of range; text counts where it is metered."""
    for metric in metrics:
        if takes_type(metric, event):
            key, filters = metric.get("aggregation_key"), metric.get("property_filters") or ()
            read = [prop(event, name) for name in (key, *(rule["name"] for rule in filters), *group_names(metric))]
            numbers = [number(value) for value in read if not isinstance(value, str)]
            if metric["aggregation_type"].upper() not in ("COUNT", "UNIQUE"):
                numbers.append(number(prop(event, key)))
            if any(held is not None and out_of_range(held) for held in numbers):
                return True
    return False


def aggregate(metric: Body, events: Iterable[Body]) -> tuple[Decimal | None, int]:
    """The metric over these events, and how many of them it counted. None where it counted none and has no zero."""
    kind, held = metric["aggregation_type"].upper(), []
    for event in events:
        raw, transaction_id = prop(event, metric.get("aggregation_key")), event["transaction_id"]
        value: Any = transaction_id if kind == "COUNT" else text(raw) if kind == "UNIQUE" else number(raw)
        if value is not None and takes(metric, event):
            held.append((instant(event["timestamp"]), transaction_id, value))
    values = [value for _, _, value in held]
    if kind in ("COUNT", "UNIQUE"):
        return Decimal(len(set(values))), len(held)
    if kind in ("SUM", "TIME_WEIGHTED_SUM"):  # of a level, by how much it changed; level_reference.py has the rest
        return sum(values, ZERO), len(held)
    if not held:
        return None, 0
    if kind == "LATEST":
        return max(held, key=lambda each: each[:2])[2], len(held)
    assert kind in ("MAX", "MIN"), kind
    return (max if kind == "MAX" else min)(values), len(held)


def window_start(at: datetime, size: str, start: datetime) -> datetime:
    """Where the window of that size that holds the instant begins."""
    hour = 0 if size == "DAY" else at.hour
    minute = at.minute - at.minute % 15 if size == "QUARTER" else 0
    return start if size == "NONE" else at.replace(hour=hour, minute=minute, second=0, microsecond=0)


def usage(
    metric: Body, events: Iterable[Body], start: datetime, end: datetime, size: str = "NONE", by: Sequence[str] = ()
) -> UsageTable:
    """The metric in [start, end) per window and group; only where it counted at least one event."""
    boxes: dict[tuple[datetime, Groups], list[Body]] = {}
    for event in events:
        at = instant(event["timestamp"])
        if start <= at < end:
            groups = tuple(text(prop(event, name)) for name in by)
            boxes.setdefault((window_start(at, size.upper(), start), groups), []).append(event)
    with localcontext(prec=200):
        found = {key: aggregate(metric, box) for key, box in boxes.items()}
    return {key: value for key, (value, count) in found.items() if count}


def in_force(dated: Body, at: datetime) -> bool:
    return instant(dated["starting_at"]) <= at < instant(dated.get("ending_before") or FAR)


def tiers_of(rate: Body, value: str = "price") -> Price:
    """A flat rate as one open tier; a tiered one as bounds, from the widths that the API takes."""
    if not rate.get("tiers"):
        return ((None, Decimal(str(rate[value]))),)
    bounds: list[tuple[Decimal | None, Decimal]] = []
    reached = ZERO
    for tier in rate["tiers"]:
        reached += Decimal(str(tier.get("size") or 0))
        bounds.append((reached if tier.get("size") else None, Decimal(str(tier[value]))))
    return tuple(bounds)


def tier_at(price: Price, units: Decimal) -> tuple[Decimal | None, Decimal]:
    """The tier that the next unit after `units` falls in; past the last bound the last tier goes on."""
    return next((tier for tier in price if tier[0] is None or units < tier[0]), (None, price[-1][1]))


def cost(price: Price, units: Decimal) -> Decimal:
    """What the first so many units cost. Below zero a single price goes on; tiers charge nothing."""
    if units < 0:
        return price[0][1] * units if len(price) == 1 else ZERO
    spent, at = ZERO, ZERO
    while at < units:
        up_to, each = tier_at(price, at)
        stop = units if up_to is None else min(up_to, units)
        spent += each * (stop - at)
        at = stop
    return spent


def scaled(price: Price, multipliers: Price) -> Price:
    """List prices times multipliers, each with its own bounds."""
    edges = sorted({up_to for up_to, _ in (*price, *multipliers) if up_to is not None})
    products = [tier_at(price, units)[1] * tier_at(multipliers, units)[1] for units in (ZERO, *edges)]
    return tuple(zip([*edges, None], products, strict=True))


@dataclass
class Charge:
    """What one product and pricing group cost in one span at one price; `slices` are (start, end, cents) of it."""

    product_id: str
    groups: dict[str, str | None]
    start: datetime
    end: datetime
    quantity: Decimal
    price: Price
    total: Decimal
    slices: list[tuple[datetime, datetime, Decimal]]


@dataclass
class Invoice:
    """The usage invoice of a period: charges, what each commit paid of each product, and what is left to pay."""

    start: datetime
    end: datetime
    charges: list[Charge]
    draws: list[tuple[str, str, Decimal]]  # (commit, product, cents)
    total: Decimal


@dataclass
class Segment:
    """One item of a commit's access schedule and what is left of it."""

    commit: Body
    start: datetime
    end: datetime
    remaining: Decimal


@dataclass
class World:
    """One customer with one contract. Metrics and products are keyed by the ids that the API gave them."""

    sent: Sequence[Body]
    keys: set[str]  # the customer's id and aliases
    metrics: Mapping[str, Body]
    products: Mapping[str, Body] = field(default_factory=dict)
    rates: Sequence[Body] = field(default_factory=list)
    contract: Body = field(default_factory=dict)

    def events(self) -> list[Body]:
        """What counts for the customer."""
        mine = [each for each in first_of_each_id(self.sent) if each["customer_id"] in self.keys]
        return [each for each in mine if not is_quarantined(self.metrics.values(), each)]

    def usage(
        self, metric_id: str, start: datetime, end: datetime, size: str = "NONE", by: Sequence[str] = ()
    ) -> UsageTable:
        return usage(self.metrics[metric_id], self.events(), start, end, size, by)

    def override_at(self, product_id: str, groups: Body, at: datetime) -> Body | None:
        """The one override that acts: the youngest overwrite; else by priority; else the lowest multiplier."""
        tags = set(self.products[product_id].get("tags") or ())
        overrides: list[Body] = [o for o in self.contract.get("overrides") or () if in_force(o, at)]
        acting = [o for o in overrides if _specified(o, product_id, tags, groups)]
        overwrites = [o for o in acting if o["type"].upper() == "OVERWRITE"]
        if overwrites:
            return max(overwrites, key=lambda o: instant(o["starting_at"]))
        if self.contract.get("multiplier_override_prioritization", "").upper() == "EXPLICIT":
            return min(acting, key=lambda o: Decimal(str(o["priority"])), default=None)
        return min(acting, key=lambda o: min(each for _, each in tiers_of(o, "multiplier")), default=None)

    def price_of(self, product_id: str, groups: Body, at: datetime) -> Price | None:
        """What a unit costs at an instant: the youngest rate of these groups, and the override that acts on it."""
        live = [r for r in self.rates if r["product_id"] == product_id and in_force(r, at)]
        mine = [r for r in live if (r.get("pricing_group_values") or {}) == groups]
        if not mine:
            return None
        rate = max(reversed(mine), key=lambda r: instant(r["starting_at"]))
        override = self.override_at(product_id, groups, at) or {"type": "MULTIPLIER", "multiplier": 1}
        if not override.get("entitled", rate["entitled"]):
            return None
        if override["type"].upper() == "OVERWRITE":
            return tiers_of(override.get("overwrite_rate") or rate)
        multipliers = tiers_of(override, "multiplier")
        if multipliers[-1][0] is not None:
            multipliers = (*multipliers, (None, Decimal(1)))  # past the last width the list price holds
        return scaled(tiers_of(rate), multipliers)

    def spans(self, product_id: str, groups: Body, start: datetime, end: datetime) -> list[Any]:
        """The period as (start, end, price), cut only where the price really changes."""
        dated = [*self.rates, *(self.contract.get("overrides") or ())]
        turns = {instant(d[name]) for d in dated for name in ("starting_at", "ending_before") if d.get(name)}
        out: list[tuple[datetime, datetime, Price | None]] = []
        for a, b in pairwise([start, *sorted(turn for turn in turns if start < turn < end), end]):
            price = self.price_of(product_id, groups, a)
            if out and out[-1][2] == price:
                a = out.pop()[0]
            out.append((a, b, price))
        return [span for span in out if span[2] is not None]

    def charges(self, start: datetime, end: datetime) -> list[Charge]:
        """Every charge of a billing period, in the order in which products and groups were first priced."""
        out, events = [], self.events()
        priced = [(r["product_id"], tuple((r.get("pricing_group_values") or {}).items())) for r in self.rates]
        for product_id, values in dict.fromkeys(priced):
            groups = dict(values)
            metric = self.metrics[self.products[product_id]["billable_metric_id"]]
            mine = [e for e in events if all(text(prop(e, name)) == groups[name] for name in groups)]
            counter = ZERO  # of units, for tiers: it runs over the whole period, whatever happens to the price
            for a, b, price in self.spans(product_id, groups, start, end):
                quantity = usage(metric, mine, a, b).get((a, ()))
                if quantity is not None:
                    slices = self._slices(metric, mine, a, b, price, counter)
                    total = sum((cents for _, _, cents in slices), ZERO)
                    out.append(Charge(product_id, groups, a, b, quantity, price, total, slices))
                    counter += quantity
        return out

    def _slices(
        self, metric: Body, events: list[Body], start: datetime, end: datetime, price: Price, counter: Decimal
    ) -> list[tuple[datetime, datetime, Decimal]]:
        """The charge cut where a commit begins or ends: differences of the rounded running amount, so parts sum."""
        turns = {turn for segment in self.segments() for turn in (segment.start, segment.end)}
        slices, before = [], ZERO
        for a, b in pairwise([start, *sorted(turn for turn in turns if start < turn < end), end]):
            # A metric that does not add up has one figure, and it is there when the span ends.
            known = b == end or metric["aggregation_type"].upper() in ("SUM", "COUNT", "UNIQUE")
            reached = (known and usage(metric, events, start, b).get((start, ()))) or ZERO
            with localcontext(prec=200):
                exact = cost(price, counter + reached) - cost(price, counter)
                running = exact.quantize(Decimal(1), rounding=ROUND_HALF_UP)  # whole cents, half away from zero
            slices.append((a, b, running - before))
            before = running
        return slices

    def segments(self) -> list[Segment]:
        """Every segment of every prepaid commit, in the order in which they are drawn down."""
        found = []
        for commit in self.contract.get("commits") or ():
            short = [{**self.contract, "amount": commit.get("amount")}]  # a bare amount covers the contract's term
            for item in (commit.get("access_schedule") or {"schedule_items": short})["schedule_items"]:
                start, end = instant(item["starting_at"]), instant(item.get("ending_before") or FAR)
                found.append(Segment(commit, start, end, Decimal(str(item["amount"]))))
        return sorted(found, key=_draw_down_rank)

    def invoices(self, until: datetime) -> tuple[list[Invoice], list[Segment]]:
        """The usage invoice of every calendar month that began before `until`, and the segments after all draws."""
        segments = self.segments()
        contract_end = instant(self.contract.get("ending_before") or FAR)
        start, out = instant(self.contract["starting_at"]), []
        while start < min(contract_end, until):
            midnight = start.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
            end = min((midnight + timedelta(days=32)).replace(day=1), contract_end)
            charges = self.charges(start, end)
            draws = self._draw_down(charges, segments)
            owed = sum((c.total for c in charges), ZERO) - sum((cents for _, _, cents in draws), ZERO)
            out.append(Invoice(start, end, charges, draws, owed))
            start = end
        return out, segments

    def _draw_down(self, charges: list[Charge], segments: list[Segment]) -> list[tuple[str, str, Decimal]]:
        """Commits in their order; inside one, charges by time, then line order."""
        pieces: list[Any] = [[*piece, charge.product_id] for charge in charges for piece in charge.slices]
        pieces.sort(key=lambda piece: piece[0])  # stable: line order stays where the time is the same
        draws = []
        for segment in segments:
            for piece in pieces:
                start, end, left, product_id = piece
                paid = min(left, segment.remaining)
                covered = segment.start <= start and end <= segment.end
                if covered and paid > 0 and _applies(segment.commit, product_id, self.products):
                    segment.remaining -= paid
                    piece[2] -= paid
                    draws.append((str(segment.commit.get("name")), product_id, paid))
        return draws

    def net_balance(self, now: datetime) -> Decimal:
        """What the customer can spend at this moment, drafts included: only segments that are in force count."""
        _, segments = self.invoices(now)
        return sum((s.remaining for s in segments if s.start <= now < s.end), ZERO)


def _draw_down_rank(segment: Segment) -> tuple[Any, ...]:
    """Metronome's order: priority (none last), given before bought, fewest products, earliest end, earliest start."""
    commit = segment.commit
    products = commit.get("applicable_product_ids") or commit.get("applicable_product_tags") or range(10**9)
    priority, bought = commit.get("priority"), commit.get("invoice_schedule") is not None
    return (priority is None, priority or 0, bought, len(products), segment.end, segment.start)


def _specified(override: Body, product_id: str, tags: set[str], groups: Body) -> bool:
    """Whether any specifier of the override fits; without specifiers its own product or tags decide, else all fit."""
    own = {"product_id": override.get("product_id"), "product_tags": override.get("applicable_product_tags")}
    return any(
        each.get("product_id") in (None, product_id)
        and set(each.get("product_tags") or ()) <= tags
        and (each.get("pricing_group_values") or {}).items() <= groups.items()
        for each in override.get("override_specifiers") or [own]
    )


def _applies(commit: Body, product_id: str, products: Mapping[str, Body]) -> bool:
    ids, tags = commit.get("applicable_product_ids") or (), set(commit.get("applicable_product_tags") or ())
    return not (ids or tags) or product_id in ids or bool(tags & set(products[product_id].get("tags") or ()))
