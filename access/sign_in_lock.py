"""How many sign-ins may fail before the next must wait, by whom and where from.

Counted apart: each name from each address, each address, and each name. A browser that has signed
in as a person before has a count of its own and is not held up by the others, so whoever guesses
locks out only strangers (OWASP, "Slow Down Online Guessing Attacks with Device Cookies"). Names
are counted whether or not somebody has them.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from django.conf import settings
from django.core import signing
from django.core.cache import caches
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django_ratelimit.core import get_usage

from access.client_address import client_address, limited_network
from audit import trail

UNLOCKED = "user.sign_in_unlocked"
GROUP = "sign-in"
NAME_FACTOR, ADDRESS_FACTOR = 4, 10
"""How many times LOGIN_FAILURES a name from anywhere, and an address with any names, may fail."""
COOKIE = "known_browser"
COOKIE_SECONDS = 180 * 86_400
FORGIVEN_SECONDS = 2 * 86_400
"""Twice the longest LOGIN_LOCK_MINUTES: what was counted before is gone by then."""


@dataclass(frozen=True, slots=True)
class Attempts:
    """The counts that a sign-in belongs to: `own` is exact, the `wide` ones hold up strangers.

    A right password forgives `own`. Of attempts under way at the same time, all may be looked at
    before the first is counted in `wide`.
    """

    own: str
    wide: tuple[tuple[str, int], ...] = ()

    def begin(self, request: HttpRequest) -> int:
        """Count an attempt; the seconds it must wait instead, or 0."""
        return max(
            [
                _wait(request, self.own, settings.LOGIN_FAILURES, counting=True),
                self.wide_wait(request),
            ]
        )

    def wide_wait(self, request: HttpRequest) -> int:
        waits = [_wait(request, who, settings.LOGIN_FAILURES * factor) for who, factor in self.wide]
        return max(waits, default=0)

    def failed(self, request: HttpRequest) -> None:
        for who, factor in self.wide:
            _wait(request, who, settings.LOGIN_FAILURES * factor, counting=True)

    def forgive(self) -> None:
        _forgive(self.own)


def sign_in_attempts(request: HttpRequest, name: str) -> Attempts:
    anywhere = _of_name(name)
    unlocked = _forgiven(anywhere)
    browser = _known_browser(request, name)
    if browser:
        return Attempts(f"{anywhere} {unlocked} in browser {browser}")
    address = client_address(request.META, trusted_proxy_count=settings.TRUSTED_PROXY_COUNT)
    network = limited_network(address)
    return Attempts(
        f"{anywhere} {unlocked} from {network}",
        ((anywhere, NAME_FACTOR), (_of_network(network), ADDRESS_FACTOR)),
    )


def own_password_attempts(user_id: int) -> Attempts:
    """For forms that ask who is signed in already for the password once more."""
    return Attempts(f"password of {user_id}")


def remember_browser(request: HttpRequest, response: HttpResponse, name: str) -> None:
    """Let this browser be known the next time; the cookie lets nobody in."""
    browser = _known_browser(request, name) or secrets.token_hex(16)
    response.set_cookie(
        COOKIE,
        signing.dumps([_digest(name), browser], salt=COOKIE),
        max_age=COOKIE_SECONDS,
        path="/admin/",
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


@transaction.atomic
def unlock_name(name: str, *, by: trail.Actor) -> None:
    """Forget what failed under the name, wherever it came from."""
    trail.record(UNLOCKED, by=by, target=("user", name))
    _forgive(_of_name(name))


@transaction.atomic
def unlock_address(address: str, *, by: trail.Actor) -> None:
    """Forget what failed from the address, or the network it is limited with."""
    network = limited_network(address)
    trail.record(UNLOCKED, by=by, target=("address", network))
    _forgive(_of_network(network))


def _wait(request: HttpRequest, who: str, limit: int, *, counting: bool = False) -> int:
    """Seconds until `who` may try again, or 0; `counting` this attempt first."""
    counted = f"{who} {_forgiven(who)}"
    usage = get_usage(
        request,
        group=GROUP,
        key=lambda group, request: counted,
        rate=(limit, settings.LOGIN_LOCK_MINUTES * 60),
        increment=counting,
    )
    is_over = usage["count"] > limit if counting else usage["count"] >= limit
    return max(usage["time_left"], 1) if is_over else 0


def _known_browser(request: HttpRequest, name: str) -> str:
    """The id that the browser got when this name signed in with it; empty without one."""
    try:
        known, browser = signing.loads(
            request.COOKIES.get(COOKIE, ""), salt=COOKIE, max_age=COOKIE_SECONDS
        )
    except (signing.BadSignature, ValueError, TypeError):
        return ""
    return str(browser) if known == _digest(name) else ""


def _of_name(name: str) -> str:
    return f"name {_digest(name)}"


def _of_network(network: str) -> str:
    return f"address {network}"


def _forgiven(who: str) -> int:
    """How often it was forgiven: part of each count's name, so that a new one starts."""
    return int(caches["ratelimit"].get(f"forgiven:{_digest(who)}", 0))


def _forgive(who: str) -> None:
    cache, key = caches["ratelimit"], f"forgiven:{_digest(who)}"
    if not cache.add(key, 1, FORGIVEN_SECONDS):
        cache.incr(key)


def _digest(text: str) -> str:
    """Of any length and characters, the same short name; what was typed is kept nowhere."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
