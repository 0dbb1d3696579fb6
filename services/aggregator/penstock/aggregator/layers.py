"""What backfills' layers are to the fold and to whoever counts stored events again. Pure but for reads of a store.

A layer holds the events of its scope, whenever they come, and the live events of its windows and customers that stand
behind its commit in the log. The fold and every recomputation take exactly those (DESIGN.md section 3, ADR 19).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.aggregator.applied import Applied
from penstock.kernel.chunk import Chunk
from penstock.kernel.control import Control, LayerCommitted, LayerOpened, decode_control
from penstock.kernel.correction import Revision
from penstock.kernel.layer import NEVER, FollowedLayer, Layer, LayerLife
from penstock.kernel.ports.usage_store import UsageStore
from penstock.kernel.record import Vector
from penstock.kernel.stored import StoredEvents
from penstock.kernel.window import Span, from_us, to_us

Rows = npt.NDArray[np.int64]


def apply_layer(layers: dict[str, LayerLife], control: Control, offset: int) -> None:
    """Let a control record at `offset` of a partition, which is news there, open or commit a layer; by scope."""
    if isinstance(control, LayerOpened):
        layers[control.layer.scope] = LayerLife(control.layer)
    elif isinstance(control, LayerCommitted):
        layers[control.layer.scope] = LayerLife(control.layer, offset)


def layer_lives(controls: Iterable[tuple[int, bytes]]) -> dict[str, LayerLife]:
    """Every layer that a partition's control records, in log order, open; by scope."""
    found: dict[str, LayerLife] = {}
    applied = Applied(set(), {})
    for offset, payload in controls:
        control = decode_control(payload)
        if applied.is_news(control):
            apply_layer(found, control, offset)
    return found


def of_tenant(layers: Mapping[str, LayerLife], tenant: str) -> tuple[LayerLife, ...]:
    return tuple(life for life in layers.values() if life.layer.tenant == tenant)


def counts_in_some(layers: Mapping[str, LayerLife], event: Revision) -> bool:
    """Whether a layer follows the live event, so that it stands there beside the base."""
    return any(
        event.offset > life.follows_after
        and life.layer.start_us <= event.time_us < life.layer.end_us
        and life.layer.has(event.customer)
        for life in of_tenant(layers, event.tenant)
    )


def follow(layers: Sequence[Mapping[str, LayerLife]]) -> dict[str, FollowedLayer]:
    """The layers of all partitions, by scope. A partition that has not come to one yet takes no live event into it."""
    found = {scope: life.layer for of_partition in layers for scope, life in of_partition.items()}
    return {
        scope: FollowedLayer(layer, tuple(each.get(scope, LayerLife(layer)).follows_after for each in layers))
        for scope, layer in found.items()
    }


def age_limits(layers: Mapping[str, LayerLife], chunk: Chunk) -> npt.NDArray[np.int64]:
    """From when each event's age counts: its own time, or when the layer was opened that it is sent to."""
    codes, names = chunk.codes("tenant")
    since_us = chunk.times_us
    for code, name in enumerate(names):
        if name in layers:
            since_us = np.where(codes == code, layers[name].layer.opened_at_us, since_us)
    return since_us


def followed(layers: Mapping[str, LayerLife], chunk: Chunk) -> Iterator[tuple[str, Rows]]:
    """The scope of each layer that counts some of these events beside the base, and which: live ones, as they come."""
    if not len(chunk):
        return
    times_us = chunk.times_us
    first, last = int(times_us.min()), int(times_us.max())
    names = chunk.codes("tenant")[1]
    for scope, life in layers.items():
        layer = life.layer
        if life.follows_after == NEVER or layer.tenant not in names or last < layer.start_us or first >= layer.end_us:
            continue
        rows = np.flatnonzero(_in_layer(layer, chunk, times_us))
        if len(rows):
            yield scope, rows


def _in_layer(layer: Layer, chunk: Chunk, times_us: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    tenants, names = chunk.codes("tenant")
    inside = (times_us >= layer.start_us) & (times_us < layer.end_us)
    inside &= np.array([name == layer.tenant for name in names], bool)[tenants]
    if layer.customers is not None:
        customers, keys = chunk.codes("customer")
        inside &= np.array([layer.has(key) for key in keys], bool)[customers]
    return inside


def events_of(
    store: UsageStore,
    followed: FollowedLayer,
    customers: tuple[str, ...] | None,
    span: Span,
    as_of: Vector,
    partition: int | None,
) -> Iterator[StoredEvents]:
    """What a layer holds in `span` as of a vector: its own events, and the live ones behind its commit."""
    layer = followed.layer
    yield from store.read_events(layer.scope, customers, span, as_of, partition)
    inside, keys = _overlap(span, layer), layer.of(customers)
    has_live = any(after < have for after, have in zip(followed.follows_after, as_of, strict=True))
    if inside is None or keys == () or not has_live:
        return
    for events in store.read_events(layer.tenant, keys, inside, as_of, partition):
        yield _behind(events, followed.follows_after)


def events_in_force(
    store: UsageStore,
    tenant: str,
    in_force: Sequence[FollowedLayer],
    customers: tuple[str, ...],
    span: Span,
    as_of: Vector,
) -> Iterator[StoredEvents]:
    """Live events in `span` where no layer is in force, and what the layers hold where one is. They do not overlap."""
    met = [each for each in in_force if each.layer.meets(to_us(span.start), to_us(span.end), customers)]
    for events in store.read_events(tenant, customers, span, as_of, None):
        yield _outside(events, [each.layer for each in met])
    for each in met:
        inside, keys = _overlap(span, each.layer), each.layer.of(customers)
        assert inside is not None, "they meet"
        yield from events_of(store, each, keys, inside, as_of, None)


def _overlap(span: Span, layer: Layer) -> Span | None:
    start_us, end_us = max(to_us(span.start), layer.start_us), min(to_us(span.end), layer.end_us)
    return Span(from_us(start_us), from_us(end_us)) if start_us < end_us else None


def _behind(events: StoredEvents, offsets: Vector) -> StoredEvents:
    """Those that stand behind an offset of their partition."""
    partitions = np.asarray(events.table.column("partition"))
    after = np.array(offsets, np.int64)[partitions]
    return _kept(events, np.asarray(events.table.column("offset")).astype(np.int64) > after)


def _outside(events: StoredEvents, layers: Iterable[Layer]) -> StoredEvents:
    """Those in no window and of no customer of the layers."""
    times_us = events.times_us
    keep = np.ones(len(events), bool)
    for layer in layers:
        inside = (times_us >= layer.start_us) & (times_us < layer.end_us)
        if layer.customers is not None and len(events):
            codes, keys = events.codes("customer")
            inside &= np.array([layer.has(key) for key in keys], bool)[codes]
        keep &= ~inside
    return _kept(events, keep)


def _kept(events: StoredEvents, keep: npt.NDArray[np.bool_]) -> StoredEvents:
    return events if keep.all() else StoredEvents(events.table.filter(pa.array(keep)))

