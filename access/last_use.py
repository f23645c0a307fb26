"""When a key was last used, to the minute: written once the answer is out.

A process writes at most once a minute for each key, in a statement of its own after the request:
what reads stays a read, and a busy database delays no answer.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import timedelta
from typing import Any

from django.db import DatabaseError
from django.db.models import Q
from django.utils import timezone

from access.models import ApiKey

logger = logging.getLogger(__name__)

SECONDS_BETWEEN = 60
MAX_REMEMBERED = 10_000

_tried_at: dict[str, float] = {}
"""When this process last wrote for a key, in monotonic seconds; a failure counts too."""
_request = threading.local()


def note_use(key_id: str) -> None:
    """Have the use of a stored key written at the end of this thread's request."""
    now = time.monotonic()
    if now - _tried_at.get(key_id, float("-inf")) >= SECONDS_BETWEEN:
        if len(_tried_at) >= MAX_REMEMBERED:
            _tried_at.clear()
        _tried_at[key_id] = now
        _request.key_id = key_id


def write_noted(**kwargs: Any) -> None:
    """The receiver of `request_finished`."""
    key_id = getattr(_request, "key_id", None)
    if key_id is None:
        return
    _request.key_id = None
    _tried_at[key_id] = time.monotonic()  # so that a minute after the write the next one is due
    now = timezone.now()
    is_due = Q(last_used_at=None) | Q(last_used_at__lte=now - timedelta(seconds=SECONDS_BETWEEN))
    try:
        ApiKey.objects.filter(is_due, pk=key_id).update(last_used_at=now)
    except DatabaseError:
        logger.warning("The use of key %s was not written", key_id, exc_info=True)
