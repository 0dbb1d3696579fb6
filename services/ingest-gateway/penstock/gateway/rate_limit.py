"""What a tenant may send in a second: token buckets of events and of bytes.

A bucket may be overdrawn by one request, so that a batch larger than a second's worth is not refused for ever; what
follows waits until the debt is paid.
"""

from __future__ import annotations

import math

import msgspec

from penstock.kernel.problems import TooMany

US_PER_S = 1_000_000
UNLIMITED = 0


class _Bucket:
    """Holds a second's worth at most. `per_s` tokens come in each second."""

    def __init__(self, per_s: int, now_us: int) -> None:
        self._per_s = per_s
        self._tokens_us = per_s * US_PER_S  # in millionths of a token: whole numbers
        self._at_us = now_us

    def wait_s(self, now_us: int) -> int:
        """Whole seconds until it is out of debt, 0 where it is in none."""
        elapsed_us = max(0, now_us - self._at_us)  # a clock may step back
        self._tokens_us = min(self._per_s * US_PER_S, self._tokens_us + elapsed_us * self._per_s)
        self._at_us = now_us
        return math.ceil(-self._tokens_us / (self._per_s * US_PER_S)) if self._tokens_us < 0 else 0

    def spend(self, tokens: int) -> None:
        self._tokens_us -= tokens * US_PER_S


class RateLimits(msgspec.Struct, frozen=True):
    """Of each tenant; `UNLIMITED` is no limit. Bytes are those of bodies, unpacked."""

    events_per_s_max: int = UNLIMITED
    bytes_per_s_max: int = UNLIMITED


class TenantRates:
    """What each tenant has sent of late. `refuse_beyond` before the work, `spend` once its size is known."""

    def __init__(self, limits: RateLimits) -> None:
        units = (("events", limits.events_per_s_max), ("bytes", limits.bytes_per_s_max))
        self._limits = {unit: per_s for unit, per_s in units if per_s != UNLIMITED}
        self._buckets: dict[str, dict[str, _Bucket]] = {}
        self.has_limits = bool(self._limits)

    def refuse_beyond(self, tenant: str, now_us: int) -> None:
        """Raise `TooMany`, which says which limit it is, where the tenant has overdrawn one."""
        for unit, bucket in self._of(tenant, now_us).items():
            wait_s = bucket.wait_s(now_us)
            if wait_s:
                limit = f"{self._limits[unit]} {unit} a second"
                raise TooMany(f"the tenant's limit of {limit} is reached", retry_after_s=wait_s)

    def spend(self, tenant: str, events: int, body_bytes: int, now_us: int) -> None:
        buckets = self._of(tenant, now_us)
        for unit, tokens in (("events", events), ("bytes", body_bytes)):
            if unit in buckets:
                buckets[unit].spend(tokens)

    def _of(self, tenant: str, now_us: int) -> dict[str, _Bucket]:
        if not self._limits:
            return {}
        if tenant not in self._buckets:
            self._buckets[tenant] = {unit: _Bucket(per_s, now_us) for unit, per_s in self._limits.items()}
        return self._buckets[tenant]
