"""A contract's plan by its own terms beside that by a draft: which usage both need, and what each row of it becomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from penstock.kernel.meter import Aggregation
from penstock.kernel.window import Span
from penstock.rater.backtest.plan import Groups, Plan, Slot
from penstock.rater.quantity_source import ADDITIVE, spans_to_ask
from penstock.rater.rate import Source

Both = tuple[Sequence[Slot], Sequence[Slot]]
_NEITHER: Both = ((), ())


class Pair:
    """`aggregations` has every metric that one of the plans reads."""

    def __init__(self, old: Plan, new: Plan, aggregations: Mapping[str, Aggregation]) -> None:
        self.old, self.new, self._aggregations = old, new, aggregations
        self.is_columnar = old.is_columnar and new.is_columnar
        self.wanted: dict[Source, frozenset[Span]] = {}
        for source in {**old.services, **new.services}:
            services = old.services.get(source, frozenset()) | new.services.get(source, frozenset())
            asked = spans_to_ask(aggregations[source[0]], services, frozenset())
            self.wanted[source] = frozenset(span for layer in asked for span in layer)
        self._becomes: dict[tuple[Source, Groups, Span], Both] = {}

    def becomes(self, source: Source, groups: Groups, span: Span) -> Both:
        """The charges, old and new, that usage of the span is a part of; none where somebody else wanted the span."""
        key = source, groups, span
        found = self._becomes.get(key)
        if found is None:
            found = self._becomes[key] = self._look(source, groups, span)
        return found

    def _look(self, source: Source, groups: Groups, span: Span) -> Both:
        if span not in self.wanted.get(source, ()):
            return _NEITHER
        # What does not add up was asked for as the whole that one charge is made of, here for the old or the new one.
        is_additive = self._aggregations[source[0]] in ADDITIVE
        old, new = (
            tuple(
                slot
                for slot in plan.slots(source, groups)
                if slot.span == span or (is_additive and slot.span.clip(span) == span)
            )
            for plan in (self.old, self.new)
        )
        return old, new
