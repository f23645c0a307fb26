"""The entry of what was asked for and not done."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from audit import trail
from audit.models import Outcome

CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


def record_refusal(
    action: str, code: str, *, by: trail.Actor, target: tuple[str, object] = ("", "")
) -> None:
    trail.record(action, by=by, target=target, outcome=Outcome.REFUSED, details={"code": code})


@contextmanager
def refusals_recorded(
    action: str,
    *refusals: type[Exception],
    by: trail.Actor,
    target: tuple[str, object] = ("", ""),
) -> Iterator[None]:
    """Leave one entry when the block ends by one of the refusals, which goes on.

    Its code is the name of the exception: the text might show what was typed. For use outside the
    transaction of the act, and around what leaves no entry of its own when it refuses.
    """
    try:
        yield
    except refusals as refusal:
        code = CAPITAL.sub("-", type(refusal).__name__).lower()
        record_refusal(action, code, by=by, target=target)
        raise
