"""The identities and hashes of a column of texts, by the compiled loops where there are some; the same by either."""

from __future__ import annotations

import pyarrow as pa

from penstock.gateway.columns import cuts_of
from penstock.gateway.loops import LOOPS
from penstock.kernel.identity import BodyHashes, Identities, hash_properties, identify_encoded, prefix_of


def identify_column(hash_key: bytes, tenant: str, ids: pa.StringArray) -> Identities:
    """The identities of one tenant's transaction ids, shape (n, 2)."""
    compiled, cuts = LOOPS.compiled, cuts_of(ids)
    if compiled is None or cuts is None:
        return identify_encoded(hash_key, tenant, ids.cast(pa.binary()).to_numpy(zero_copy_only=False).tolist())
    return compiled.digests(hash_key, prefix_of(tenant), *cuts)


def hash_column(properties: pa.BinaryArray) -> BodyHashes:
    """The part of a body's hash that stands for its properties."""
    compiled, cuts = LOOPS.compiled, cuts_of(properties)
    if compiled is None or cuts is None:
        return hash_properties(properties.to_numpy(zero_copy_only=False).tolist())
    return compiled.hashes(*cuts)
