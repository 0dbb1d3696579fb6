"""`penstock keys` on a data folder: what it prints, and what a server that has the same folder open makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.app.cli import main
from penstock.catalog.sqlite import SqliteCatalog
from penstock.gateway.keys import Keys
from penstock.kernel.clock import SystemClock
from penstock.kernel.problems import Unauthorized
from penstock.web.route import Scope


@pytest.fixture
def server_keys(tmp_path: Path) -> Iterator[Keys]:
    """The keys as the process of a server sees them that has the folder open."""
    catalog = SqliteCatalog(tmp_path / "gateway.db")
    yield Keys(catalog, SystemClock())
    catalog.close()


def run(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str) -> tuple[int, str, str]:
    code = main(["keys", *arguments, "--data-dir", str(folder)])
    output = capsys.readouterr()
    return code, output.out.strip(), output.err.strip()


def test_a_key_is_created_rotated_listed_and_revoked(
    tmp_path: Path, server_keys: Keys, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text, _ = run(capsys, tmp_path, "create", "--name", "ci", "--scopes", "ingest,read", "--tenant", "acme")
    principal = server_keys.authenticate(f"Bearer {text}")
    assert (code, principal.tenant, principal.scopes) == (0, "acme", frozenset([Scope.INGEST, Scope.READ]))

    own = (principal.key_id, "--tenant", "acme")
    code, new, _ = run(capsys, tmp_path, "rotate", *own, "--overlap-seconds", "0")
    fresh = Keys(server_keys._catalog, SystemClock())
    assert (code, fresh.authenticate(f"Bearer {new}").key_id) == (0, principal.key_id)
    with pytest.raises(Unauthorized):
        fresh.authenticate(f"Bearer {text}")

    assert run(capsys, tmp_path, "revoke", *own)[:2] == (0, f"{principal.key_id} is revoked")
    code, table, _ = run(capsys, tmp_path, "list", "--tenant", "acme")
    _, row = table.splitlines()
    assert (code, row.split()[:6]) == (0, [principal.key_id, "acme", "ci", "ingest,read", "-", "revoked"])
    with pytest.raises(Unauthorized):
        Keys(server_keys._catalog, SystemClock()).authenticate(f"Bearer {new}")


def test_a_key_of_one_customer_is_made_for_reading(
    tmp_path: Path, server_keys: Keys, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text, _ = run(capsys, tmp_path, "create", "--name", "portal", "--scopes", "read", "--customer-id", "c-1")

    assert (code, server_keys.authenticate(f"Bearer {text}").customer_id) == (0, "c-1")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("create", "--name", "x", "--scopes", "everything"), "scopes must be some of ingest, read, write, admin"),
        (("create", "--name", "", "--scopes", "read"), "name needs 1 to 200 characters"),
        (("create", "--name", "x", "--scopes", "write", "--customer-id", "c"), "the scope read alone"),
        (("rotate", "unknown"), "no API key unknown"),
        (("revoke", "unknown"), "no API key unknown"),
    ],
)
def test_what_is_wrong_is_refused_in_words(
    tmp_path: Path, server_keys: Keys, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], why: str
) -> None:
    code, out, err = run(capsys, tmp_path, *arguments)

    assert (code, out) == (1, "")
    assert why in err
    assert server_keys.list("default") == []


def test_a_folder_without_data_is_refused_and_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, tmp_path, "create", "--name", "x", "--scopes", "read")

    assert code == 1
    assert "no Penstock data" in err
    assert list(tmp_path.iterdir()) == []
