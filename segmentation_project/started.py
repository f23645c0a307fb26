"""The entry of a start of the server: which settings are not those of the start before.

Kept of each setting is a digest keyed with SECRET_KEY, never a value. Where that key changed the
others cannot be compared: then it alone is named, and `is_compared` is false.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import msgspec
from django.conf import settings
from django.db import transaction
from django.utils.crypto import salted_hmac

from audit import trail
from audit.models import AuditEntry

STARTED = "server.started"
PURPOSE = "segmentation_project.started"
DIGEST_DIGITS = 16
"""64 bits: enough to tell two values apart, and few for what is kept."""
KEY = "SECRET_KEY"


@transaction.atomic
def record_start(*, by: trail.Actor) -> None:
    """Leave the entry; `changed` names the settings, none at the first start."""
    now = digests(texts())
    last = AuditEntry.objects.filter(action=STARTED).order_by("-id").first()
    before: Mapping[str, str] = {} if last is None else json.loads(last.details).get("settings", {})
    is_compared = before.get(KEY) == now[KEY]
    if is_compared:
        unset = digests(dict.fromkeys(now, ""))  # as which a setting counts that was not there yet
        changed = [name for name in sorted(now) if before.get(name, unset[name]) != now[name]]
    else:
        changed = [KEY] if before else []
    trail.record(
        STARTED,
        by=by,
        details={
            "version": settings.VERSION,
            "changed": changed,
            "is_compared": is_compared,
            "settings": now,
        },
    )


def texts() -> dict[str, str]:
    """Every variable the settings read, and every value of the file of API_CONFIG, as text."""
    found: dict[str, str] = settings.ENVIRONMENT.texts()
    for section, values in msgspec.to_builtins(settings.API_CONFIG_VALUES).items():
        found |= {f"{section}.{name}": str(value) for name, value in values.items()}
    return found


def digests(values: Mapping[str, str]) -> dict[str, str]:
    return {
        name: salted_hmac(PURPOSE, f"{name}\0{value}", algorithm="sha256").hexdigest()[
            :DIGEST_DIGITS
        ]
        for name, value in values.items()
    }
