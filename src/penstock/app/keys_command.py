"""`penstock keys create|list|rotate|revoke`: API keys where the gateway keeps them, whether one runs or not.

That is a SQLite file of their own in the data folder, or PostgreSQL; a running server takes note within seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

from penstock.app.adapters import SQLITE, Tables
from penstock.app.config import from_environment
from penstock.app.settings import GATEWAY
from penstock.gateway.keys import OVERLAP_DEFAULT, ApiKey, Keys, parse_scopes
from penstock.kernel.clock import SystemClock
from penstock.kernel.problems import Problem, Refused
from penstock.web.route import OPERATOR_TENANT

DONE, REFUSED = 0, 1
_COLUMNS = ("ID", "TENANT", "NAME", "SCOPES", "CUSTOMER", "STATE", "CREATED")


def add_keys_command(commands: Any) -> None:
    """Add `keys` to an argument parser's sub-commands."""
    parser = commands.add_parser(
        "keys",
        help="create, list, rotate and revoke API keys",
        description="API keys of a data folder, or of a gateway's PostgreSQL. A running server takes a change within "
        "two seconds. A new key's text is printed once and stored nowhere. Exit code 0 if it was done, 1 if it was "
        "refused, 2 for a wrong option.",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    create = actions.add_parser("create", help="make a key and print its text")
    create.add_argument("--name", required=True, help="what the key is for")
    create.add_argument("--scopes", required=True, help="some of ingest, read, write, admin, with commas")
    create.add_argument("--customer-id", metavar="ID", help="read this one customer only; needs --scopes read")
    actions.add_parser("list", help="list the keys, revoked ones too")
    rotate = actions.add_parser("rotate", help="give a key a new secret and print its new text")
    rotate.add_argument(
        "--overlap-seconds",
        type=int,
        default=int(OVERLAP_DEFAULT.total_seconds()),
        metavar="S",
        help="seconds for which the old secret is still good (default a day)",
    )
    revoke = actions.add_parser("revoke", help="end a key at once")
    for action in (rotate, revoke):
        action.add_argument("key_id", metavar="KEY_ID")
    for action in (create, actions.choices["list"], rotate, revoke):
        action.add_argument("--data-dir", type=Path, metavar="DIR", help="the server's folder (PENSTOCK_DATA_DIR)")
        action.add_argument("--tables", help="sqlite, or the gateway's postgresql:// address (PENSTOCK_TABLES)")
        action.add_argument("--tenant", default=OPERATOR_TENANT, help=f"default: {OPERATOR_TENANT}, the operator")


def keys(given: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    try:
        where = {"data_dir": given.data_dir, "tables": given.tables, "start_timeout_ms": 0}
        config = from_environment(where, GATEWAY)
    except ValueError as exc:
        return _refused(str(exc))
    if config.tables == SQLITE and not (config.data_dir / "gateway.db").is_file():
        return _refused(f"no Penstock data in {config.data_dir}: start `penstock up` on it once")
    try:
        with closing(Tables(config, GATEWAY)) as tables:
            _ACTIONS[given.action](Keys(asyncio.run(tables.catalog()), SystemClock()), given)
    except (Problem, Refused, OSError) as exc:
        return _refused(str(exc))
    return DONE


def _create(held: Keys, given: argparse.Namespace) -> None:
    scopes = parse_scopes([name.strip() for name in given.scopes.split(",")])
    _say(held.create(given.tenant, given.name, scopes, given.customer_id)[1])


def _rotate(held: Keys, given: argparse.Namespace) -> None:
    _say(held.rotate(given.tenant, given.key_id, timedelta(seconds=given.overlap_seconds))[1])


def _revoke(held: Keys, given: argparse.Namespace) -> None:
    _say(f"{held.revoke(given.tenant, given.key_id).id} is revoked")


def _list(held: Keys, given: argparse.Namespace) -> None:
    rows = [_COLUMNS, *(_row(key) for _, key in held.list(given.tenant))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        _say("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


_ACTIONS: dict[str, Callable[[Keys, argparse.Namespace], None]] = {
    "create": _create,
    "list": _list,
    "rotate": _rotate,
    "revoke": _revoke,
}


def _row(key: ApiKey) -> tuple[str, ...]:
    scopes = ",".join(scope.value for scope in key.scopes)
    state = "revoked" if key.revoked else "active"
    return (key.id, key.tenant, key.name, scopes, key.customer_id or "-", state, f"{key.created_at:%Y-%m-%d %H:%M}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def _refused(why: str) -> int:
    sys.stderr.write(f"penstock keys: {why}\n")
    return REFUSED
