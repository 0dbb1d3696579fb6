"""What a run is asked to do: the options, and the profiles that are sets of them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from fractions import Fraction

import msgspec
from loadtest.drivers.base import PROTOCOLS

from penstock.app.config import variable


class Phase(msgspec.Struct, frozen=True):
    """A part of a run: its share of the duration, and its rate as a multiple of the given one."""

    share: Fraction
    factor: int


STEADY = (Phase(Fraction(1), 1),)
THIRD = Fraction(1, 3)
BURST = (Phase(THIRD, 1), Phase(THIRD, 3), Phase(THIRD, 1))


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """One run. `target` None starts a fresh server in this machine; `rate` None is as fast as it goes.

    Shares are of 1. `server_pids` names the processes whose CPU and memory are read from /proc.
    """

    profile: str = "standard"
    target: str | None = None
    grpc_target: str | None = None
    protocol: str = "http"
    rate: int | None = None
    duration_s: int = 60
    batch: int = 100
    connections: int = 16
    duplicates: float = 0.01
    late: float = 0.01
    out_of_order: float = 0.05
    conflicts: float = 0.001
    customers: int = 20
    skew: float = 1.0
    dimensions: Mapping[str, int] = msgspec.field(default_factory=lambda: {"model": 3, "region": 2})
    seed: int = 1
    compress: str | None = None
    server_pids: Mapping[str, int] = msgspec.field(default_factory=dict)
    give_up_s: int = 120

    @property
    def phases(self) -> Sequence[Phase]:
        return BURST if self.profile == "burst" else STEADY


# What a profile sets apart from the defaults above; an option on the command line wins.
PROFILES: Mapping[str, Mapping[str, object]] = {
    "smoke": {
        "rate": 3_000,
        "duration_s": 20,
        "batch": 50,
        "connections": 8,
        "duplicates": 0.05,
        "late": 0.03,
        "out_of_order": 0.1,
        "conflicts": 0.02,
    },
    "standard": {},
    "burst": {"rate": 20_000, "duration_s": 90, "connections": 32},
    "soak": {"rate": 20_000, "duration_s": 3_600},
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of a run. None has a default here: what is not given comes from the profile."""
    parser.add_argument("--profile", choices=PROFILES, default="standard")
    parser.add_argument("--target", metavar="URL", help="the server; without it a fresh one is started here")
    parser.add_argument("--grpc-target", metavar="HOST:PORT", help="default: the target's host, its port + 1")
    parser.add_argument("--api-key", help="needs the scopes ingest, read and write; default: PENSTOCK_API_KEY")
    parser.add_argument("--protocol", choices=PROTOCOLS)
    parser.add_argument("--rate", type=_rate, metavar="N|max", help="new events a second, or as fast as it goes")
    parser.add_argument("--duration", type=_positive, dest="duration_s", metavar="S")
    parser.add_argument("--batch", type=_positive, metavar="N", help="events per request")
    parser.add_argument("--connections", type=_positive, metavar="N", help="each with one batch on its way")
    for name, what in (
        ("duplicates", "events sent again verbatim, on top of the new ones"),
        ("late", "events from one to three days ago"),
        ("out-of-order", "events from within the last half hour, shuffled"),
        ("conflicts", "events with a known id and another body, on top of the new ones"),
    ):
        parser.add_argument(f"--{name}", type=_share, metavar="P", help=f"share of {what}: 0.01 or 1%%")
    parser.add_argument("--customers", type=_positive, metavar="N")
    parser.add_argument("--skew", type=float, metavar="ZIPF", help="0: every customer alike; 1: classic Zipf")
    parser.add_argument("--dimensions", type=_numbers, metavar="K=N,..", help="group keys and how many values each has")
    parser.add_argument("--seed", type=int, metavar="N", help="the same traffic for the same seed")
    parser.add_argument("--compress", choices=("gzip", "zstd"))
    parser.add_argument("--server-pid", type=_numbers, dest="server_pids", metavar="NAME=PID,..")
    parser.add_argument("--give-up", type=_positive, dest="give_up_s", metavar="S", help="without any progress")


def options_of(given: argparse.Namespace, **fixed: object) -> Options:
    """The options of a command line over those of its profile, `fixed` over both."""
    values = dict(PROFILES[given.profile])
    for field in msgspec.structs.fields(Options):
        if getattr(given, field.name, None) is not None:
            values[field.name] = getattr(given, field.name)
    if given.rate == AS_FAST_AS_IT_GOES:
        values["rate"] = None
    return Options(**{**values, **fixed})  # type: ignore[arg-type]  # argparse has checked each


def api_key_of(given: argparse.Namespace) -> str:
    return given.api_key or variable("API_KEY") or ""


AS_FAST_AS_IT_GOES = 0


def _rate(text: str) -> int:
    return AS_FAST_AS_IT_GOES if text == "max" else _positive(text)


def _positive(text: str) -> int:
    number = int(text)
    if number <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return number


def _share(text: str) -> float:
    share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share from 0 to 1")
    return share


def _numbers(text: str) -> dict[str, int]:
    """NAME=NUMBER,NAME=NUMBER"""
    pairs = [part.partition("=") for part in text.split(",") if part]
    return {name: _positive(number) for name, _, number in pairs}
