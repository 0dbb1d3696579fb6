"""Where in each partition a control took effect: at its first copy there. An outbox may send a control more than once.

The catalog notes offsets too, but of the copy that its sender saw acknowledged; the fold acts on the first.
"""

from __future__ import annotations

import msgspec

from penstock.aggregator.metrics import Definition
from penstock.kernel.control import decode_control
from penstock.kernel.ports.usage_store import AuditStore
from penstock.kernel.record import Vector


class Lifetime(msgspec.Struct, frozen=True):
    """A metric, or an older revision of one, with the offsets behind which the fold takes events into it, and no more.

    `definition.metric` is the revision's, under the id of the metric.
    """

    definition: Definition
    since: Vector
    until: Vector | None
    is_newest: bool = True

    def is_over_at(self, partition: int, offset: int) -> bool:
        return self.until is not None and offset > self.until[partition]

    def is_folded_at(self, partition: int, offset: int) -> bool:
        """Whether the fold knew the metric when it came to this record."""
        return offset > self.since[partition] and not self.is_over_at(partition, offset)


class FirstCopies:
    """Reads stored control records; what every partition has once, it has for ever."""

    def __init__(self, store: AuditStore, partitions: int) -> None:
        self._store, self._partitions = store, partitions
        self._known: dict[str, Vector] = {}

    def lifetimes(self, definition: Definition, as_of: Vector) -> list[Lifetime]:
        """Of every revision, oldest first, as far as `as_of`."""
        found = []
        for revision in definition.history:
            over = revision.over_control_id
            metric = msgspec.structs.replace(revision.metric, id=definition.metric.id)
            found.append(
                Lifetime(
                    msgspec.structs.replace(definition, metric=metric),
                    self.offsets(revision.control_id, as_of),
                    None if over is None else self.offsets(over, as_of),
                    is_newest=revision == definition.history[-1],
                )
            )
        return found

    def offsets(self, control_id: str, as_of: Vector) -> Vector:
        """The offset in each partition, as far as `as_of`: that itself where the control is not there yet."""
        known = self._known.get(control_id)
        if known is None:
            found = [self._first(control_id, partition) for partition in range(self._partitions)]
            known = tuple(offset for offset in found if offset is not None)
            if len(known) < self._partitions:
                return tuple(have if at is None else min(at, have) for at, have in zip(found, as_of, strict=True))
            self._known[control_id] = known
        return tuple(map(min, known, as_of))

    def _first(self, control_id: str, partition: int) -> int | None:
        records = self._store.control_records(partition)
        return next((offset for offset, payload in records if decode_control(payload).id == control_id), None)
