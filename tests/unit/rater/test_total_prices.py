"""Price models that read a period's total: the worked examples of SURFACE.md section 5 with their amounts, and laws."""

from __future__ import annotations

from decimal import Decimal
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.kernel.money import USD
from penstock.kernel.price import (
    AnyPrice,
    Bounded,
    Discounted,
    EachGroup,
    Graduated,
    LargestGroup,
    Package,
    PerUnit,
    Price,
    Threshold,
    ThresholdTotal,
    Tier,
    TieredPackage,
    Volume,
    VolumeMinimum,
)
from penstock.kernel.quantity import ZERO, exact
from penstock.rater.pricing.faults import fault_of_price
from penstock.rater.pricing.models import amount_between, amount_of
from penstock.rater.pricing.priced import Priced
from penstock.rater.pricing.threshold_total import fault_of_thresholds
from penstock.rater.pricing.tier_ranges import ends_of
from penstock.rater.pricing.used import Used
from unit.rater.rating import tiers, usd

quantities = st.decimals(min_value=0, max_value=10**9, places=6)
prices = st.decimals(min_value=0, max_value=1000, places=6)


def tier(up_to: str | None, unit_price: str, flat: str = "0") -> Tier:
    return Tier(None if up_to is None else Decimal(up_to), Decimal(unit_price), Decimal(flat))


def thresholds(*pairs: tuple[str, str]) -> tuple[Threshold, ...]:
    return tuple(Threshold(Decimal(reached), Decimal(amount)) for reached, amount in pairs)


def priced(price: Price, total: str) -> Priced:
    found = amount_of(price, Used(Decimal(total)))
    assert sum((part.amount for part in found.parts), ZERO) == found.amount
    return found


def cost(price: Price, total: str) -> Decimal:
    return priced(price, total).amount


LAGO = Graduated(USD, (tier("10", "10", "2"), tier("20", "5", "3"), tier(None, "5", "3")))
VOLUME = Volume(USD, (tier("100", "2", "10"), tier("200", "1"), tier(None, "0.5", "50")))
BULK = Volume(USD, tiers(("10", "0.50"), (None, "0.40")))


@pytest.mark.parametrize(
    ("total", "amount"), [("0", "2"), ("1", "12"), ("10", "102"), ("11", "110"), ("12", "115"), ("21", "163")]
)
def test_graduated_charges_the_first_tiers_flat_fee_even_at_zero_units(total: str, amount: str) -> None:
    """Examples 1 to 6."""
    assert Decimal(amount) == cost(LAGO, total)


def test_graduated_is_exact_for_fractions_of_a_unit() -> None:
    """Example 7."""
    assert Decimal("102.5") == cost(Graduated(USD, tiers(("10", "10"), (None, "5"))), "10.5")
    assert Decimal("3.25") == cost(Graduated(USD, tiers(("0.1", "10"), ("1", "5"), (None, "2"))), "0.55")


@pytest.mark.parametrize(("total", "amount"), [("45230", "70.46"), ("250000", "330")])
def test_the_seeds_ranges(total: str, amount: str) -> None:
    """Example 8: 0-10000 free, 10001-100000 at 0.002, 100001- at 0.001."""
    assert Decimal(amount) == cost(Graduated(USD, tiers(("10000", "0"), ("100000", "0.002"), (None, "0.001"))), total)


@pytest.mark.parametrize(
    ("total", "free", "amount"),
    [("121", "0", "1300"), ("121", "10", "1200"), ("121", "200", "0"), ("10", "10", "0"), ("11", "10", "100")],
)
def test_a_begun_package_beyond_the_free_units_costs_a_whole_one(total: str, free: str, amount: str) -> None:
    """Examples 13 to 15."""
    assert Decimal(amount) == cost(Package(USD, Decimal(10), Decimal(100), Decimal(free)), total)


@pytest.mark.parametrize(
    ("size", "price", "free", "total", "amount"),
    [
        ("5", "5", "0", "4", "5"),
        ("5", "5", "0", "6", "10"),
        ("5", "5", "0", "0", "0"),
        ("50", "0.80", "0", "120", "2.40"),
        ("25", "2", "30", "120", "8"),
        ("0.25", "1", "0", "0.5", "2"),
        ("0.25", "1", "0", "0.500001", "3"),
    ],
)
def test_packages_of_orb(size: str, price: str, free: str, total: str, amount: str) -> None:
    """Examples 49 and 54 (a package with an allocation), and packages of fractions."""
    assert Decimal(amount) == cost(Package(USD, Decimal(size), Decimal(price), Decimal(free)), total)


@pytest.mark.parametrize(
    ("total", "amount"), [("0", "10"), ("100", "210"), ("100.5", "100.5"), ("101", "101"), ("300", "200")]
)
def test_the_tier_that_holds_the_total_prices_all_units(total: str, amount: str) -> None:
    """Examples 16 to 20."""
    assert Decimal(amount) == cost(VOLUME, total)


@pytest.mark.parametrize(("total", "amount"), [("9", "4.5"), ("10", "5"), ("101", "40.4")])
def test_bulk_is_volume(total: str, amount: str) -> None:
    """Example 48."""
    assert Decimal(amount) == cost(BULK, total)


@pytest.mark.parametrize(("total", "amount"), [("99", "5"), ("100", "25"), ("120", "25"), ("200", "40"), ("0", "5")])
def test_a_threshold_counts_from_where_it_is_reached(total: str, amount: str) -> None:
    """Example 51; at equality it is reached (ADR 22)."""
    assert Decimal(amount) == cost(ThresholdTotal(USD, thresholds(("0", "5"), ("100", "25"), ("200", "40"))), total)


def test_below_the_first_threshold_nothing_is_due() -> None:
    assert priced(ThresholdTotal(USD, thresholds(("10", "5"))), "9.99") == (ZERO, ())


@pytest.mark.parametrize(("total", "amount"), [("100", "20"), ("101", "26"), ("120", "26"), ("0", "0"), ("0.1", "10")])
def test_a_package_costs_what_the_tier_in_which_it_begins_says(total: str, amount: str) -> None:
    """Example 52."""
    assert Decimal(amount) == cost(TieredPackage(USD, Decimal(50), tiers(("100", "10"), (None, "6"))), total)


def test_a_package_over_the_end_of_a_tier_is_of_the_tier_in_which_it_begins() -> None:
    price = TieredPackage(USD, Decimal(50), tiers(("120", "10"), (None, "6")))

    assert [Decimal(30), Decimal(30), Decimal(36)] == [cost(price, total) for total in ("120", "150", "151")]


def test_tiered_packages_of_one_unit_are_graduated_for_whole_units() -> None:
    """Example 60: the largest of the groups is 70."""
    assert Decimal(260) == cost(TieredPackage(USD, Decimal(1), tiers(("50", "4"), (None, "3"))), "70")


@pytest.mark.parametrize(
    ("total", "amount"), [("120", "20"), ("250", "50"), ("0", "20"), ("1000", "60"), ("200", "20")]
)
def test_the_minimum_is_that_of_the_volume_once_for_the_total(total: str, amount: str) -> None:
    """Example 53, and above 200 units: 20 + 40 at 1,000 (ADR 22)."""
    graduated = Graduated(USD, tiers(("200", "0.10"), (None, "0.05")))

    assert Decimal(amount) == cost(VolumeMinimum(USD, graduated, thresholds(("0", "20"), ("200", "50"))), total)


def test_a_percentage_of_a_unit_price_is_a_unit_price() -> None:
    """Example 55: 0.50 and 20 of 100 for 120 units. Example 79: a tenth of a spend of 100.00."""
    assert Decimal("12") == cost(usd("0.1"), "120")
    assert Decimal("10") == cost(PerUnit(USD, Decimal("0.1")), "100.00")


def test_a_tier_whose_lower_bound_is_its_own_last_unit_is_the_same_tier() -> None:
    """Example 66."""
    assert Decimal("52") == cost(Graduated(USD, tiers(("100", "0.50"), (None, "0.10"))), "120")


def test_discounts_of_units_amount_and_percent() -> None:
    """Example 70: 300 at 0.10."""
    ten_cents = usd("0.10")

    assert Decimal("25") == cost(Discounted(USD, ten_cents, units=Decimal(50)), "300")
    assert Decimal("27") == cost(Discounted(USD, ten_cents, percent=Decimal(10)), "300")
    assert Decimal("20.25") == cost(Discounted(USD, ten_cents, Decimal(50), Decimal("2.5"), Decimal(10)), "300")


def test_a_discount_takes_no_more_than_there_is() -> None:
    assert cost(Discounted(USD, usd("0.10"), units=Decimal(500)), "300") == ZERO
    assert cost(Discounted(USD, usd("0.10"), amount=Decimal(500)), "300") == ZERO


def test_a_total_below_zero_is_free_in_every_model_but_per_unit() -> None:
    assert Decimal("-3") == cost(usd("1"), "-3")
    for price in (LAGO, VOLUME, Package(USD, Decimal(1), Decimal(1)), ThresholdTotal(USD, thresholds(("0", "5")))):
        assert priced(price, "-3") == (ZERO, ())


@given(quantities, quantities, quantities)
@exact
def test_a_period_read_in_two_pieces_costs_what_it_costs_in_one(one: Decimal, two: Decimal, three: Decimal) -> None:
    for price in (LAGO, VOLUME, Package(USD, Decimal(7), Decimal(3)), TieredPackage(USD, Decimal(50), VOLUME.tiers)):
        first, second = amount_between(one, two, price), amount_between(two, three, price)
        whole = amount_between(one, three, price)

        assert whole.amount == first.amount + second.amount
        assert sum((part.amount for part in whole.parts), ZERO) == whole.amount


def test_like_parts_of_prices_within_prices_sum_to_the_amount_between_two_readings() -> None:
    twice = Bounded(USD, Bounded(USD, usd("0.1"), minimum=Decimal(50)), minimum=Decimal(60))

    between = amount_between(Decimal(100), Decimal(700), twice)  # 10 and minimums of 40 and 10; then 70

    assert between.amount == sum((part.amount for part in between.parts), ZERO) == Decimal(10)


@given(quantities, st.integers(1, 50), prices, st.integers(1, 1000))
@exact
def test_quantity_and_package_size_scaled_together_change_nothing(
    total: Decimal, size: int, price: Decimal, factor: int
) -> None:
    small, large = Package(USD, Decimal(size), price), Package(USD, Decimal(size * factor), price)

    assert amount_of(small, Used(total)).amount == amount_of(large, Used(total * factor)).amount


@given(quantities, prices)
@exact
def test_a_volume_of_one_tier_is_per_unit(total: Decimal, unit_price: Decimal) -> None:
    volume, per_unit = Volume(USD, (Tier(None, unit_price),)), PerUnit(USD, unit_price)

    assert amount_of(volume, Used(total)).amount == amount_of(per_unit, Used(total)).amount


@pytest.mark.parametrize(
    ("ranges", "ends"),
    [
        ([("0", "10"), ("11", "20"), ("21", None)], ["10", "20", None]),
        ([("1", "10"), ("11", None)], ["10", None]),
        ([("0", "0.1"), ("0.1", "1"), ("1", None)], ["0.1", "1", None]),
        ([("0", None)], [None]),
    ],
)
def test_ranges_with_two_ends_become_half_open(ranges: list[tuple[str, str | None]], ends: list[str | None]) -> None:
    found = ends_of([(Decimal(first), None if last is None else Decimal(last)) for first, last in ranges])

    assert [None if end is None else Decimal(end) for end in ends] == list(found)


@pytest.mark.parametrize(
    ("ranges", "fault"),
    [
        ([], "a tier list has at least one tier"),
        ([("5", "10"), ("11", None)], "tier 1 must begin at 0 or 1, not at 5"),
        ([("0", "10"), ("12", None)], "there is a gap between tier 1, which ends at 10, and 12"),
        ([("0", "10"), ("9", None)], "tier 2 begins at 9 and overlaps tier 1, which ends at 10"),
        ([("0", "10"), ("11", "20"), ("5", None)], "tier 3 begins at 5 and overlaps tier 2, which ends at 20"),
        ([("0", None), ("11", None)], "tier 1 is open-ended, but only the last tier may be"),
        ([("0", "10")], "the last tier must be open-ended"),
        ([("1", "0"), ("1", None)], "tier 1 ends at 0, before it begins at 1"),
    ],
)
def test_ranges_that_are_no_tier_list_are_named(ranges: list[tuple[str, str | None]], fault: str) -> None:
    with pytest.raises(ValueError, match="tier") as refused:
        ends_of([(Decimal(first), None if last is None else Decimal(last)) for first, last in ranges])

    assert fault == str(refused.value)


@pytest.mark.parametrize(
    ("pairs", "fault"),
    [
        ((), "there is at least one threshold"),
        ((("-1", "5"),), "a threshold is reached at zero or more"),
        ((("5", "5"), ("5", "6")), "threshold 2 must be above 5"),
        ((("0", "5"), ("5", "6")), None),
    ],
)
def test_thresholds_that_are_none_are_named(pairs: tuple[tuple[str, str], ...], fault: str | None) -> None:
    assert fault == fault_of_thresholds(thresholds(*pairs))


def of_groups(**quantities: int) -> Used:
    return Used(by_group={(("g", name),): Decimal(quantity) for name, quantity in quantities.items()})


def test_packages_of_each_group_and_of_the_largest() -> None:
    """Examples 59 and 60."""
    of_25 = TieredPackage(USD, Decimal(25), tiers(("50", "4"), (None, "3")))
    of_1 = TieredPackage(USD, Decimal(1), of_25.tiers)

    assert Decimal(19) == amount_of(EachGroup(USD, of_25, ("g",)), of_groups(A=75, B=50)).amount
    assert Decimal(260) == amount_of(LargestGroup(USD, of_1, ("g",)), of_groups(A=70, B=50)).amount


@pytest.mark.parametrize(
    ("price", "fault"),
    [
        (Volume(USD, ()), "tiers: a tier list has at least one tier"),
        (Package(USD, ZERO, Decimal(1)), "size must be above zero"),
        (Package(USD, Decimal(-5), Decimal(1)), "size: must be zero or more"),
        (Package(USD, Decimal(5), Decimal(1), Decimal(-1)), "free: must be zero or more"),
        (TieredPackage(USD, ZERO, tiers((None, "1"))), "size must be above zero"),
        (TieredPackage(USD, Decimal(1), tiers(("5", "1"))), "tiers[0].up_to: the last tier must be open-ended"),
        (ThresholdTotal(USD, ()), "there is at least one threshold"),
        (VolumeMinimum(USD, usd("1"), ()), "there is at least one threshold"),
        (Discounted(USD, usd("1"), units=Decimal(-1)), "units: must be zero or more"),
        (Discounted(USD, usd("1"), percent=Decimal(101)), "percent is at most 100"),
        (
            Discounted(USD, ThresholdTotal(USD, thresholds(("0", "1"))), units=Decimal(1)),
            "units may be taken off a price that reads a total only",
        ),
        (Discounted(USD, VOLUME, Decimal(1), Decimal(1), Decimal(1)), None),
    ],
)
def test_what_is_no_price_is_named(price: AnyPrice, fault: str | None) -> None:
    assert fault == fault_of_price(price)


def test_a_price_within_a_price_is_kept_as_it_is_written() -> None:
    price = Discounted(USD, VolumeMinimum(USD, LAGO, thresholds(("0", "20"))), percent=Decimal(5))

    assert price == msgspec.json.decode(msgspec.json.encode(price), type=AnyPrice)
    assert {"PER_UNIT", "GRADUATED", "VOLUME"} <= {model.__struct_config__.tag for model in get_args(AnyPrice)}
