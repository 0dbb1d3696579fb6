"""The shapes of usage questions and answers: Metronome's, with what Penstock can do beside it as further fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from penstock.aggregator.usage_windows import known_zone
from penstock.kernel.meter import GroupValue
from penstock.kernel.problems import BadRequest
from penstock.kernel.usage import UsageRow
from penstock.kernel.window import WindowSize
from penstock.web.instant import as_utc

FILTER_VALUES_MAX = 200
CUSTOMERS_MAX = 1_000
TOP_MAX = 1_000

Rules = tuple[tuple[str, tuple[GroupValue, ...]], ...]


class GroupBy(msgspec.Struct):
    key: str
    values: list[str] | None = None


class WantedMetric(msgspec.Struct):
    id: str
    group_by: GroupBy | None = None


class _Windowed(msgspec.Struct):
    window_size: str = "NONE"
    time_zone: str = "UTC"

    def window(self) -> WindowSize:
        text = self.window_size.upper()
        if text not in WindowSize.__members__:
            known = ", ".join(WindowSize.__members__)
            raise BadRequest(f"window_size must be one of {known}", field="window_size")
        return WindowSize[text]

    def zone(self) -> str:
        return known_zone(self.time_zone)


class UsageBody(_Windowed, kw_only=True):
    """POST /v1/usage; the last three fields are the seed document's spelling."""

    starting_on: datetime
    ending_before: datetime
    billable_metrics: list[WantedMetric] | None = None
    customer_ids: list[str] | None = None
    billable_metric_id: str | None = None
    customer_id: str | None = None
    group_by: GroupBy | None = None

    def __post_init__(self) -> None:
        self.starting_on = as_utc(self.starting_on, "starting_on")
        self.ending_before = as_utc(self.ending_before, "ending_before")


class GroupUsageBody(_Windowed, kw_only=True):
    """POST /v1/usage/groups; from `customer_ids` on the fields are Penstock's own."""

    billable_metric_id: str
    customer_id: str | None = None
    starting_on: datetime | None = None
    ending_before: datetime | None = None
    current_period: bool = False
    group_key: list[str] | None = None
    group_filters: dict[str, list[str | None]] | None = None
    group_by: GroupBy | None = None
    customer_ids: list[str] | None = None
    by_customer: bool = True
    group_filters_not_in: dict[str, list[str | None]] | None = None
    top: int | None = None
    other: bool = False

    def bounds(self) -> tuple[datetime, datetime]:
        if self.starting_on is None or self.ending_before is None:
            name = "starting_on" if self.starting_on is None else "ending_before"
            raise BadRequest(f"{name} is missing (or ask for current_period)", field=name)
        return as_utc(self.starting_on, "starting_on"), as_utc(self.ending_before, "ending_before")

    def customers(self) -> Sequence[str]:
        """The customers as they were named: one, or several."""
        if (self.customer_id is None) == (self.customer_ids is None):
            raise BadRequest("name either customer_id or customer_ids", field="customer_id")
        named = [self.customer_id] if self.customer_id is not None else self.customer_ids or []
        if not 1 <= len(named) <= CUSTOMERS_MAX:
            raise BadRequest(f"customer_ids must name 1 to {CUSTOMERS_MAX} customers", field="customer_ids")
        return named

    def is_by_customer(self) -> bool:
        return self.customer_ids is not None and self.by_customer

    def grouping(self) -> tuple[tuple[str, ...], Rules, Rules]:
        """The keys to group by, the values wanted of some keys and the values not wanted."""
        if self.group_by is None:
            by, wanted = tuple(self.group_key or ()), self.group_filters or {}
        elif self.group_key is not None:
            raise BadRequest("group_by cannot be used together with group_key", field="group_by")
        else:
            by, wanted = (self.group_by.key,), {self.group_by.key: list(self.group_by.values or ())}
        if len(set(by)) < len(by):
            raise BadRequest("group_key names a key twice", field="group_key")
        return by, _rules(wanted, "group_filters"), _rules(self.group_filters_not_in or {}, "group_filters_not_in")

    def greatest(self, by: tuple[str, ...]) -> int | None:
        """How many of the greatest groups are wanted, or None for all."""
        if self.top is None:
            if self.other:
                raise BadRequest("other is what is left beside the top; name top too", field="other")
            return None
        if not 1 <= self.top <= TOP_MAX:
            raise BadRequest(f"top must be from 1 to {TOP_MAX}", field="top")
        if not by and not self.is_by_customer():
            raise BadRequest("top needs a group_key, or several customers told apart", field="top")
        return self.top


def _rules(wanted: Mapping[str, Sequence[GroupValue]], field: str) -> Rules:
    """An empty list is no rule."""
    if sum(map(len, wanted.values())) > FILTER_VALUES_MAX:
        raise BadRequest(f"{field} holds more than {FILTER_VALUES_MAX} values", field=field)
    return tuple((name, tuple(values)) for name, values in wanted.items() if values)


def group_view(row: UsageRow, by: tuple[str, ...], body: GroupUsageBody) -> dict[str, Any]:
    """A row of usage by group. A group value that the events lack is left out of `group`: the SDK types it as text."""
    groups = row.groups if not row.is_rest else (None,) * len(by)
    view: dict[str, Any] = {
        "starting_on": row.span.start,
        "ending_before": row.span.end,
        "value": row.value,
        "group": {name: value for name, value in zip(by, groups, strict=True) if value is not None},
        "group_key": by[0] if len(by) == 1 else None,
        "group_value": groups[0] if len(by) == 1 else None,
    }
    if body.is_by_customer():
        view["customer_id"] = row.customer_key
    if body.other:
        view["is_other"] = row.is_rest
    return view
