"""Deliverers that are killed with SIGKILL, and several at once, each in a fork.

`python -m tests.system.killed_deliveries PORT` sends to the mail server at that port of this
machine and prints the Message-ID of each message by what was done to its deliverers.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import django
from django.conf import settings

N_AT_ONCE = 4
N_MESSAGES = 6


def main() -> None:
    django.setup()
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", int(sys.argv[1])
    settings.EMAIL_USE_TLS = False
    from django.core.management import call_command

    from monitoring import outbox, smtp
    from tests.monitoring.alert_rows import make_alert
    from tests.system.killed_trainings import dying

    call_command("migrate", verbosity=0)
    message_ids = {
        "before the commit": killed(dying(outbox, "mark_told"), queue),
        "before the claim": killed(dying(outbox, "claim"), send),
        "before the server took it": killed(dying(smtp.EmailBackend, "open"), send),
        "after the server took it": killed(dying(outbox, "record_sent"), send),
    }
    for _ in range(N_MESSAGES):
        queue()
    several_at_once(send)
    message_ids["sent by several at once"] = new_messages()
    make_alert()
    several_at_once(digest)
    send()
    message_ids["queued by several at once"] = new_messages()
    json.dump(message_ids, sys.stdout)


def killed(arm: Callable[[], None], task: Callable[[], None]) -> list[str]:
    """The messages there are after a fork that dies in the task, and the next that delivers."""
    if task is send:
        queue()
    assert in_fork(lambda: (arm(), task())) == -9
    send(hours=1)
    return new_messages()


def queue() -> None:
    """A message about an alert of its own."""
    from django.db import transaction

    from tests.monitoring.alert_rows import make_alert

    with transaction.atomic():
        make_alert()
        digest()


def digest() -> None:
    """Queue what nobody was told of yet."""
    from django.db import transaction
    from django.utils import timezone

    from monitoring.channels import Channels
    from monitoring.outbox import queue_digest

    channels = Channels(mail_to=("team@example.com",), mail_from="a@example.com", smtp=True)
    with transaction.atomic():
        queue_digest(at=timezone.now(), channels=channels)


def send(*, hours: int = 0) -> None:
    """Deliver as if some hours had passed."""
    from django.utils import timezone

    from monitoring.channels import Channels
    from monitoring.outbox import deliver
    from tests.factories import BY

    deliver(
        channels=Channels(mail_to=("team@example.com",), mail_from="a@example.com", smtp=True),
        at=lambda: timezone.now() + timedelta(hours=hours),
        within=timedelta(seconds=20),
        by=BY,
    )


_known: set[str] = set()


def new_messages() -> list[str]:
    from monitoring.models import Notification

    found = set(Notification.objects.values_list("message_id", flat=True)) - _known
    _known.update(found)
    return sorted(found)


def several_at_once(task: Callable[[], None]) -> None:
    start = time.time() + 0.3
    pids = [
        forked(lambda: (time.sleep(max(0.0, start - time.time())), task()))
        for _ in range(N_AT_ONCE)
    ]
    for pid in pids:
        assert os.waitpid(pid, 0)[1] == 0


def in_fork(task: Callable[[], Any]) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(forked(task), 0)[1])


def forked(task: Callable[[], Any]) -> int:
    from django.db import connections

    connections.close_all()
    pid = os.fork()
    if pid == 0:
        try:
            task()
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return pid


if __name__ == "__main__":
    main()
