"""The one place where an error becomes bytes: an RFC 9457 problem that also carries `message`, as the SDKs read it."""

from __future__ import annotations

import msgspec

from penstock.kernel.problems import Problem
from penstock.web.route import Response

CONTENT_TYPE = "application/problem+json"
# The vendors' SDKs retry 409 and 501 unless told otherwise; neither ever gets better by itself.
_NEVER_RETRY = (409, 501)


def problem_response(problem: Problem) -> Response:
    """Encode `problem`. Nothing in it comes from an event body or a key."""
    body: dict[str, object] = {
        "type": f"urn:penstock:problem:{problem.type}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "message": problem.detail,
    }
    if problem.field is not None:
        body["field"] = problem.field
    headers = []
    if problem.retry_after_s is not None:
        headers.append(("retry-after", str(problem.retry_after_s)))
    if problem.status in _NEVER_RETRY:
        headers.append(("x-should-retry", "false"))
    return Response(msgspec.json.encode(body), problem.status, tuple(headers), CONTENT_TYPE)
