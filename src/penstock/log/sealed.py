"""What every adapter says of a log that is sealed, and who its heir is."""

from __future__ import annotations

import msgspec

from penstock.kernel.problems import LogSealed, Refused
from penstock.kernel.record import LogIdentity

RETRY_AFTER_S = 5  # by then the log that follows may be there


def refuse_if_sealed(sealed_for: int | None) -> None:
    """Raise `LogSealed` for a log that was sealed for another one of so many partitions."""
    if sealed_for is not None:
        raise LogSealed(
            f"the log is sealed: it will be followed by one of {sealed_for} partitions", retry_after_s=RETRY_AFTER_S
        )


def sealed_otherwise(sealed_for: int, partitions: int) -> Refused:
    return Refused(f"the log is sealed for one of {sealed_for} partitions, not {partitions}: finish that first")


def following(log: LogIdentity, log_id: str, partitions: int) -> LogIdentity:
    """The identity of the log that follows: another id, the same key, numbers that go on."""
    return msgspec.structs.replace(log, log_id=log_id, partitions=partitions, sealed=(*log.sealed, log.partitions))
