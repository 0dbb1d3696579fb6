"""Metric definitions, and how they reach the fold: first a row in the catalog, then a control record per partition.

Definition and control are put in one transaction (an outbox); a control that a crash kept from the log is sent at the
next start, and the fold skips one that it has seen (DESIGN.md section 3).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime

import msgspec

from penstock.kernel.control import Control, MetricArchived, MetricDefined
from penstock.kernel.meter import Metric
from penstock.kernel.ports import Catalog, Clock, Item
from penstock.kernel.problems import Conflict, NotFound
from penstock.kernel.record import Vector

METRIC = "metric"
CONTROL = "control"
PENDING, SENT = "pending", "sent"

# Appends a control to every partition and returns its offsets, in partition order. Raises `LogUnavailable`.
Send = Callable[[Control], Vector]


class Definition(msgspec.Struct, frozen=True):
    """A metric as its owner defined it. `group_keys` keeps the simple and compound keys as they were declared."""

    metric: Metric
    created_at: datetime
    control_id: str
    group_keys: tuple[tuple[str, ...], ...] = ()
    custom_fields: dict[str, str] = {}
    archived_at: datetime | None = None
    archive_control_id: str | None = None


class Lifetime(msgspec.Struct, frozen=True):
    """A metric with the offsets, one per partition, of the records that define and archive it; None while unknown."""

    definition: Definition
    since: Vector | None
    until: Vector | None

    def is_over_at(self, partition: int, offset: int) -> bool:
        return self.until is not None and offset > self.until[partition]

    def is_folded_at(self, partition: int, offset: int) -> bool:
        """Whether the fold knew the metric when it came to this record."""
        return self.since is not None and offset > self.since[partition] and not self.is_over_at(partition, offset)


class _Outgoing(msgspec.Struct, frozen=True):
    """A control on its way; `offsets` are known once every partition has it."""

    control: Control
    offsets: Vector | None = None


class Metrics:
    """The metrics of every tenant."""

    def __init__(self, catalog: Catalog, clock: Clock, send: Send) -> None:
        self._catalog = catalog
        self._clock = clock
        self._send = send

    def create(self, tenant: str, definition: Callable[[str, str, datetime], Definition]) -> Definition:
        """Store and announce what `definition` makes of a new metric id, control id and the present."""
        now = self._clock.now()
        made = definition(str(uuid.uuid4()), str(uuid.uuid4()), now)
        control = MetricDefined(made.control_id, made.metric.id, 0, made.metric)
        self._catalog.put([_item(tenant, made), _outgoing(tenant, _Outgoing(control))], now)
        self.send_pending()
        return made

    def archive(self, tenant: str, metric_id: str) -> Definition:
        """Take no further event into the metric; what it counted stays. Raise `NotFound`, or `Conflict` if archived."""
        item = self._catalog.get(tenant, METRIC, metric_id)
        if item is None:
            raise NotFound(f"no billable metric {metric_id}", field="id")
        held = msgspec.json.decode(item.body, type=Definition)
        if held.archived_at is not None:
            raise Conflict(f"billable metric {metric_id} is archived already")
        now = self._clock.now()
        control = MetricArchived(str(uuid.uuid4()), metric_id, 1, metric_id)
        archived = msgspec.structs.replace(held, archived_at=now, archive_control_id=control.id)
        revised = msgspec.structs.replace(item, body=msgspec.json.encode(archived))
        self._catalog.put([revised, _outgoing(tenant, _Outgoing(control))], now)
        self.send_pending()
        return archived

    def find(self, tenant: str, metric_id: str) -> Definition | None:
        item = self._catalog.get(tenant, METRIC, metric_id)
        return msgspec.json.decode(item.body, type=Definition) if item else None

    def lifetimes(self, tenant: str) -> list[Lifetime]:
        """Every metric of the tenant, in order of creation, with where in the log it begins and ends."""
        return [
            Lifetime(d, self._offsets(tenant, d.control_id), self._offsets(tenant, d.archive_control_id))
            for _, d in self.list(tenant)
        ]

    def list(self, tenant: str, after: int = 0, limit: int | None = None) -> list[tuple[int, Definition]]:
        """Definitions with their place in the catalog, in order of creation."""
        items = self._catalog.list(tenant, METRIC, after=after, limit=limit)
        return [(i.sequence, msgspec.json.decode(i.body, type=Definition)) for i in items]

    def in_force_at(self, tenant: str, metric_id: str) -> Vector | None:
        """The offsets at which the fold learned of the metric, or None while they are not known."""
        definition = self.find(tenant, metric_id)
        return self._offsets(tenant, definition.control_id) if definition else None

    def over_at(self, tenant: str, metric_id: str) -> Vector | None:
        """The offsets at which the fold let go of the metric, or None while it has not."""
        definition = self.find(tenant, metric_id)
        return self._offsets(tenant, definition.archive_control_id) if definition else None

    def _offsets(self, tenant: str, control_id: str | None) -> Vector | None:
        item = self._catalog.get(tenant, CONTROL, control_id) if control_id is not None else None
        return msgspec.json.decode(item.body, type=_Outgoing).offsets if item else None

    def send_pending(self) -> None:
        """Send every control that is not in the log yet. Idempotent: the fold skips a known control."""
        for item in self._catalog.list(None, CONTROL, parent=PENDING):
            outgoing = msgspec.json.decode(item.body, type=_Outgoing)
            sent = msgspec.structs.replace(outgoing, offsets=self._send(outgoing.control))
            done = msgspec.structs.replace(item, body=msgspec.json.encode(sent), parent=SENT)
            try:
                self._catalog.put([done], self._clock.now())
            except Conflict:
                continue  # another thread sent it too, and noted its own offsets: either copy is the one that acts


def _item(tenant: str, definition: Definition) -> Item:
    return Item(tenant, METRIC, definition.metric.id, msgspec.json.encode(definition))


def _outgoing(tenant: str, outgoing: _Outgoing) -> Item:
    return Item(tenant, CONTROL, outgoing.control.id, msgspec.json.encode(outgoing), parent=PENDING)
