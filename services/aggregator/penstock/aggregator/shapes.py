"""The shapes of the aggregator's requests and answers, in Metronome's terms."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.aggregator.extract import is_readable_name
from penstock.aggregator.metrics import Definition
from penstock.kernel.meter import GROUP_COMBINATIONS_MAX, Aggregation, EventTypeFilter, Metric, PropertyFilter
from penstock.kernel.problems import BadRequest, Unprocessable

GROUP_KEYS_MAX = 10


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
    group_combinations_max: int | None = None

    def to_metric(self, metric_id: str, tenant: str, combinations_max: int = GROUP_COMBINATIONS_MAX) -> Metric:
        """The metric that this body defines, its limit at most `combinations_max`.

        Raise `BadRequest` or `Unprocessable` naming the field.
        """
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
            group_combinations_max=_limit(self.group_combinations_max, combinations_max),
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


class MetricUpdateBody(msgspec.Struct):
    """POST /v1/billable-metrics/update: what is absent stays as it is. How events are aggregated cannot be changed."""

    id: str
    name: str | None = None
    event_type_filter: EventTypeFilter | None = None
    property_filters: list[PropertyFilter] | None = None
    group_keys: list[list[str]] | None = None
    group_combinations_max: int | None = None

    def applied_to(self, held: Definition, combinations_max: int = GROUP_COMBINATIONS_MAX) -> Definition:
        """The definition with the change; a limit that is given is at most `combinations_max`.

        Raise `BadRequest` naming the field.
        """
        metric = held.metric
        body = MetricBody(
            name=self.name if self.name is not None else metric.name,
            aggregation_type=metric.aggregation.value,
            aggregation_key=metric.aggregation_key,
            event_type_filter=self.event_type_filter or metric.event_types,
            property_filters=list(metric.property_filters) if self.property_filters is None else self.property_filters,
            group_keys=[list(key) for key in held.group_keys] if self.group_keys is None else self.group_keys,
        )
        limit = metric.group_combinations_max
        if self.group_combinations_max is not None:
            limit = _limit(self.group_combinations_max, combinations_max)
        changed = body.to_metric(metric.id, metric.tenant, limit)
        lost = [name for name in metric.group_keys if name not in changed.group_keys]
        if lost:
            raise BadRequest(f"group_keys has lost {lost[0]}: prices may be grouped by it", field="group_keys")
        return msgspec.structs.replace(held, metric=changed, group_keys=body.declared_group_keys())


def _limit(asked: int | None, combinations_max: int) -> int:
    if asked is None:
        return combinations_max
    if not 1 <= asked <= combinations_max:
        raise BadRequest(
            f"group_combinations_max must be from 1 to {combinations_max}, which the server is set to",
            field="group_combinations_max",
        )
    return asked


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
        "group_combinations_max": metric.group_combinations_max,
        "revision": len(definition.history) - 1,
        "custom_fields": definition.custom_fields,
        "archived_at": definition.archived_at,
        "sql": None,
    }


def _filter_view(wanted: EventTypeFilter | PropertyFilter) -> dict[str, Any]:
    return {"in_values": wanted.in_values, "not_in_values": wanted.not_in_values}
