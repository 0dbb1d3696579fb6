"""Limits of a tenant: so much in a second, one batch of any size, and a time to wait that is true."""

from __future__ import annotations

import pytest

from penstock.gateway.rate_limit import RateLimits, TenantRates
from penstock.kernel.problems import TooMany

SECOND = 1_000_000
START = 50 * SECOND


def refused(rates: TenantRates, tenant: str, at_us: int) -> TooMany:
    with pytest.raises(TooMany) as caught:
        rates.refuse_beyond(tenant, at_us)
    return caught.value


def test_a_second_of_events_is_taken_and_the_next_waits() -> None:
    rates = TenantRates(RateLimits(events_per_s_max=100))
    for _ in range(10):
        rates.refuse_beyond("t", START)
        rates.spend("t", 10, 1_000, START)
    rates.refuse_beyond("t", START)
    rates.spend("t", 1, 1_000, START)

    assert refused(rates, "t", START).detail == "the tenant's limit of 100 events a second is reached"
    rates.refuse_beyond("t", START + SECOND // 100)


def test_a_batch_of_more_than_a_second_is_taken_and_paid_for_afterwards() -> None:
    rates = TenantRates(RateLimits(events_per_s_max=100))
    rates.refuse_beyond("t", START)
    rates.spend("t", 1_000, 0, START)

    assert refused(rates, "t", START).retry_after_s == 9
    assert refused(rates, "t", START + 8 * SECOND + 1).retry_after_s == 1
    rates.refuse_beyond("t", START + 9 * SECOND)


def test_idle_time_is_saved_for_a_second_and_no_longer() -> None:
    rates = TenantRates(RateLimits(events_per_s_max=100))
    rates.refuse_beyond("t", START)
    rates.refuse_beyond("t", START + 3_600 * SECOND)
    rates.spend("t", 101, 0, START + 3_600 * SECOND)
    assert refused(rates, "t", START + 3_600 * SECOND).retry_after_s == 1


def test_bytes_have_a_limit_of_their_own() -> None:
    rates = TenantRates(RateLimits(bytes_per_s_max=1_000))
    rates.refuse_beyond("t", START)
    rates.spend("t", 1, 3_500, START)
    problem = refused(rates, "t", START)
    assert (problem.detail, problem.retry_after_s) == ("the tenant's limit of 1000 bytes a second is reached", 3)


def test_tenants_do_not_share_a_limit() -> None:
    rates = TenantRates(RateLimits(events_per_s_max=1))
    rates.spend("one", 100, 0, START)
    refused(rates, "one", START)
    rates.refuse_beyond("two", START)


def test_without_limits_nothing_is_refused() -> None:
    rates = TenantRates(RateLimits())
    rates.spend("t", 10**9, 10**12, START)
    rates.refuse_beyond("t", START)


def test_a_clock_that_steps_back_neither_pays_nor_costs() -> None:
    rates = TenantRates(RateLimits(events_per_s_max=100))
    rates.spend("t", 300, 0, START)
    assert refused(rates, "t", START - 3_600 * SECOND).retry_after_s == 2
    rates.refuse_beyond("t", START - 3_598 * SECOND)
