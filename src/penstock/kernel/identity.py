"""The identity of an event: 128 bits of a keyed BLAKE2b over (tenant, transaction id).

The key is fixed when a log is created: without one, a tenant could craft ids that suppress another's (CORE.md hole 18).
A row of identity is two uint64, so an array of n identities has shape (n, 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import xxhash

Identities = npt.NDArray[np.uint64]  # shape (n, 2)
BodyHashes = npt.NDArray[np.uint64]  # shape (n,)

HASH_KEY_BYTES = 32
_MIX = np.uint64(0x9E3779B97F4A7C15)


def identify(hash_key: bytes, tenant: str, transaction_ids: Sequence[str]) -> Identities:
    """The identities of one tenant's transaction ids, shape (n, 2)."""
    prefix = tenant.encode()
    # The state after the tenant is shared; copying it costs a third of starting anew for each id.
    base = blake2b(len(prefix).to_bytes(4, "big") + prefix, digest_size=16, key=hash_key)
    digests = []
    for transaction_id in transaction_ids:
        state = base.copy()
        state.update(transaction_id.encode())
        digests.append(state.digest())
    return np.frombuffer(b"".join(digests), dtype="<u8").reshape(-1, 2)


def partition_of(identities: Identities, partitions: int) -> npt.NDArray[np.uint16]:
    """The partition of each identity: a function of (tenant, transaction id), so one owner sees every copy."""
    return (identities[:, 1] % np.uint64(partitions)).astype(np.uint16)


def hash_bodies(
    customers: Sequence[str], event_types: Sequence[str], times_us: npt.NDArray[np.int64], properties: Sequence[bytes]
) -> BodyHashes:
    """A 64-bit hash of everything but the id. It tells a conflict from a duplicate; neither is ever counted."""
    digest = xxhash.xxh3_64_intdigest
    texts = {text: digest(text.encode()) for text in (*set(customers), *set(event_types))}
    parts = (
        np.fromiter((texts[text] for text in customers), np.uint64, len(customers)),
        np.fromiter((texts[text] for text in event_types), np.uint64, len(event_types)),
        times_us.view(np.uint64),
        np.fromiter(map(digest, properties), np.uint64, len(properties)),
    )
    mixed = np.zeros(len(customers), np.uint64)
    for part in parts:
        mixed = (mixed ^ part) * _MIX
        mixed ^= mixed >> np.uint64(29)
    return mixed
