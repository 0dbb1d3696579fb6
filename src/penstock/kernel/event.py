"""One usage event as a caller sends it, and the limits it must keep.

`properties` stay the JSON bytes as received: the gateway never looks inside, the fold reads only what a metric needs.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

TRANSACTION_ID_CHARS_MAX = 128
CUSTOMER_KEY_CHARS_MAX = 256
EVENT_TYPE_CHARS_MAX = 256
PROPERTIES_BYTES_MAX = 64 * 1024
NESTING_MAX = 64

# The age limits are counted once, here, and everything else follows (DESIGN.md section 4; reference/CORE.md hole 1).
BACKDATE_DAYS_MAX = 34
FUTURE_HOURS_MAX = 24
FOLD_SLACK_HOURS = 12
GENERATIONS_KEPT = 37

NO_PROPERTIES = msgspec.Raw(b"{}")


class UsageEvent(msgspec.Struct, gc=False):
    """The envelope of an event. `timestamp` is RFC 3339 with a zone; `properties` a JSON object."""

    transaction_id: str
    customer_id: str
    event_type: str
    timestamp: str
    properties: msgspec.Raw = NO_PROPERTIES


class Verdict(IntEnum):
    """What the gateway answers for an event."""

    ACCEPTED = 0
    DUPLICATE = 1
    CONFLICT = 2
    REJECTED = 3


class Outcome(IntEnum):
    """What became of an event that is in the log; each event has exactly one (DESIGN.md section 3, conservation).

    The fold gives all but `VOIDED`, which only a correction does.
    """

    COUNTED = 0
    DUPLICATE = 1
    CONFLICT = 2
    UNMATCHED = 3
    LATE = 4
    QUARANTINED = 5
    VOIDED = 6


# What a metric may count: a quarantined event is stored and counts nowhere; of the others only the id is stored.
COUNTABLE_OUTCOMES = (Outcome.COUNTED, Outcome.UNMATCHED)
KEPT_OUTCOMES = (*COUNTABLE_OUTCOMES, Outcome.QUARANTINED)
