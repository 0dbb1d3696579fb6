"""Usage by groups and prices of groups, in few words, and what the parts of an amount tell."""

from __future__ import annotations

from decimal import Decimal

from penstock.kernel.money import USD
from penstock.kernel.price import AnyPrice, Bounded, Factor, MatrixCell
from penstock.rater.pricing.priced import Priced
from penstock.rater.pricing.used import Used

REGION = ("region",)
NO_KEY: tuple[str | None, ...] = ()


def by_region(**quantities: str) -> Used:
    return Used(by_group={(("region", name),): Decimal(quantity) for name, quantity in quantities.items()})


def a_total(quantity: str) -> Used:
    return Used(quantity=Decimal(quantity))


def cells(*values_and_prices: tuple[str | None, str]) -> tuple[MatrixCell, ...]:
    return tuple(MatrixCell((value,), Decimal(price)) for value, price in values_and_prices)


def factors(*values_and_factors: tuple[str | None, str]) -> tuple[Factor, ...]:
    return tuple(Factor((value,), Decimal(factor)) for value, factor in values_and_factors)


def between(price: AnyPrice, minimum: str | None = None, maximum: str | None = None) -> Bounded:
    return Bounded(
        USD, price, None if minimum is None else Decimal(minimum), None if maximum is None else Decimal(maximum)
    )


def told(priced: Priced) -> list[tuple[str, tuple[str | None, ...], str, str]]:
    """What each part was, whose it is, its units and its amount."""
    return [(part.what, part.key, f"{part.quantity.normalize():f}", f"{part.amount:.2f}") for part in priced.parts]
