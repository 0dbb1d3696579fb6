"""THE VERB of the batch path: the usage of many contracts and their pairs of plans become what each period costs. Pure.

To the cent what `rate` makes of the same, added up by contract, period and unit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from penstock.kernel.quantity import exact
from penstock.kernel.usage import UsageRow
from penstock.rater.backtest.pair import Pair
from penstock.rater.backtest.plan import Slot
from penstock.rater.backtest.sheet import Sheet, Totals
from penstock.rater.rate import Source

_Used = dict[Slot, Decimal]


@exact
def compare(
    pairs: Sequence[Pair], owners: Mapping[str, Sequence[int]], answers: Iterable[tuple[Source, Sequence[UsageRow]]]
) -> tuple[Totals, Totals]:
    """What the old and the new terms charge. Contracts are known by their place in `pairs`.

    `owners` names each customer's contracts; the rows of `answers` are those that `questions` asked for.
    """
    used: list[tuple[_Used, _Used]] = [({}, {}) for _ in pairs]
    for source, rows in answers:
        for row in rows:
            value = row.value
            if value is None or row.customer_key is None:
                continue
            for contract in owners[row.customer_key]:
                becomes = pairs[contract].becomes(source, row.groups, row.span)
                for held, slots in zip(used[contract], becomes, strict=True):
                    for slot in slots:
                        held[slot] = held[slot] + value if slot in held else value
    old, new = Sheet(), Sheet()
    for contract, (by_old, by_new) in enumerate(used):
        old.add(contract, by_old)
        new.add(contract, by_new)
    return old.totals(), new.totals()
