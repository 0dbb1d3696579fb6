"""An identity is one event of one tenant, and decides its partition for ever."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from penstock.kernel.identity import hash_bodies, identify, partition_of

KEY = bytes(range(32))


def hexes(tenant: str, *transaction_ids: str, key: bytes = KEY) -> list[str]:
    return [row.tobytes().hex() for row in identify(key, tenant, transaction_ids)]


def test_an_identity_never_changes_from_release_to_release() -> None:
    assert hexes("acme", "tx-1", "tx-2", "ä", "") == [
        "1178797cfb8327017e259f66a8565764",
        "0287702560b282ec285574f70b9b0fa8",
        "e327c56507d9358ebdcdd19041fa293f",
        "8716fbb090d8d73cd2d405bf3426bf7d",
    ]


def test_the_partition_of_an_identity_never_changes_from_release_to_release() -> None:
    identities = identify(KEY, "acme", [f"tx-{n}" for n in range(12)])

    assert partition_of(identities, 1).tolist() == [0] * 12
    assert partition_of(identities, 8).tolist() == [5, 6, 0, 2, 5, 3, 5, 3, 1, 6, 4, 3]


def test_the_same_id_of_two_tenants_is_two_identities() -> None:
    assert hexes("acme", "tx-1") != hexes("other", "tx-1")


def test_no_tenant_and_id_run_into_another_tenant_and_id() -> None:
    assert hexes("a", "bc") != hexes("ab", "c")
    assert hexes("", "abc") != hexes("abc", "")


def test_another_log_has_other_identities() -> None:
    assert hexes("acme", "tx-1") != hexes("acme", "tx-1", key=bytes(32))


def test_no_ids_are_no_identities() -> None:
    identities = identify(KEY, "acme", [])

    assert identities.shape == (0, 2)
    assert partition_of(identities, 8).tolist() == []


@given(st.lists(st.text(max_size=20), max_size=20), st.integers(0, 20))
def test_an_identity_does_not_depend_on_its_batch(transaction_ids: list[str], split: int) -> None:
    whole = identify(KEY, "acme", transaction_ids)
    parts = [identify(KEY, "acme", transaction_ids[:split]), identify(KEY, "acme", transaction_ids[split:])]

    assert np.array_equal(whole, np.concatenate(parts))
    assert len({tuple(row) for row in whole.tolist()}) == len(set(transaction_ids))


def test_identities_spread_evenly_over_partitions() -> None:
    partitions = partition_of(identify(KEY, "acme", [str(n) for n in range(8_000)]), 8)

    assert np.bincount(partitions, minlength=8).min() > 850
    assert np.bincount(partitions, minlength=8).max() < 1_150


def body(customer: str = "c", event_type: str = "t", time_us: int = 1, properties: bytes = b"{}") -> int:
    return int(hash_bodies([customer], [event_type], np.array([time_us], np.int64), [properties])[0])


def test_a_body_hash_tells_every_part_of_a_body_and_its_place() -> None:
    bodies = [body(), body("d"), body("c", "u"), body(time_us=2), body(properties=b'{"a":1}'), body("t", "c")]

    assert len(set(bodies)) == len(bodies)
    assert body() == bodies[0]


def test_body_hashes_do_not_depend_on_the_batch() -> None:
    hashes = hash_bodies(["c", "d"], ["t", "t"], np.array([1, -1], np.int64), [b"{}", b"{}"])

    assert hashes.tolist() == [body(), body("d", time_us=-1)]
    assert hash_bodies([], [], np.zeros(0, np.int64), []).tolist() == []
