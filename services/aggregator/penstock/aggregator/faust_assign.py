"""Which member of the group owns which partition: evenly, and moving few partitions when members come and go.

Faust's own assignor for apps without tables deals anew at every change, so nearly every partition moves; its other one
is sticky and leaves members without work (four partitions, three members: 2, 2, 0). See docs/adr/0014.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from hashlib import blake2b
from typing import Any

from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

VERSION = 0


def deal(members: Iterable[str], partitions: Iterable[int]) -> dict[str, list[int]]:
    """Every partition to one member, as many to each but for one. A function of the names alone.

    A partition goes to the member that draws it highest (rendezvous hashing) among those that have room.
    """
    wanting = sorted(members)
    dealt: dict[str, list[int]] = {member: [] for member in wanting}
    left = sorted(partitions)
    share, larger = divmod(len(left), len(wanting))
    draws = sorted(((_draw(m, p), m, p) for m in wanting for p in left), reverse=True)
    taken: set[int] = set()
    for _, member, partition in draws:
        room = share + 1 if larger else share
        if partition in taken or len(dealt[member]) >= room:
            continue
        dealt[member].append(partition)
        taken.add(partition)
        if len(dealt[member]) == share + 1:
            larger -= 1
    return {member: sorted(mine) for member, mine in dealt.items()}


def _draw(member: str, partition: int) -> bytes:
    return blake2b(f"{partition} {member}".encode(), digest_size=8).digest()


class Rendezvous(AbstractPartitionAssignor):  # type: ignore[misc]  # aiokafka ships no types
    """`deal` as aiokafka asks for it, with the questions that Faust has for an assignor of tables: there are none."""

    name = "penstock-rendezvous"

    def __init__(self, app: object, replicas: int = 0) -> None:
        """Faust makes it so; neither matters."""

    def assign(
        self, cluster: Any, members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        dealt: dict[str, dict[str, Sequence[int]]] = {member: {} for member in members}
        for topic in sorted({topic for each in members.values() for topic in each.subscription}):
            subscribed = [member for member, each in members.items() if topic in each.subscription]
            for member, mine in deal(subscribed, cluster.partitions_for_topic(topic) or ()).items():
                dealt[member][topic] = mine
        return {
            member: ConsumerProtocolMemberAssignment(VERSION, sorted(topics.items()), b"")
            for member, topics in dealt.items()
        }

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        return ConsumerProtocolMemberMetadata(VERSION, list(topics), b"")

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:
        """Nothing is remembered: the next assignment is a function of the names again."""

    def assigned_actives(self) -> Set[object]:
        return frozenset()

    def assigned_standbys(self) -> Set[object]:
        return frozenset()
