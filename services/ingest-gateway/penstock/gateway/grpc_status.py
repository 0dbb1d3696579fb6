"""The one place where a problem becomes a gRPC status; the proto's first comment tells callers the same."""

from __future__ import annotations

import grpc

from penstock.kernel.problems import (
    BadRequest,
    Conflict,
    Forbidden,
    LogFull,
    LogUnavailable,
    NotFound,
    Problem,
    StoreUnavailable,
    TooLarge,
    TooMany,
    TooSlow,
    Unauthorized,
    Unprocessable,
    UnsupportedMedia,
)

# Long enough for any detail of ours, short enough for the 8 KiB that a status may take in all.
DETAIL_CHARS_MAX = 1_000

CODES: dict[type[Problem], grpc.StatusCode] = {
    BadRequest: grpc.StatusCode.INVALID_ARGUMENT,
    Unauthorized: grpc.StatusCode.UNAUTHENTICATED,
    Forbidden: grpc.StatusCode.PERMISSION_DENIED,
    NotFound: grpc.StatusCode.NOT_FOUND,
    Conflict: grpc.StatusCode.ALREADY_EXISTS,
    TooSlow: grpc.StatusCode.DEADLINE_EXCEEDED,
    TooLarge: grpc.StatusCode.RESOURCE_EXHAUSTED,  # as grpc itself answers a message over the limit
    UnsupportedMedia: grpc.StatusCode.INVALID_ARGUMENT,
    Unprocessable: grpc.StatusCode.FAILED_PRECONDITION,
    TooMany: grpc.StatusCode.RESOURCE_EXHAUSTED,
    LogFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
    LogUnavailable: grpc.StatusCode.UNAVAILABLE,
    StoreUnavailable: grpc.StatusCode.UNAVAILABLE,
    Problem: grpc.StatusCode.INTERNAL,
}


def status_of(problem: Problem) -> grpc.StatusCode:
    """The code of the problem's class, or of the nearest class above it."""
    return next(CODES[kind] for kind in type(problem).__mro__ if kind in CODES)


def detail_of(problem: Problem) -> str:
    return problem.detail[:DETAIL_CHARS_MAX]


def trailers_of(problem: Problem) -> tuple[tuple[str, str], ...]:
    """The metadata that goes with the status: the problem's name and, where it says so, the seconds to wait."""
    name = (("penstock-problem", problem.type),)
    return name if problem.retry_after_s is None else (*name, ("retry-after", str(problem.retry_after_s)))
