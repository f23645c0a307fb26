"""Counting requests against the limit: per key, and per client address without a valid key.

An address whose keys are refused is slowed more than that; valid keys from there are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.conf import settings
from django.http import HttpRequest
from django_ratelimit.core import get_usage

from access.authentication import Credential
from access.client_address import limited_network

GROUP = "api"
PERIOD_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class Usage:
    """Where a caller stands: `reset_seconds` until the window ends."""

    limit: int
    period_seconds: int
    remaining: int
    reset_seconds: int
    exceeded: bool
    policy: str = "default"

    def headers(self) -> Mapping[str, str]:
        """The IETF draft's fields and the older X- ones that most clients still read."""
        headers = {
            "RateLimit-Policy": f'"{self.policy}";q={self.limit};w={self.period_seconds}',
            "RateLimit": f'"{self.policy}";r={self.remaining};t={self.reset_seconds}',
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(self.reset_seconds),
        }
        if self.exceeded:
            headers["Retry-After"] = str(self.reset_seconds)
        return headers


def count_request(request: HttpRequest, credential: Credential | None, address: str) -> Usage:
    """Count this request and say where its key, or its address, now stands."""
    who = f"address {limited_network(address)}" if credential is None else f"key {credential.id}"
    rate = settings.RATE_LIMIT if credential is None else credential.rate or settings.RATE_LIMIT
    return _count(request, who, rate)


def count_bad_key(request: HttpRequest, address: str) -> Usage:
    """Count a key or token that was refused, against the address it came from."""
    return _count(
        request, f"bad keys {limited_network(address)}", settings.BAD_KEY_LIMIT, policy="bad-keys"
    )


def _count(request: HttpRequest, who: str, rate: str, policy: str = "default") -> Usage:
    usage = get_usage(
        request, group=GROUP, key=lambda group, request: who, rate=rate, increment=True
    )
    limit = int(rate.partition("/")[0])
    return Usage(
        limit=limit,
        period_seconds=PERIOD_SECONDS[rate[-1]],
        remaining=max(limit - usage["count"], 0),
        reset_seconds=max(usage["time_left"], 1),
        exceeded=usage["should_limit"],
        policy=policy,
    )
