"""Fills an installation for the browser, with something on every page.

Run as `python -m tests.browser.prepare` in the environment of the installation. Customers are of
the demo shop, or of a table of one's own, for which k and eps are chosen too. Models are imported
inside functions: they need `django.setup()` first.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import django
from django.core.management import call_command

PASSWORD = "correct-horse-battery"
"""Of everybody; the server listens on this machine alone, for minutes."""
ROLES = ("viewer", "analyst", "operator", "auditor")
"""Groups that the product ships; a user of the same name is in each."""
SUPERUSER = "root"
N_CUSTOMERS = 400
PRICE_RISE = 2.0
"""Enough for an alert."""
PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "kmeans": ("k=4", "n_init=2"),
    "dbscan": ("eps=2.0", "min_samples=8"),
}
"""What the demo shop is trained with, so that the tests need not wait for a choice."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only-staff", action="store_true", help="no customers, nothing trained")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--id", dest="id_column")
    options = parser.parse_args()
    django.setup()
    call_command("migrate", verbosity=0, interactive=False)
    make_staff()
    if not options.only_staff:
        fill(options.data, options.id_column)


def fill(data: Path | None, id_column: str | None) -> None:
    from django.conf import settings

    from segments.demo_shop import write_demo_customers

    table = data or settings.DATA_DIR / "shop.csv"
    if data is None:
        write_demo_customers(table, n_customers=N_CUSTOMERS, random_state=7)
    call_command("import_customers", table, id_column=id_column, verbosity=0)
    train(chosen=data is not None)
    check_twice(table)
    leave_a_failed_job()
    leave_a_message()
    leave_an_upload(table)
    issue_a_key()


def make_staff() -> None:
    from django.contrib.auth.models import Group, User

    User.objects.create_superuser(SUPERUSER, "root@example.org", PASSWORD)
    for role in ROLES:
        user = User.objects.create_user(role, f"{role}@example.org", PASSWORD, is_staff=True)
        user.groups.add(Group.objects.get(name=role))


def train(*, chosen: bool) -> None:
    """Both types active, one with a version before it, and a candidate that waits."""
    train_and_activate("kmeans", ["k=3"], note="First version")
    for model_type, parameters in PARAMETERS.items():
        train_and_activate(model_type, [] if chosen else [*parameters], note="Second look")
    call_command("train_model", "kmeans", param=["k=5"], note="One more segment than today")


def train_and_activate(model_type: str, parameters: list[str], *, note: str) -> None:
    call_command(
        "train_model",
        model_type,
        param=parameters,
        note=note,
        activate=True,
        force=True,
        reason="Agreed with the marketing team",
    )


def check_twice(table: Path) -> None:
    """A quiet check, then one of customers who spend otherwise: a report with drift, an alert."""
    from django.conf import settings

    current = settings.DATA_DIR / "current.csv"
    write_changed(table, current)
    for given in (None, current):
        with suppress(SystemExit):  # its status says what was found
            call_command("check_drift", input=given, quiet=True, no_email=True)


def write_changed(table: Path, current: Path) -> None:
    """The table once more, with a price rise: its two largest amounts of money or the like."""
    import pandas as pd

    frame = pd.read_csv(table, sep=None, engine="python")
    amounts = [name for name in frame.select_dtypes("number") if is_amount(frame[name])]
    for name in sorted(amounts, key=lambda name: frame[name].median())[-2:]:
        frame[name] = frame[name] * PRICE_RISE
    frame.to_csv(current, index=False)


def is_amount(column: Any) -> bool:
    """Neither an id nor a year: it repeats or has decimals, and varies widely."""
    is_id = column.is_unique and (column.dropna() % 1 == 0).all()
    return not is_id and bool(column.std() > 0.2 * abs(column.mean()))


def leave_a_failed_job() -> None:
    from django.utils import timezone

    from modelregistry.models import JobState, TrainingJob

    TrainingJob.objects.create(
        model_type="kmeans",
        state=JobState.FAILED,
        error="The process that trained it ended before it was done.",
        started_at=timezone.now(),
        finished_at=timezone.now(),
        queued_by="analyst",
    )


def leave_a_message() -> None:
    """Of the alert, which no server took."""
    from django.utils import timezone

    from monitoring.channels import Channels
    from monitoring.models import Alert, DeliveryState
    from monitoring.outbox import queue_mail

    channels = Channels(mail_to=("team@example.org",), mail_from="segments@example.org", smtp=True)
    message = queue_mail(list(Alert.objects.all()), at=timezone.now(), channels=channels)
    message.state, message.n_attempts = DeliveryState.GIVEN_UP, 3
    message.error = "550 5.1.1 no such user here"
    message.save()


def leave_an_upload(table: Path) -> None:
    """Of the superuser, whose choice of columns it waits for."""
    from audit.models import ActorKind
    from audit.trail import Actor
    from segments.imports import receive

    receive(
        [table.read_bytes()], table.name, by=Actor(ActorKind.USER, id=SUPERUSER, label=SUPERUSER)
    )


def issue_a_key() -> None:
    from tests.factories import make_key

    make_key(scopes=["predict"])


if __name__ == "__main__":
    main()
