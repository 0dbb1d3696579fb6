"""The identity of an event: 128 bits of a keyed BLAKE2b over (tenant, transaction id).

The key is fixed when a log is created: without one, a tenant could craft ids that suppress another's (CORE.md hole 18).
A row of identity is two uint64, so an array of n identities has shape (n, 2).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import xxhash

Identities = npt.NDArray[np.uint64]  # shape (n, 2)
BodyHashes = npt.NDArray[np.uint64]  # shape (n,)

HASH_KEY_BYTES = 32
DIGEST_BYTES = 16
_MIX = np.uint64(0x9E3779B97F4A7C15)


def identify(hash_key: bytes, tenant: str, transaction_ids: Sequence[str]) -> Identities:
    """The identities of one tenant's transaction ids, shape (n, 2)."""
    return identify_encoded(hash_key, tenant, map(str.encode, transaction_ids))


def identify_encoded(hash_key: bytes, tenant: str, transaction_ids: Iterable[bytes]) -> Identities:
    """The same of ids that are UTF-8 already."""
    # The state after the tenant is shared; copying it costs a third of starting anew for each id.
    start = blake2b(prefix_of(tenant), digest_size=DIGEST_BYTES, key=hash_key).copy
    digests = []
    for transaction_id in transaction_ids:
        state = start()
        state.update(transaction_id)
        digests.append(state.digest())
    return np.frombuffer(b"".join(digests), dtype="<u8").reshape(-1, 2)


def prefix_of(tenant: str) -> bytes:
    """What is hashed before an id of the tenant. Its length leads: no id of another tenant can look the same."""
    name = tenant.encode()
    return len(name).to_bytes(4, "big") + name


def partition_of(identities: Identities, partitions: int) -> npt.NDArray[np.uint16]:
    """Which of a log's partitions, from 0, has each identity: one owner of a log sees every copy."""
    return (identities[:, 1] % np.uint64(partitions)).astype(np.uint16)


def hash_bodies(
    customers: Sequence[str], event_types: Sequence[str], times_us: npt.NDArray[np.int64], properties: Sequence[bytes]
) -> BodyHashes:
    """A 64-bit hash of everything but the id. It tells a conflict from a duplicate; neither is ever counted."""
    texts = list({*customers, *event_types})
    hash_of = dict(zip(texts, hash_texts(texts).tolist(), strict=True))
    return mix_bodies(
        np.fromiter(map(hash_of.__getitem__, customers), np.uint64, len(customers)),
        np.fromiter(map(hash_of.__getitem__, event_types), np.uint64, len(event_types)),
        times_us,
        hash_properties(properties),
    )


def hash_texts(texts: Sequence[str]) -> BodyHashes:
    """The part of a body's hash that stands for a customer or an event type; a column has few distinct ones."""
    return np.fromiter((xxhash.xxh3_64_intdigest(text.encode()) for text in texts), np.uint64, len(texts))


def hash_properties(properties: Iterable[bytes]) -> BodyHashes:
    """The part of a body's hash that stands for its properties."""
    # As bytes, since a Python integer apiece would cost a fifth more; they come with the greatest byte first.
    return np.frombuffer(b"".join(map(xxhash.xxh64_digest, properties)), ">u8").astype(np.uint64)


def mix_bodies(
    customers: BodyHashes, event_types: BodyHashes, times_us: npt.NDArray[np.int64], properties: BodyHashes
) -> BodyHashes:
    """`hash_bodies` for a caller that has the texts' hashes at hand."""
    mixed = np.zeros(len(customers), np.uint64)
    for part in (customers, event_types, times_us.view(np.uint64), properties):
        mixed = (mixed ^ part) * _MIX
        mixed ^= mixed >> np.uint64(29)
    return mixed
