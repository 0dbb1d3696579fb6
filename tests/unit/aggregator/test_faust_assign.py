"""Who gets which partition: every one has one owner, the load is even, and a change moves little."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from penstock.aggregator.faust_assign import deal
from penstock.aggregator.faust_group import Group, GroupSettings

names = st.sets(st.text("abcdef0123456789-", min_size=1, max_size=8), min_size=1, max_size=9)
counts = st.integers(0, 40)


def owners(dealt: dict[str, list[int]]) -> dict[int, str]:
    return {partition: member for member, mine in dealt.items() for partition in mine}


@given(names, counts)
def test_every_partition_has_one_owner_and_nobody_has_two_more_than_another(members: set[str], partitions: int) -> None:
    dealt = deal(members, range(partitions))

    assert dealt.keys() == members
    assert Counter(p for mine in dealt.values() for p in mine) == Counter(range(partitions))
    sizes = [len(mine) for mine in dealt.values()]
    assert max(sizes) - min(sizes) <= 1


@given(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=6, unique=True), counts)
def test_the_order_of_members_does_not_matter(members: list[str], partitions: int) -> None:
    assert deal(members, range(partitions)) == deal(list(reversed(members)), range(partitions))


@pytest.mark.parametrize(("members", "partitions"), [(2, 8), (3, 8), (4, 16), (8, 64)])
def test_a_member_that_leaves_moves_little_more_than_what_it_had(members: int, partitions: int) -> None:
    moved = 0
    for group in range(100):
        names = [f"{group}-{n}" for n in range(members)]
        before, after = owners(deal(names, range(partitions))), owners(deal(names[1:], range(partitions)))
        moved += sum(before[p] != after[p] for p in before)

    share = partitions / members
    assert moved / 100 < 1.7 * share


def test_partitions_of_a_topic_that_follows_another_have_numbers_that_go_on() -> None:
    told: list[frozenset[int]] = []
    group = Group(GroupSettings(bootstrap_servers="nowhere:9", topic="events.2", first=2), told.append)

    asyncio.run(group._assigned(None, {TopicPartition("events.2", 0), TopicPartition("other", 1)}))

    assert told == [frozenset({2})]
