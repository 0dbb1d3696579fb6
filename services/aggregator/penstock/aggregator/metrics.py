"""Metric definitions, and how they reach the fold: first a row in the catalog, then a control record per partition.

Definition and control are put in one transaction (an outbox); a control that a crash kept from the log is sent at the
next start, and the fold skips one that it has seen (DESIGN.md section 3).
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from penstock.kernel.control import Control, MetricArchived, MetricDefined
from penstock.kernel.meter import Metric
from penstock.kernel.ports.catalog import Catalog, Item
from penstock.kernel.ports.clock import Clock
from penstock.kernel.problems import Conflict, NotFound
from penstock.kernel.record import Vector

METRIC = "metric"
REVISED = "revised"  # where more than one revision is folded
CONTROL = "control"
PENDING, SENT = "pending", "sent"

# Appends a control to every partition and returns its offsets, in partition order. Raises `LogUnavailable`.
Send = Callable[[Control], Vector]


class Revision(msgspec.Struct, frozen=True):
    """What the fold counts from a control record on, with cells of its own: `metric.id` is the revision's id.

    The record `over_control_id` ends it: the metric was archived, or every reader has a later revision.
    """

    metric: Metric
    control_id: str
    over_control_id: str | None = None


class Definition(msgspec.Struct, frozen=True):
    """A metric as its owner defined it last. `group_keys` keeps the simple and compound keys as they were declared."""

    metric: Metric
    created_at: datetime
    control_id: str
    group_keys: tuple[tuple[str, ...], ...] = ()
    custom_fields: dict[str, str] = {}
    archived_at: datetime | None = None
    archive_control_id: str | None = None
    revisions: tuple[Revision, ...] = ()  # oldest first; none while there is but the one that it was made with

    @property
    def history(self) -> tuple[Revision, ...]:
        """Every revision, oldest first; the id of the first is the metric's."""
        return self.revisions or (Revision(self.metric, self.control_id, self.archive_control_id),)


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
        item, held = self._live(tenant, metric_id)
        now = self._clock.now()
        history, controls = _ended(held.history, len(held.history))
        archived = msgspec.structs.replace(
            held, archived_at=now, archive_control_id=controls[-1].id, revisions=history if held.revisions else ()
        )
        self._announce(item, archived, controls)
        return archived

    def revise(self, tenant: str, metric_id: str, change: Callable[[Definition], Definition]) -> Definition:
        """Store and announce what `change` makes of the definition. Raise `NotFound`, or `Conflict` if archived.

        Where it counts otherwise than before, that is a revision with cells of its own; it is filled in the background.
        """
        item, held = self._live(tenant, metric_id)
        changed = change(held)
        if msgspec.structs.replace(changed.metric, name=held.metric.name) == held.metric:
            self._announce(item, changed, ())
            return changed
        revision_id = f"{metric_id}~{len(held.history)}"
        counted = msgspec.structs.replace(changed.metric, id=revision_id)
        control = MetricDefined(str(uuid.uuid4()), revision_id, 0, counted)
        changed = msgspec.structs.replace(changed, revisions=(*held.history, Revision(counted, control.id)))
        self._announce(msgspec.structs.replace(item, parent=REVISED), changed, (control,))
        return changed

    def revised(self) -> Sequence[tuple[str, Definition]]:
        """Tenant and definition of every metric of which more than one revision is folded."""
        items = self._catalog.list(None, METRIC, parent=REVISED)
        return [(i.tenant, msgspec.json.decode(i.body, type=Definition)) for i in items]

    def limits(self) -> dict[str, dict[str, tuple[str, int]]]:
        """Metric id and limit of group combinations, by tenant and revision; what has no groups has no limit."""
        found: dict[str, dict[str, tuple[str, int]]] = defaultdict(dict)
        for item in self._catalog.list(None, METRIC):
            for revision in msgspec.json.decode(item.body, type=Definition).history:
                if revision.metric.group_keys:
                    found[item.tenant][revision.metric.id] = (item.id, revision.metric.group_combinations_max)
        return found

    def retire(self, tenant: str, metric_id: str, revision_id: str) -> None:
        """Fold no longer what came before a revision that every reader has."""
        item, held = self._live(tenant, metric_id)
        at = [revision.metric.id for revision in held.history].index(revision_id)
        history, controls = _ended(held.history, at)
        if at == len(history) - 1:
            item = msgspec.structs.replace(item, parent=None)
        self._announce(item, msgspec.structs.replace(held, revisions=history), controls)

    def _live(self, tenant: str, metric_id: str) -> tuple[Item, Definition]:
        item = self._catalog.get(tenant, METRIC, metric_id)
        if item is None:
            raise NotFound(f"no billable metric {metric_id}", field="id")
        held = msgspec.json.decode(item.body, type=Definition)
        if held.archived_at is not None:
            raise Conflict(f"billable metric {metric_id} is archived already")
        return item, held

    def _announce(self, item: Item, definition: Definition, controls: Sequence[Control]) -> None:
        """Put the definition and its controls in one transaction, and send them."""
        if definition.archived_at is not None:
            item = msgspec.structs.replace(item, parent=None)
        revised = msgspec.structs.replace(item, body=msgspec.json.encode(definition))
        outgoing = [_outgoing(item.tenant, _Outgoing(control)) for control in controls]
        self._catalog.put([revised, *outgoing], self._clock.now())
        self.send_pending()

    def find(self, tenant: str, metric_id: str) -> Definition | None:
        item = self._catalog.get(tenant, METRIC, metric_id)
        return msgspec.json.decode(item.body, type=Definition) if item else None

    def list(self, tenant: str, after: int = 0, limit: int | None = None) -> list[tuple[int, Definition]]:
        """Definitions with their place in the catalog, in order of creation."""
        items = self._catalog.list(tenant, METRIC, after=after, limit=limit)
        return [(i.sequence, msgspec.json.decode(i.body, type=Definition)) for i in items]

    def send_pending(self) -> None:
        """Send every control that is not in the log yet. Idempotent: the fold skips a known control."""
        for item in self._catalog.list(None, CONTROL, parent=PENDING):
            outgoing = msgspec.json.decode(item.body, type=_Outgoing)
            sent = msgspec.structs.replace(outgoing, offsets=self._send(outgoing.control))
            done = msgspec.structs.replace(item, body=msgspec.json.encode(sent), parent=SENT)
            try:
                self._catalog.put([done], self._clock.now())
            except Conflict:
                continue  # another thread sent it too, and noted the offsets of its own copy


def _ended(history: tuple[Revision, ...], before: int) -> tuple[tuple[Revision, ...], list[MetricArchived]]:
    """The history with what came before that place ended, and the controls that end it."""
    kept, controls = list(history), []
    for at, revision in enumerate(history[:before]):
        if revision.over_control_id is None:
            controls.append(MetricArchived(str(uuid.uuid4()), revision.metric.id, 1, revision.metric.id))
            kept[at] = msgspec.structs.replace(revision, over_control_id=controls[-1].id)
    return tuple(kept), controls


def _item(tenant: str, definition: Definition) -> Item:
    return Item(tenant, METRIC, definition.metric.id, msgspec.json.encode(definition))


def _outgoing(tenant: str, outgoing: _Outgoing) -> Item:
    return Item(tenant, CONTROL, outgoing.control.id, msgspec.json.encode(outgoing), parent=PENDING)
