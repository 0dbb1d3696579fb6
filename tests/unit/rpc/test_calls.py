"""A call to a sibling is the call itself: the same values, the same problems, and one more problem for nobody there."""

from __future__ import annotations

import subprocess
import threading
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import grpc
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.kernel.meter import Aggregation
from penstock.kernel.problems import NotFound, OutOfRange, Problem
from penstock.kernel.window import from_us
from penstock.rpc.call import time_left_s, wanted_within
from penstock.rpc.client import ATTEMPTS_MAX
from penstock.rpc.reply import ServiceUnavailable, decode_reply, encode_problem
from penstock.rpc.server import RpcServer
from penstock.rpc.trust import Certificates, Trust
from unit.rpc.calls import DEPOT, REQUEST_ID, SECRET, Parcel, Shed, a_line

PARCEL = Parcel(
    Decimal("-12345678901234567890123456.000000000001"),
    datetime(2026, 3, 29, 1, 2, 3, 456_789, tzinfo=UTC),
    Aggregation.UNIQUE,
    frozenset({"a", "ü"}),
    (("model", None), ("region", "eu")),
    b"\x00\xff",
)
INSTANTS = st.integers(-(10**15), 10**17).map(from_us)
QUANTITIES = st.decimals(-(10**26), 10**26, places=12)
PARCELS = st.builds(Parcel, amount=QUANTITIES, at=INSTANTS, payload=st.binary(max_size=20))


def test_arguments_and_results_cross_as_they_are() -> None:
    shed = Shed()
    with a_line(shed) as line:
        assert line.depot.keep() == ()
        assert line.depot.keep(PARCEL, PARCEL) == (PARCEL, PARCEL)
        assert line.depot.find("one", among=["one"]) is None
        line.depot.book(Decimal("0.10"))
    assert str(shed.booked) == "[Decimal('0.10')]"


@settings(max_examples=200)
@given(st.lists(PARCELS, max_size=3))
def test_no_digit_and_no_microsecond_is_lost(parcels: list[Parcel]) -> None:
    keep, *_ = DEPOT.methods

    arrived = keep.decode_arguments(keep.encode_arguments(*parcels))

    assert list(arrived) == parcels
    assert [str(a.amount) for a in arrived] == [str(p.amount) for p in parcels]


def test_an_instant_of_another_zone_arrives_as_the_same_instant() -> None:
    at = datetime(2026, 3, 29, 12, tzinfo=timezone(timedelta(hours=5, minutes=45)))
    with a_line() as line:
        (arrived,) = line.depot.keep(msgspec.structs.replace(PARCEL, at=at))

    assert (arrived.at, arrived.at.tzinfo) == (at, UTC)


def test_a_problem_crosses_as_itself() -> None:
    with a_line() as line, pytest.raises(NotFound) as caught:
        line.depot.find("lost")

    told = caught.value
    assert (told.detail, told.field, told.retry_after_s) == ("no parcel lost", "name", 7)


def test_a_problem_of_another_version_is_an_internal_one() -> None:
    class Newer(Problem):
        type = "newer"

    body = encode_problem(Newer("said so"))
    Newer.type = "forgotten"

    with pytest.raises(Problem, match="said so") as caught:
        decode_reply(body)
    assert type(caught.value) is Problem
    with pytest.raises(OutOfRange):
        decode_reply(encode_problem(OutOfRange("too long")))


def test_a_bug_is_told_without_its_words(caplog: pytest.LogCaptureFixture) -> None:
    with a_line() as line, pytest.raises(Problem) as caught:
        line.depot.find("a bug")

    assert (type(caught.value), caught.value.detail) == (Problem, "an internal error; the server's log has its cause")
    assert "a call of find failed" in caplog.text


def test_the_request_id_goes_along() -> None:
    with a_line() as line:
        token = REQUEST_ID.set("request-1")
        try:
            assert line.depot.asked_by() == "request-1"
        finally:
            REQUEST_ID.reset(token)
        assert line.depot.asked_by() is None


@pytest.mark.parametrize("caller", [Trust("another-secret-of-16"), Trust(SECRET + "x")])
def test_a_caller_with_another_secret_learns_nothing(caller: Trust) -> None:
    shed = Shed()
    with a_line(shed, caller=caller) as line, pytest.raises(ServiceUnavailable, match="UNAUTHENTICATED"):
        line.depot.book(Decimal(1))

    assert shed.booked == []


def test_trust_needs_a_secret_of_some_length_and_never_shows_it() -> None:
    with pytest.raises(ValueError, match="at least 16"):
        Trust("short")
    with pytest.raises(ValueError, match="shared secret or with certificates"):
        Trust()
    assert SECRET not in repr(Trust(SECRET))


def test_a_read_is_tried_again_with_growing_pauses_and_a_write_is_not() -> None:
    with a_line() as line:
        line.sibling.ping()
        line.hang_up()

        with pytest.raises(ServiceUnavailable, match="the depot did not answer: UNAVAILABLE") as caught:
            line.depot.keep()
        assert caught.value.retry_after_s == 2
        assert len(line.pauses) == ATTEMPTS_MAX - 1
        assert all(0 <= pause <= limit for pause, limit in zip(line.pauses, (0.05, 0.1), strict=True))

        with pytest.raises(ServiceUnavailable):
            line.depot.book(Decimal(1))
        assert len(line.pauses) == ATTEMPTS_MAX - 1


def test_a_sibling_that_comes_back_is_reached() -> None:
    with a_line(timeout_ms=20_000) as line:
        line.hang_up()
        with pytest.raises(ServiceUnavailable):
            line.depot.keep()
        line.pick_up()

        grpc.channel_ready_future(line.sibling._channel).result(timeout=20)
        assert line.depot.keep(PARCEL) == (PARCEL,)


def test_a_call_that_takes_too_long_is_given_up_and_not_tried_again() -> None:
    class Slow(Shed):
        def __init__(self) -> None:
            super().__init__()
            self.free, self.calls = threading.Event(), 0

        def keep(self, *parcels: Parcel) -> tuple[Parcel, ...]:
            self.calls += 1
            self.free.wait()
            return parcels

    slow = Slow()
    with a_line(slow, timeout_ms=200) as line:
        with pytest.raises(ServiceUnavailable, match="DEADLINE_EXCEEDED"):
            line.depot.keep()
        slow.free.set()
    assert slow.calls == 1


def test_a_call_inside_a_call_has_no_more_time_than_its_caller() -> None:
    assert time_left_s(5) == 5
    with wanted_within(1):
        assert 0 < time_left_s(5) <= 1
        assert time_left_s(0.001) == 0.001
    with a_line() as line, wanted_within(0), pytest.raises(ServiceUnavailable, match="time is up"):
        line.depot.keep()


def test_the_address_of_another_service_is_noticed() -> None:
    with a_line() as line:
        line.sibling.name = "rater"

        with pytest.raises(ServiceUnavailable, match="the address of the rater is that of a depot"):
            line.sibling.ping()


def test_a_port_that_is_taken_is_refused() -> None:
    with a_line() as line, pytest.raises(OSError, match="cannot listen"):
        RpcServer("depot", [], Trust(SECRET), REQUEST_ID).start("127.0.0.1", line.port)


def test_certificates_are_asked_of_both_sides(tmp_path: Path) -> None:
    ours, theirs = certificates(tmp_path / "ours"), certificates(tmp_path / "theirs")
    with a_line(trust=Trust(certificates=ours)) as line:
        assert line.depot.keep(PARCEL) == (PARCEL,)
    stranger = Trust(certificates=msgspec.structs.replace(theirs, authority=ours.authority))
    with (
        a_line(trust=Trust(certificates=ours), caller=stranger, timeout_ms=2_000) as line,
        pytest.raises(ServiceUnavailable),
    ):
        line.depot.keep()


def certificates(folder: Path) -> Certificates:
    """One certificate for 127.0.0.1, which is its own authority."""
    folder.mkdir()
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=penstock"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True)
    return Certificates(certificate.read_bytes(), key.read_bytes(), certificate.read_bytes())
