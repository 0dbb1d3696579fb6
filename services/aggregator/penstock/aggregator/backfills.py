"""Backfills: open, take events, commit, revert. What readers take is one row per tenant, switched in one transaction.

A backfill's layer is opened and committed by control records, like a metric's definition: first rows in the catalog,
then a record in every partition. Readers have the layer when every marker has passed its commit (DESIGN.md section 3).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import Enum

import msgspec

from penstock.aggregator.outbox import Outbox, Send, outgoing
from penstock.kernel.control import LayerCommitted, LayerOpened
from penstock.kernel.event import BACKDATE_DAYS_MAX
from penstock.kernel.layer import Layer, LayerInForce
from penstock.kernel.ports.catalog import Catalog, Item
from penstock.kernel.ports.clock import Clock
from penstock.kernel.problems import Conflict, LogUnavailable, NotFound
from penstock.kernel.record import Vector, covers
from penstock.kernel.window import Span, to_us

BACKFILL = "backfill"
LAYERS = "layers"  # what readers take: one item per tenant, whose id is the tenant's
COMMITTING = "committing"
TAKES_EVENTS_FOR = timedelta(days=BACKDATE_DAYS_MAX)
TRIES_MAX = 5


class State(Enum):
    """Events are taken while OPEN. From COMMITTING on every live event of the interval counts in the layer too."""

    OPEN = "OPEN"
    COMMITTING = "COMMITTING"
    COMMITTED = "COMMITTED"
    REVERTED = "REVERTED"


class Backfill(msgspec.Struct, frozen=True):
    """`customer_ids` are as they were asked for; the layer has the keys of their events at that time."""

    layer: Layer
    state: State
    created_at: datetime
    open_control_id: str
    customer_ids: tuple[str, ...] | None = None
    uniqueness_key: str | None = None
    commit_control_id: str | None = None
    committed_at: datetime | None = None
    reverted_at: datetime | None = None

    @property
    def takes_events_until(self) -> datetime:
        return self.created_at + TAKES_EVENTS_FOR


class Wanted(msgspec.Struct, frozen=True):
    """What a backfill is to be of: whole windows, and customers with the keys of their events, or all."""

    span: Span
    customer_ids: tuple[str, ...] | None = None
    keys: tuple[str, ...] | None = None
    uniqueness_key: str | None = None


class Backfills:
    """The backfills of every tenant. `vector` gives the newest markers. Safe for threads and beside other processes."""

    def __init__(self, catalog: Catalog, clock: Clock, send: Send, vector: Callable[[], Vector]) -> None:
        self._catalog, self._clock, self._vector = catalog, clock, vector
        self._outbox = Outbox(catalog, clock, send)

    def create(self, tenant: str, wanted: Wanted) -> Backfill:
        """Open a backfill. With a uniqueness key that was used, the one that was made by it.

        Raise `Conflict` where that one is of another interval or of other customers.
        """
        found = self._made_by(tenant, wanted)
        if found is None:
            found = self._create(tenant, wanted)
        self._outbox.send_pending()
        return found

    def _made_by(self, tenant: str, wanted: Wanted) -> Backfill | None:
        if wanted.uniqueness_key is None:
            return None
        item = self._catalog.find(tenant, BACKFILL, _unique(wanted.uniqueness_key))
        if item is None:
            return None
        found = _of(item)
        if (found.layer.span, found.customer_ids) != (wanted.span, wanted.customer_ids):
            raise Conflict("the uniqueness key was used for another backfill", field="uniqueness_key")
        return found

    def _create(self, tenant: str, wanted: Wanted) -> Backfill:
        now = self._clock.now()
        start_us, end_us = to_us(wanted.span.start), to_us(wanted.span.end)
        layer = Layer(str(uuid.uuid4()), tenant, start_us, end_us, wanted.keys, to_us(now))
        control = LayerOpened(str(uuid.uuid4()), layer.id, 0, layer)
        made = Backfill(layer, State.OPEN, now, control.id, wanted.customer_ids, wanted.uniqueness_key)
        unique = () if wanted.uniqueness_key is None else (_unique(wanted.uniqueness_key),)
        item = Item(tenant, BACKFILL, layer.id, msgspec.json.encode(made), unique=unique)
        try:
            self._catalog.put([item, outgoing(tenant, control)], now)
        except Conflict:
            found = self._made_by(tenant, wanted)  # another request was faster
            if found is None:
                raise
            return found
        return made

    def find(self, tenant: str, backfill_id: str) -> Backfill:
        """Raise `NotFound`."""
        return _of(self._item(tenant, backfill_id))

    def list(self, tenant: str, after: int = 0, limit: int | None = None) -> list[tuple[int, Backfill]]:
        """Backfills with their place in the catalog, in order of creation."""
        return [(item.sequence, _of(item)) for item in self._catalog.list(tenant, BACKFILL, after=after, limit=limit)]

    def open_layer(self, tenant: str, backfill_id: str) -> Layer:
        """`OpenLayers`, for a gateway."""
        found = self.find(tenant, backfill_id)
        if found.state is not State.OPEN:
            raise Conflict(f"backfill {backfill_id} is {found.state.value}: it takes no events", field="backfill_id")
        if self._clock.now() >= found.takes_events_until:
            raise Conflict(f"backfill {backfill_id} took events until {found.takes_events_until}", field="backfill_id")
        self._demand_opened(found)
        return found.layer

    def _demand_opened(self, backfill: Backfill) -> None:
        if self._outbox.offsets(backfill.layer.tenant, backfill.open_control_id) is None:
            raise LogUnavailable(f"backfill {backfill.layer.id} is still being opened", retry_after_s=5)

    def commit(self, tenant: str, backfill_id: str) -> Backfill:
        """Have readers take the layer, as soon as every partition has come to that. Idempotent.

        Raise `Conflict` for one that was reverted, or that meets another in force or about to be.
        """
        found = self._changed(tenant, backfill_id, self._committing)
        self._outbox.send_pending()
        return found

    def _committing(self, held: Backfill, row: tuple[LayerInForce, ...], now: datetime) -> _Change | None:
        layer = held.layer
        if held.state is State.REVERTED:
            raise Conflict(f"backfill {layer.id} is REVERTED: it cannot be committed", field="id")
        if held.state is not State.OPEN:
            return None
        self._demand_opened(held)
        for other in row:
            if layer.meets(other.layer.start_us, other.layer.end_us, other.layer.customers):
                detail = f"backfill {other.layer.id} is in force in the same interval: revert it first"
                raise Conflict(detail, field="id")
        control = LayerCommitted(str(uuid.uuid4()), layer.id, 1, layer)
        changed = msgspec.structs.replace(
            held, state=State.COMMITTING, committed_at=now, commit_control_id=control.id
        )
        return _Change(changed, (*row, LayerInForce(layer, control.id, now)), outgoing(layer.tenant, control))

    def revert(self, tenant: str, backfill_id: str) -> Backfill:
        """Have readers take the base again, at once; an open backfill is given up. Idempotent, and for good."""
        return self._changed(tenant, backfill_id, _reverted)

    def settle(self) -> None:
        """Let readers take every layer whose commit every marker has passed."""
        for item in self._catalog.list(None, BACKFILL, parent=COMMITTING):
            control_id = _of(item).commit_control_id
            offsets = None if control_id is None else self._outbox.offsets(item.tenant, control_id)
            # The partitions of a log that came after it begin with it, before any event.
            if offsets is not None and covers(self._vector()[: len(offsets)], offsets):
                self._changed(item.tenant, item.id, _switched)

    def in_force(self, tenant: str) -> tuple[LayerInForce, ...]:
        """The layers that readers take, as of now. Read it before the markers: they are past every commit then."""
        return tuple(each for each in _row(self._catalog.get(tenant, LAYERS, tenant)) if each.is_switched)

    def once_in_force(self, tenant: str, backfill_ids: tuple[str, ...]) -> tuple[LayerInForce, ...]:
        """The layers of committed backfills, reverted ones too. Raise `NotFound` for one that is not there."""
        found = [self.find(tenant, backfill_id) for backfill_id in backfill_ids]
        return tuple(
            LayerInForce(each.layer, each.commit_control_id, each.committed_at, is_switched=True)
            for each in found
            if each.commit_control_id is not None and each.committed_at is not None
        )

    def _changed(self, tenant: str, backfill_id: str, decide: _Decide) -> Backfill:
        """Put a backfill and the row of its tenant in one transaction, as decided on both as they are."""
        for tries_left in reversed(range(TRIES_MAX)):
            item, row_item = self._item(tenant, backfill_id), self._catalog.get(tenant, LAYERS, tenant)
            held = _of(item)
            now = self._clock.now()
            change = decide(held, _row(row_item), now)
            if change is None:
                return held
            try:
                self._catalog.put(_items(item, row_item, change), now)
            except Conflict:
                if not tries_left:
                    raise
                continue  # another process changed one of the two: decide again
            return change.backfill
        raise AssertionError("the last try returns or raises")

    def _item(self, tenant: str, backfill_id: str) -> Item:
        item = self._catalog.get(tenant, BACKFILL, backfill_id)
        if item is None:
            raise NotFound(f"no backfill {backfill_id}", field="id")
        return item


class _Change(msgspec.Struct, frozen=True):
    """A backfill and the row of its tenant as they are to be, and a control to send."""

    backfill: Backfill
    row: tuple[LayerInForce, ...]
    control: Item | None = None


_Decide = Callable[[Backfill, tuple[LayerInForce, ...], datetime], _Change | None]


def _switched(held: Backfill, row: tuple[LayerInForce, ...], now: datetime) -> _Change | None:
    if held.state is not State.COMMITTING:
        return None
    changed = msgspec.structs.replace(held, state=State.COMMITTED)
    on = (msgspec.structs.replace(e, is_switched=True) if e.layer.id == held.layer.id else e for e in row)
    return _Change(changed, tuple(on))


def _reverted(held: Backfill, row: tuple[LayerInForce, ...], now: datetime) -> _Change | None:
    if held.state is State.REVERTED:
        return None
    changed = msgspec.structs.replace(held, state=State.REVERTED, reverted_at=now)
    return _Change(changed, tuple(each for each in row if each.layer.id != held.layer.id))


def _items(item: Item, row_item: Item | None, change: _Change) -> list[Item]:
    row_item = row_item or Item(item.tenant, LAYERS, item.tenant, b"")
    parent = COMMITTING if change.backfill.state is State.COMMITTING else None
    items = [
        msgspec.structs.replace(item, body=msgspec.json.encode(change.backfill), parent=parent),
        msgspec.structs.replace(row_item, body=msgspec.json.encode(change.row)),
    ]
    return items if change.control is None else [*items, change.control]


def _of(item: Item) -> Backfill:
    return msgspec.json.decode(item.body, type=Backfill)


def _row(item: Item | None) -> tuple[LayerInForce, ...]:
    return () if item is None else msgspec.json.decode(item.body, type=tuple[LayerInForce, ...])


def _unique(key: str) -> str:
    return f"uniqueness_key/{key}"
