"""A port that another process serves, shared or not, is refused by name."""

from __future__ import annotations

import socket

import pytest

from penstock.app.listening import demand_free


@pytest.mark.parametrize("is_shared", [False, True])
def test_a_port_in_use_is_refused_and_a_free_one_is_not(is_shared: bool) -> None:
    with socket.socket() as taken:
        if is_shared:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port} for HTTP: Address already in use"):
            demand_free("127.0.0.1", port)

    demand_free("127.0.0.1", port)
