"""How a charge is shared out between its prices, once it is known who pays: the list price has what no commit took."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from penstock.contracts.units import Units, steps, without
from penstock.kernel.charge import COMMIT, LIST, Alternative, Charge, Part
from penstock.kernel.money import Unit, round_to_step
from penstock.kernel.quantity import ZERO, exact


class Share(msgspec.Struct, frozen=True):
    """What of a charge is paid at one of its prices: the amount is rounded once, and the parts' amounts sum to it."""

    alternative: Alternative
    quantity: Decimal
    amount: Decimal
    parts: tuple[Part, ...]


@exact
def shares(charge: Charge, at_commit_rate: Sequence[Units]) -> list[Share]:
    """All of a charge, of which these units are paid at the commit rate. A share of no units is none."""
    listed = charge.alternatives[0]
    if not at_commit_rate:
        return [Share(listed, charge.quantity, listed.amount, listed.parts)]
    prices = {each.kind: each for each in charge.alternatives}
    rest = list(without(Units(ZERO, charge.quantity), at_commit_rate))
    found = [_share(prices[COMMIT], at_commit_rate, charge.unit), _share(prices[LIST], rest, charge.unit)]
    return [share for share in found if share.quantity]


def _share(alternative: Alternative, stretches: Sequence[Units], unit: Unit) -> Share:
    quantities: dict[Part, Decimal] = {}
    for units in sorted(stretches):
        for part, quantity in steps(alternative, units):
            quantities[part] = quantities.get(part, ZERO) + quantity
    parts, reached, booked = [], ZERO, ZERO
    for part, quantity in quantities.items():
        assert part.unit_price is not None, "beside a commit rate every unit has a price of its own"
        reached += part.unit_price * quantity
        amount = round_to_step(reached, unit) - booked
        booked += amount
        parts.append(msgspec.structs.replace(part, quantity=quantity, amount=amount))
    return Share(alternative, sum(quantities.values(), ZERO), booked, tuple(parts))
