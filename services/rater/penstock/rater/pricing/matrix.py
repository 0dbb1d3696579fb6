"""MATRIX: each unit costs what the cell of its group values says. The first units may be free.

Without an allocation a cell below zero charges the negative amount, as PER_UNIT does; with one it costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import NamedTuple

from penstock.kernel.charge import Part
from penstock.kernel.price import Matrix
from penstock.kernel.quantity import ZERO
from penstock.rater.pricing.group_keys import Values, by_values, fault_of_keys, fault_of_values
from penstock.rater.pricing.priced import Priced, summed
from penstock.rater.pricing.used import Groups


class _Line(NamedTuple):
    what: str
    values: Values
    quantity: Decimal
    unit_price: Decimal


def matrix(price: Matrix, groups: Groups) -> Priced:
    lines = _lines(price, groups)
    if not price.allocation:
        return summed(map(_part, lines))
    return summed(map(_part, _after_allocation(lines, price.allocation)))


def fault_of_matrix(price: Matrix) -> str | None:
    """Why `price` is no matrix, or None where it is one."""
    return fault_of_keys(price.keys) or fault_of_values(price.keys, [cell.values for cell in price.cells], "cell")


def _lines(price: Matrix, groups: Groups) -> Iterator[_Line]:
    """What each combination used: the cells in the matrix's order, then what no cell names."""
    quantities = by_values(groups, price.keys)
    for cell in price.cells:
        yield _Line("cell", cell.values, quantities.pop(cell.values, ZERO), cell.unit_price)
    for values, quantity in quantities.items():
        yield _Line("default", values, quantity, price.default)


def _after_allocation(lines: Iterable[_Line], left: Decimal) -> Iterator[_Line]:
    for line in lines:
        quantity = max(line.quantity, ZERO)
        free = min(quantity, left)
        left -= free
        yield _Line("free", line.values, free, ZERO)
        yield line._replace(quantity=quantity - free)


def _part(line: _Line) -> Part:
    return Part(line.what, line.quantity, line.unit_price, line.quantity * line.unit_price, key=line.values)
