"""The errors a user of the client may meet.

    ClientError
    ├── BadEvent        an event that cannot be sent as it is; nothing was taken
    ├── QueueFull       no room for another event and `when_full` is "raise"; nothing was taken
    │   └── SpoolFull   the same for the spool, or its disk
    ├── SpoolLocked     another process, or another client of this one, has the spool
    ├── SpoolDamaged    a record that was on the disk is not what was written; never skipped
    ├── Refused         the server refuses this client: wrong key, scope or address. Retrying cannot help
    ├── Unsent          closed before everything was answered, and no spool keeps the rest
    └── Closed          used after `close`, or in a process that was forked from the client's
"""

from __future__ import annotations


class ClientError(Exception):
    """What the client raises; its text is for people. It never carries the API key."""


class BadEvent(ClientError):
    pass


class QueueFull(ClientError):
    pass


class SpoolFull(QueueFull):
    pass


class SpoolLocked(ClientError):
    pass


class SpoolDamaged(ClientError):
    pass


class Refused(ClientError):
    """`status` is the HTTP status that was answered."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"the server answers {status}: {detail}")
        self.status = status


class Unsent(ClientError):
    """`events` is how many were not answered; sending them again with the same ids is harmless."""

    def __init__(self, events: int, last_error: str | None) -> None:
        because = f" ({last_error})" if last_error else ""
        super().__init__(f"{events} events were not acknowledged{because}")
        self.events = events


class Closed(ClientError):
    pass
