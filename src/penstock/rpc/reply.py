"""What comes back of a call: a result, or the problem that the method raised, with all that its caller is told."""

from __future__ import annotations

import msgspec

from penstock.kernel.problems import Problem


class ServiceUnavailable(Problem):
    """A sibling was not reached, gave no answer in time, or did not take the call."""

    status, type, title = 503, "service-unavailable", "Service unavailable"


class _Told(msgspec.Struct, frozen=True, array_like=True):
    """A problem on the wire."""

    type: str
    detail: str
    field: str | None = None
    retry_after_s: int | None = None


class _Reply(msgspec.Struct, frozen=True, array_like=True):
    """A result as it was encoded, which stands only where there is no problem."""

    result: msgspec.Raw
    problem: _Told | None = None


_NOTHING = msgspec.Raw(msgspec.msgpack.encode(None))
_REPLY = msgspec.msgpack.Decoder(_Reply)


def encode_result(result: object) -> bytes:
    return msgspec.msgpack.encode(_Reply(msgspec.Raw(msgspec.msgpack.encode(result))))


def encode_problem(problem: Problem) -> bytes:
    told = _Told(problem.type, problem.detail, problem.field, problem.retry_after_s)
    return msgspec.msgpack.encode(_Reply(_NOTHING, told))


def decode_reply(body: bytes) -> bytes:
    """The encoded result. Raise the problem, as the class that it was; one that is not known here as `Problem`.

    Raise `msgspec.ValidationError` for what is no reply.
    """
    reply = _REPLY.decode(body)
    if reply.problem is not None:
        told = reply.problem
        raise _class_of(told.type)(told.detail, field=told.field, retry_after_s=told.retry_after_s)
    return bytes(reply.result)


def _class_of(type: str) -> type[Problem]:
    open_classes = [Problem]
    while open_classes:
        each = open_classes.pop()
        if each.type == type:
            return each
        open_classes += each.__subclasses__()
    return Problem
