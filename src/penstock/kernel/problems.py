"""The error tree: every error a caller may meet, one RFC 9457 problem type each.

    Problem
    ├── BadRequest 400          the request is wrong; `field` names where
    │   └── OutOfRange          a number beyond 26 digits before or 12 after the point
    ├── Unauthorized 401        no key, or a wrong one
    ├── Forbidden 403           the key lacks the scope
    ├── NotFound 404            no such thing for this tenant
    ├── Conflict 409            a uniqueness key or a state says no; never retried
    ├── TooSlow 408             the request did not arrive in time
    ├── TooLarge 413            body over its limit
    ├── UnsupportedMedia 415    a content type or content encoding that is not taken
    ├── Unprocessable 422       understood, but against a rule of the domain
    │   └── CardinalityExceeded a metric has too many group combinations on a day to have a figure
    ├── TooMany 429             slow down; `retry_after_s` says for how long
    ├── LogUnavailable 503      no acknowledgement: the outcome is unknown, retry with the same ids
    └── StoreUnavailable 503    a store did not answer

A bug is an assert, never one of these. They are encoded once, at the edge (`penstock.web.problem`).
`Refused` stands apart: a start that would do harm is refused by name, and the process ends.
"""

from __future__ import annotations


class Problem(Exception):
    """An operating error. `detail` is for the caller; it never carries a key or an event body."""

    status = 500
    type = "internal"
    title = "Internal error"

    def __init__(self, detail: str, *, field: str | None = None, retry_after_s: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field
        self.retry_after_s = retry_after_s


class BadRequest(Problem):
    status, type, title = 400, "bad-request", "Bad request"


class OutOfRange(BadRequest):
    type, title = "out-of-range", "Number out of range"


class Unauthorized(Problem):
    status, type, title = 401, "unauthorized", "Unauthorized"


class Forbidden(Problem):
    status, type, title = 403, "forbidden", "Forbidden"


class NotFound(Problem):
    status, type, title = 404, "not-found", "Not found"


class Conflict(Problem):
    status, type, title = 409, "conflict", "Conflict"


class TooSlow(Problem):
    status, type, title = 408, "too-slow", "Request timeout"


class TooLarge(Problem):
    status, type, title = 413, "too-large", "Too large"


class UnsupportedMedia(Problem):
    status, type, title = 415, "unsupported-media", "Unsupported media type"


class Unprocessable(Problem):
    status, type, title = 422, "unprocessable", "Unprocessable"


class CardinalityExceeded(Unprocessable):
    type, title = "cardinality-exceeded", "Too many group combinations"


class TooMany(Problem):
    status, type, title = 429, "too-many", "Too many requests"


class LogUnavailable(Problem):
    status, type, title = 503, "log-unavailable", "Event log unavailable"


class StoreUnavailable(Problem):
    status, type, title = 503, "store-unavailable", "Store unavailable"


class Refused(Exception):
    """What a process was started on is not what it may work on: another log, a newer file, a folder in use."""
