"""The bytes of request bodies that one gateway holds at a time: a bound that is met before memory grows."""

from __future__ import annotations

from penstock.kernel.problems import TooMany


class Budget:
    """Bytes that are held, and how many may be. For one event loop."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self.held_bytes = 0

    def refuse_beyond(self, body_bytes: int) -> None:
        """Raise `TooMany` where so many bytes more are too many."""
        if self.held_bytes + body_bytes > self._bytes_max:
            raise TooMany("the gateway has as much waiting as it may hold", retry_after_s=1)

    def take(self, body_bytes: int) -> None:
        """Whoever takes gives back. Raise `TooMany`, and then nothing is taken."""
        self.refuse_beyond(body_bytes)
        self.held_bytes += body_bytes

    def give_back(self, body_bytes: int) -> None:
        self.held_bytes -= body_bytes
