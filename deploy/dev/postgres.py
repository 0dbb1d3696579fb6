"""A PostgreSQL server of this machine's packages, without Docker: started on loopback, restarted, killed, stopped.

`python -m deploy.dev.postgres` runs one in the foreground and prints its DSN. PostgreSQL refuses to run as root, so for
root it runs as the packages' own user. Every commit is on the disk before it is answered, as in production.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

USER = "penstock"
READY_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30
POLL_S = 0.05
# Who a server may run as where we are root: the packages' user, else the one that owns nothing.
RUN_AS = ("postgres", "nobody")
PACKAGES = Path("/usr/lib/postgresql")
INSTALL = (("apt-get", "update"), ("apt-get", "install", "--yes", "--no-install-recommends", "postgresql"))


class NoPostgres(Exception):
    """There is no server to start here; the message says what to do."""


class PostgresServer:
    """The server whose data is in `folder`, made there on the first start: for root, a folder that others may reach."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self._binaries = binaries()
        self._folder = folder
        self._port = port or free_port()
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._data, self._password_file, self._log = folder / "data", folder / "password", folder / "server.log"
        if not self._data.exists():
            self._initialize()

    @property
    def dsn(self) -> str:
        """For the superuser, over TCP on loopback."""
        password = quote(self._password_file.read_text())
        return f"postgresql://{USER}:{password}@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        """Return when it answers. After a kill it first plays its write-ahead log."""
        assert self._process is None, "it runs already"
        for _ in range(READY_TIMEOUT_S):
            self._process = self._run()
            if self._is_ready(self._process):
                return
            # The memory of a server that was killed is not free before the last of its processes has noticed.
            if "still in use" not in self._last_words():
                break
        self._process = None
        raise NoPostgres(f"PostgreSQL did not start; the end of {self._log}:\n{self._last_words()}")

    def wait(self) -> None:
        """Until it ends, by whatever."""
        assert self._process is not None, "it does not run"
        self._process.wait()

    def stop(self) -> None:
        """Break connections off, write everything and end. Idempotent."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(STOP_TIMEOUT_S)
            self._process = None

    def restart(self) -> None:
        """On the same port, with the same data; it may have been killed."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """End the server and every process of it by SIGKILL."""
        assert self._process is not None, "it does not run"
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        self._process.kill()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
        self._process.wait(STOP_TIMEOUT_S)
        self._process = None

    def _initialize(self) -> None:
        self._password_file.write_text(secrets.token_urlsafe(16))
        self._log.touch()
        for path in (self._folder, self._password_file, self._log):
            path.chmod(0o700 if path.is_dir() else 0o600)
            if identity := _identity():
                os.chown(path, identity["user"], identity["group"])
        options = ("--encoding=UTF8", "--locale=C", "--auth=scram-sha-256", f"--username={USER}")
        command: list[str | Path] = [self._binaries / "initdb", *options, f"--pwfile={self._password_file}", self._data]
        done = subprocess.run(command, cwd=self._folder, capture_output=True, text=True, **_identity())
        if done.returncode:
            raise NoPostgres(f"initdb failed in {self._folder}:\n{done.stderr}")

    def _run(self) -> subprocess.Popen[bytes]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self._port,
            "unix_socket_directories": "",
            "max_connections": 200,
            "fsync": "on",
            "synchronous_commit": "on",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [self._binaries / "postgres", "-D", self._data, *options],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # what is typed at the terminal is for who started it
                **_identity(),
            )

    def _is_ready(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether it answers in time; False where it ended before."""
        for _ in range(round(READY_TIMEOUT_S / POLL_S)):
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(self.dsn, connect_timeout=READY_TIMEOUT_S).close()
                return True
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(POLL_S)
                return False
        process.kill()
        process.wait()
        return False

    def _last_words(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-10:])


def binaries() -> Path:
    """The folder of the newest server on this machine, installed if we are root. Raise `NoPostgres`."""
    for install in (False, True):
        if install:
            _install()
        found = sorted(PACKAGES.glob("*/bin/postgres"), key=lambda path: float(path.parts[-3]))
        if found:
            return found[-1].parent
        if on_path := shutil.which("postgres"):
            return Path(on_path).resolve().parent
    raise NoPostgres("the package postgresql is installed and holds no server")


def _install() -> None:
    if os.geteuid() or not shutil.which("apt-get"):
        raise NoPostgres("there is no PostgreSQL server here: install one (Debian: apt-get install postgresql)")
    for command in INSTALL:
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise NoPostgres(f"{' '.join(command)} failed:\n{done.stderr}")


def _identity() -> dict[str, Any]:
    """Who the server runs as, for `subprocess`: ourselves, or somebody with fewer rights where we are root."""
    if os.geteuid():
        return {}
    users = {user.pw_name: user for user in pwd.getpwall()}
    user = next(users[name] for name in RUN_AS if name in users)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def main() -> None:
    parser = argparse.ArgumentParser(description="Run PostgreSQL on loopback until it is interrupted.")
    parser.add_argument("--folder", type=Path, help="where the data stays (default: a temporary folder, then deleted)")
    parser.add_argument("--port", type=int, help="(default: a free one)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # ends as an interrupt does: nothing is left behind
    with contextlib.ExitStack() as stack:
        folder = options.folder
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="penstock-postgres-"))
            stack.callback(shutil.rmtree, folder)
        try:
            server = PostgresServer(folder.resolve(), options.port)
            server.start()
        except NoPostgres as exc:
            sys.exit(str(exc))
        stack.callback(server.stop)
        sys.stdout.write(f"{server.dsn}\n")
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            server.wait()


if __name__ == "__main__":
    main()
