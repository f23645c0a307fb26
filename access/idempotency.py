"""POST and DELETE with an Idempotency-Key: carried out once, and answered again as at first.

A request claims its key before its work. The work's transaction, in which its audit entry is
written, also marks the claim as done, so there is no work without the mark and no mark without the
work, whenever a process dies. What was refused or failed did nothing, and gives its key free.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import IntegrityError, models, transaction
from rest_framework.exceptions import APIException, ParseError

from access.models import IdempotentRequest

HEADER = "HTTP_IDEMPOTENCY_KEY"
KEPT_FOR = timedelta(hours=24)
CLAIMED_FOR = timedelta(seconds=60)
"""Then another may take the work over; the first, if it still lives, can no longer commit."""
RETRY_AFTER_SECONDS = 1
MAX_KEY_LENGTH = 255
MAX_ANSWER_BYTES = 4 * 1024**2
"""Compressed; a larger answer is not kept."""
BARE = re.compile(r"[!#-~][!-~]*")
QUOTED = re.compile(r'"((?:[!#-\[\]-~]|\\["\\])+)"')
ESCAPED = re.compile(r'\\(["\\])')


class InvalidKey(ParseError):
    default_code = "invalid-idempotency-key"
    default_detail = (
        f"The Idempotency-Key must be 1 to {MAX_KEY_LENGTH} visible ASCII characters, "
        "bare or in double quotes."
    )


class KeyReused(APIException):
    status_code = 422
    default_code = "idempotency-key-reused"
    default_detail = "The Idempotency-Key came with another query or body before; use a new key."


class InProgress(APIException):
    status_code = 409
    default_code = "idempotency-in-progress"
    default_detail = "The first request with this Idempotency-Key is still carried out."
    wait = RETRY_AFTER_SECONDS


class AnswerGone(APIException):
    status_code = 409
    default_code = "idempotency-answer-gone"

    def __init__(self, request_id: str) -> None:
        super().__init__(
            f"The first request with this Idempotency-Key, {request_id}, was carried out, but its "
            "answer is not kept. Look at what it changed before you send it with a new key."
        )


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """What the first request was answered, and its id."""

    status_code: int
    location: str
    content: bytes
    request_id: str


class Replayed(Exception):
    """The request was carried out before: it is answered as it was then."""

    def __init__(self, kept: KeptAnswer) -> None:
        super().__init__()
        self.kept = kept


@dataclass(frozen=True, slots=True)
class Claim:
    """The right of one request, the holder, to do the work of a key."""

    digest: str
    holder: str

    def mark_done(self) -> None:
        """Within the work's transaction. Raises `InProgress` when another has taken over."""
        if not self._rows().update(is_done=True):
            raise InProgress

    def keep(self, status_code: int, location: str, content: bytes) -> None:
        """Keep the answer, unless it is too large or all answers are forgotten by now."""
        compressed = zlib.compress(content, level=1)
        is_kept = len(compressed) <= MAX_ANSWER_BYTES
        self._rows().update(
            is_done=True,
            status_code=status_code,
            location=location,
            answer=compressed if is_kept else None,
        )

    def release(self) -> None:
        """Give the key free when nothing was done."""
        self._rows().filter(is_done=False).delete()

    def _rows(self) -> models.QuerySet[IdempotentRequest]:
        return IdempotentRequest.objects.filter(pk=self.digest, holder=self.holder)


def key_in(header: str) -> str:
    """The key that the header's value states. Raises `InvalidKey`."""
    quoted = QUOTED.fullmatch(header)
    key = ESCAPED.sub(r"\1", quoted[1]) if quoted else header
    if not (quoted or BARE.fullmatch(header)) or len(key) > MAX_KEY_LENGTH:
        raise InvalidKey
    return key


def digest_of(*parts: str | bytes) -> str:
    """SHA-256 over the parts, each with its length, so that none runs into the next."""
    whole = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        whole.update(len(content).to_bytes(8, "big"))
        whole.update(content)
    return whole.hexdigest()


def claim(
    digest: str,
    *,
    fingerprint: str,
    request_id: str,
    at: datetime,
    names_customers: bool = True,
) -> Claim:
    """The claim on a key that nobody used in the last day, or whose holder died in its work.

    An answer that may name customers, or hold words that some of them have, goes with any of them.
    Raises `Replayed`, `KeyReused`, `InProgress` or `AnswerGone`.
    """
    holder = secrets.token_hex(16)
    fresh = {
        "fingerprint": fingerprint,
        "holder": holder,
        "request_id": request_id,
        "created_at": at,
        "claimed_until": at + CLAIMED_FOR,
        "is_done": False,
        "names_customers": names_customers,
        "status_code": None,
        "location": "",
        "answer": None,
    }
    try:
        with transaction.atomic():
            IdempotentRequest.objects.create(digest=digest, **fresh)
        return Claim(digest, holder)
    except IntegrityError:
        earlier = IdempotentRequest.objects.filter(pk=digest).first()
    if earlier is None:  # released this moment
        raise InProgress
    if earlier.created_at > at - KEPT_FOR:
        refuse_or_replay(earlier, fingerprint=fingerprint, at=at)
    taken = IdempotentRequest.objects.filter(
        pk=digest, holder=earlier.holder, is_done=earlier.is_done
    ).update(**fresh)
    if not taken:
        raise InProgress
    return Claim(digest, holder)


def refuse_or_replay(earlier: IdempotentRequest, *, fingerprint: str, at: datetime) -> None:
    """Raises what `claim` does, unless the earlier request died before its work was done."""
    if earlier.fingerprint != fingerprint:
        raise KeyReused
    if not earlier.is_done:
        if earlier.claimed_until > at:
            raise InProgress
        return
    if earlier.status_code is None and earlier.holder and earlier.claimed_until > at:
        raise InProgress  # done, and about to be answered
    if earlier.status_code is None or earlier.answer is None:
        raise AnswerGone(earlier.request_id)
    content = zlib.decompress(earlier.answer)
    raise Replayed(KeptAnswer(earlier.status_code, earlier.location, content, earlier.request_id))


def forget_answers(customer_ids: Sequence[str] = (), words: object = None) -> int:
    """Erase the kept answers that may name customers, whoever goes; returns how many there were.

    What is done stays done: a retry is told that its answer is gone. An answer still on its way is
    not kept either.
    """
    done = IdempotentRequest.objects.filter(is_done=True, names_customers=True)
    n_answers = done.filter(answer__isnull=False).count()
    done.update(answer=None, holder="")
    return n_answers


def sweep(*, at: datetime) -> int:
    """Delete the requests older than a day; returns how many."""
    old = IdempotentRequest.objects.filter(created_at__lte=at - KEPT_FOR)
    n_deleted, _ = old.delete()
    return n_deleted
