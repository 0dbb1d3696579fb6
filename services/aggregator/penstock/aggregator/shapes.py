"""The shapes of the aggregator's requests and answers, in Metronome's terms."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from penstock.aggregator.extract import is_readable_name
from penstock.aggregator.metrics import Definition
from penstock.kernel.meter import Aggregation, EventTypeFilter, Metric, PropertyFilter
from penstock.kernel.problems import BadRequest, Unprocessable
from penstock.kernel.usage import UsageRow
from penstock.kernel.window import WindowSize
from penstock.web.instant import as_utc

GROUP_KEYS_MAX = 10
FILTER_VALUES_MAX = 200


class IdBody(msgspec.Struct):
    id: str


class MetricBody(msgspec.Struct):
    """POST /v1/billable-metrics/create."""

    name: str
    aggregation_type: str | None = None
    aggregation_key: str | None = None
    event_type_filter: EventTypeFilter | None = None
    property_filters: list[PropertyFilter] | None = None
    group_keys: list[list[str]] | None = None
    custom_fields: dict[str, str] | None = None
    sql: str | None = None

    def to_metric(self, metric_id: str, tenant: str) -> Metric:
        """The metric that this body defines. Raise `BadRequest` or `Unprocessable` naming the field."""
        if self.sql is not None:
            raise Unprocessable("SQL metrics are not supported; define the metric by aggregation_type", field="sql")
        if not self.name:
            raise BadRequest("name is empty", field="name")
        aggregation = self._aggregation()
        metric = Metric(
            id=metric_id,
            tenant=tenant,
            name=self.name,
            aggregation=aggregation,
            aggregation_key=None if aggregation is Aggregation.COUNT else self.aggregation_key,
            event_types=self.event_type_filter or EventTypeFilter(),
            property_filters=tuple(self.property_filters or ()),
            group_keys=tuple(dict.fromkeys(name for key in self.declared_group_keys() for name in key)),
        )
        for name in metric.property_names:
            if not is_readable_name(name):
                raise BadRequest(f"{name!r} cannot be the name of a property", field="property_filters")
        return metric

    def declared_group_keys(self) -> tuple[tuple[str, ...], ...]:
        declared = tuple(tuple(key) for key in self.group_keys or ())
        if any(not key for key in declared) or len({n for key in declared for n in key}) > GROUP_KEYS_MAX:
            raise BadRequest(f"group_keys holds an empty key or more than {GROUP_KEYS_MAX} names", field="group_keys")
        return declared

    def _aggregation(self) -> Aggregation:
        text = (self.aggregation_type or "").upper()
        if text not in Aggregation.__members__:
            known = ", ".join(Aggregation.__members__)
            raise BadRequest(f"aggregation_type must be one of {known}", field="aggregation_type")
        if text != "COUNT" and not self.aggregation_key:
            raise BadRequest(f"{text} needs an aggregation_key", field="aggregation_key")
        return Aggregation[text]


class GroupBy(msgspec.Struct):
    key: str
    values: list[str] | None = None


class WantedMetric(msgspec.Struct):
    id: str
    group_by: GroupBy | None = None


class _Windowed(msgspec.Struct):
    window_size: str = "NONE"

    def window(self) -> WindowSize:
        text = self.window_size.upper()
        if text not in WindowSize.__members__:
            known = ", ".join(WindowSize.__members__)
            raise BadRequest(f"window_size must be one of {known}", field="window_size")
        return WindowSize[text]


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
    """POST /v1/usage/groups."""

    billable_metric_id: str
    customer_id: str
    starting_on: datetime | None = None
    ending_before: datetime | None = None
    current_period: bool = False
    group_key: list[str] | None = None
    group_filters: dict[str, list[str]] | None = None
    group_by: GroupBy | None = None

    def bounds(self) -> tuple[datetime, datetime]:
        if self.starting_on is None or self.ending_before is None:
            name = "starting_on" if self.starting_on is None else "ending_before"
            raise BadRequest(f"{name} is missing (or ask for current_period)", field=name)
        return as_utc(self.starting_on, "starting_on"), as_utc(self.ending_before, "ending_before")

    def grouping(self) -> tuple[tuple[str, ...], tuple[tuple[str, tuple[str | None, ...]], ...]]:
        """The keys to group by, and the values wanted of each."""
        if self.group_by is not None:
            by: tuple[str, ...] = (self.group_by.key,)
            wanted = {self.group_by.key: self.group_by.values or []}
        else:
            by, wanted = tuple(self.group_key or ()), self.group_filters or {}
        if sum(map(len, wanted.values())) > FILTER_VALUES_MAX:
            raise BadRequest(f"group_filters holds more than {FILTER_VALUES_MAX} values", field="group_filters")
        for name in wanted:
            if name not in by:
                raise BadRequest(f"{name} is filtered but not in group_key", field="group_filters")
        return by, tuple((name, tuple(values)) for name, values in wanted.items() if values)


def metric_view(definition: Definition) -> dict[str, Any]:
    """A billable metric as the API shows it."""
    metric = definition.metric
    return {
        "id": metric.id,
        "name": metric.name,
        "aggregation_type": metric.aggregation.value,
        "aggregation_key": metric.aggregation_key,
        "event_type_filter": _filter_view(metric.event_types),
        "property_filters": [{"name": f.name, "exists": f.exists, **_filter_view(f)} for f in metric.property_filters],
        "group_keys": definition.group_keys,
        "custom_fields": definition.custom_fields,
        "archived_at": definition.archived_at,
        "sql": None,
    }


def _filter_view(wanted: EventTypeFilter | PropertyFilter) -> dict[str, Any]:
    return {"in_values": wanted.in_values, "not_in_values": wanted.not_in_values}


def group_view(row: UsageRow, by: tuple[str, ...]) -> dict[str, Any]:
    """A row of usage by group. A group value that the events lack is left out of `group`: the SDK types it as text."""
    simple = len(by) == 1
    return {
        "starting_on": row.span.start,
        "ending_before": row.span.end,
        "value": row.value,
        "group": {name: value for name, value in zip(by, row.groups, strict=True) if value is not None},
        "group_key": by[0] if simple else None,
        "group_value": row.groups[0] if simple else None,
    }
