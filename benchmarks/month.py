"""A month of a shop, day by day: which alerts monitoring raises, and which mails it sends.

Half of the customers of `marketing_campaign.csv` are what the models are trained on; each day some
of the other half come in, and are changed by what happens that day. All else is the product as
shipped: stored customers, the daily check with its quality and alerts, the outbox, a mail server.
Prints the month, and fails unless each trouble raised one alert a model, told of in one mail, and
nothing else did.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import Message
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from benchmarks.clustering.tables import BESIDE_THE_PROJECT
from benchmarks.servers import own_environment
from tests.smtp_sink import smtp_sink

if TYPE_CHECKING:
    from monitoring.models import DriftReport

N_A_DAY = 150
N_WEEKDAYS = 7
"""On the last of them the shop is closed, and nobody comes in."""
RISE = 1.6
NULL_SHARE = 0.7
NEW_SHARE = 0.12
MAIL_SECONDS = timedelta(seconds=5)

Frame: TypeAlias = pd.DataFrame
Change: TypeAlias = Callable[[Frame, np.random.Generator], Frame]


@dataclass(frozen=True, slots=True)
class Episode:
    """Days in a row on which the same happens.

    `subjects` are the words of which its alert must have one in its title, none for no alert. One
    model's segment is another's columns: there `elsewhere` are the words for the other models.
    """

    n_days: int
    what: str
    change: Change
    subjects: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()

    def words(self, *, is_first_model: bool) -> tuple[str, ...]:
        return self.subjects if is_first_model or not self.elsewhere else self.elsewhere


class Step(NamedTuple):
    """What became of an alert."""

    alert: int
    kind: str
    model_type: str
    title: str


@dataclass(frozen=True, slots=True)
class Day:
    """What a day brought."""

    number: int
    episode: Episode
    reports: Sequence[DriftReport]
    steps: Sequence[Step]
    mails: Sequence[Message]


def quiet(customers: Frame, rng: np.random.Generator) -> Frame:
    return customers


def dearer(customers: Frame, rng: np.random.Generator) -> Frame:
    """All prices rise, and so does what people spend."""
    amounts = customers.filter(like="Mnt")
    return customers.assign(**{name: (amounts[name] * RISE).round() for name in amounts})


def without_income(customers: Frame, rng: np.random.Generator) -> Frame:
    """The feed of incomes is broken and mostly sends nulls."""
    return customers.assign(
        Income=customers["Income"].where(rng.random(len(customers)) >= NULL_SHARE)
    )


def new_status(customers: Frame, rng: np.random.Generator) -> Frame:
    """The form offers an answer that it did not offer before."""
    is_new = rng.random(len(customers)) < NEW_SHARE
    return customers.assign(
        Marital_Status=customers["Marital_Status"].mask(is_new, "Registered partnership")
    )


def without_segment(segments: np.ndarray, gone: int) -> Change:
    """Nobody of one segment comes any more; the day's customers are of the others."""

    def change(customers: Frame, rng: np.random.Generator) -> Frame:
        return customers[segments[customers.index] != gone]

    return change


def episodes(segments: np.ndarray, gone: int, marks: tuple[str, ...]) -> tuple[Episode, ...]:
    """Five weeks: a quiet one, then trouble and recovery in turn.

    `segments` are those of the others by the first model, `gone` the one that vanishes, and `marks`
    the columns that set it apart: what a model without this segment sees move.
    """
    return (
        Episode(9, "all quiet", quiet),
        Episode(4, "prices rise by 60 %", dearer, ("Mnt",)),
        Episode(4, "prices are back", quiet),
        Episode(3, "the feed sends nulls for 70 % of incomes", without_income, ("Income",)),
        Episode(3, "the feed is mended", quiet),
        Episode(3, "12 % choose a status that is new", new_status, ("Marital_Status",)),
        Episode(3, "the new status is gone", quiet),
        Episode(
            3,
            "nobody of the largest segment comes",
            without_segment(segments, gone),
            ("segment",),
            elsewhere=marks,
        ),
        Episode(3, "they are back", quiet),
    )


def attributes_of(customers: Frame) -> Iterator[dict[str, Any]]:
    """Rows as a client sends them: whole numbers as such, gaps as null."""
    for row in customers.astype(object).where(customers.notna(), None).to_dict("records"):
        yield {
            name: int(value) if isinstance(value, float) and value.is_integer() else value
            for name, value in row.items()
        }


class Shop:
    """The installation, its customers, and a clock that goes on by days."""

    def __init__(self, table: Frame, *, random_state: int) -> None:
        from django.utils import timezone

        self.rng = np.random.default_rng(random_state)
        order = self.rng.permutation(len(table))
        first, second = np.split(order, [len(table) // 2])
        self.reference = table.iloc[first].reset_index(drop=True)
        self.others = table.iloc[second].reset_index(drop=True)
        self.opened_at = timezone.now()

    def open(self, model_types: Sequence[str]) -> None:
        from django.core.management import call_command

        call_command("migrate", verbosity=0, interactive=False)
        self.store(self.reference, "reference", at=self.opened_at)
        for model_type in model_types:
            call_command(
                "train_model", model_type, activate=True, force=True, reason="The first version."
            )

    def store(self, customers: Frame, name: str, *, at: datetime) -> None:
        from segments.customers import upsert_customers

        rows = {f"{name}-{i}": each for i, each in enumerate(attributes_of(customers))}
        upsert_customers(rows, at=at)

    def segments(self, model_type: str) -> np.ndarray:
        """Cluster of each of the others by the version that serves."""
        from django.conf import settings

        from modelregistry import activation

        version = activation.active_version(model_type)
        model = activation.load(version, directory=settings.MODEL_DIR)
        raw = model.encoder.raw_from_records(list(attributes_of(self.others)), strict=False)
        return model.clusters.predict(model.encoder.encode(raw)).labels

    def marks(self, model_type: str, cluster: int) -> tuple[str, ...]:
        """The columns that set a cluster of the active version apart, as its page names them."""
        from modelregistry import activation

        version = activation.active_version(model_type)
        described = version.segments.get(cluster=cluster).distinguishing
        return tuple(each["feature"] for each in described)

    def day(self, number: int, episode: Episode, mails: list[Message]) -> Day:
        from django.conf import settings

        from audit import trail
        from modelregistry.models import ActiveModel
        from monitoring import outbox
        from monitoring.drift_check import CheckTerms, check_all
        from monitoring.models import AlertEvent

        at = self.opened_at + timedelta(days=number)
        if number % N_WEEKDAYS:
            drawn = self.others.sample(4 * N_A_DAY, replace=True, random_state=self.rng)
            came = episode.change(drawn, self.rng).head(N_A_DAY)
            self.store(came, f"day-{number}", at=at - timedelta(hours=1))
        n_mails = len(mails)
        terms, by = CheckTerms.of(settings), trail.Actor.system("month")
        active = ActiveModel.objects.filter(active__isnull=False)
        types = active.order_by("model_type").values_list("model_type", flat=True)
        run = check_all(list(types), terms=terms, by=by, at=at)
        outbox.deliver(channels=terms.channels, at=lambda: at, within=MAIL_SECONDS, by=by)
        events = AlertEvent.objects.filter(at=at).select_related("alert").order_by("pk")
        steps = [
            Step(event.alert_id, event.kind, event.alert.model_type, event.alert.title)
            for event in events
            if event.kind != AlertEvent.Kind.NOTIFIED
        ]
        return Day(number, episode, run.reports, steps, mails[n_mails:])


def shown(day: Day) -> str:
    verdicts = ", ".join(f"{r.version} {r.verdict}" for r in day.reports)
    n_customers = day.reports[0].n_current if day.reports else 0
    lines = [f"{day.number:>3}  {n_customers:>4}  {day.episode.what:<42}  {verdicts}"]
    lines += [f"{'':13}alert {step.alert} {step.kind}: {step.title}" for step in day.steps]
    lines += [f"{'':13}mail: {mail['Subject']}" for mail in day.mails]
    return "\n".join(lines)


def unexpected(days: Sequence[Day], model_types: Sequence[str]) -> list[str]:
    """What a sensible person would not have wanted."""
    problems = []
    by_episode: dict[Episode, list[Day]] = {}
    for day in days:
        by_episode.setdefault(day.episode, []).append(day)
    for episode, its_days in by_episode.items():
        steps = [step for day in its_days for step in day.steps]
        fired = [step for step in steps if step.kind in ("fired", "reopened")]
        n_mails = sum(len(day.mails) for day in its_days)
        wanted = 1 if episode.subjects else 0
        if len(fired) != wanted * len(model_types) or n_mails != wanted:
            problems.append(f"{episode.what}: {len(fired)} alerts fired, {n_mails} mails")
        problems += [
            f"{episode.what}: the alert speaks of something else: {step.title}"
            for step in fired
            if not any(
                word.lower() in step.title.lower()
                for word in episode.words(is_first_model=step.model_type == model_types[0])
            )
        ]
    return problems


def still_open() -> list[str]:
    from monitoring.models import Alert

    return [f"still open: {alert}" for alert in Alert.objects.unresolved()]


def settings_of(directory: Path, port: int) -> Mapping[str, str]:
    return {
        **own_environment(directory),
        "SMTP_SERVER": "127.0.0.1",
        "SMTP_PORT": str(port),
        "SMTP_TLS": "false",
        "ALERT_EMAIL": "team@example.com",
        "WEBHOOK_URL": "",
        "SECRET_KEY": secrets.token_urlsafe(60),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.month")
    parser.add_argument("--models", nargs="+", default=["kmeans"], choices=["kmeans", "dbscan"])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data-dir", type=Path, default=BESIDE_THE_PROJECT / "data")
    parser.add_argument("--mails", action="store_true", help="print the mails too")
    asked = parser.parse_args()
    table = pd.read_csv(asked.data_dir / "marketing_campaign.csv").drop(columns="ID")
    with tempfile.TemporaryDirectory(prefix="month-") as directory, smtp_sink() as sink:
        os.environ.update(settings_of(Path(directory), sink.port))
        import django

        django.setup()
        shop = Shop(table, random_state=asked.seed)
        shop.open(asked.models)
        days: list[Day] = []
        print("\nday  came  what happens" + " " * 32 + "verdict")
        segments = shop.segments(asked.models[0])
        gone = int(pd.Series(segments[segments >= 0]).mode()[0])  # noise is no segment
        for episode in episodes(segments, gone, shop.marks(asked.models[0], gone)):
            for _ in range(episode.n_days):
                days.append(shop.day(len(days) + 1, episode, sink.mails))
                print(shown(days[-1]), flush=True)
        problems = unexpected(days, asked.models) + still_open()
        if asked.mails:
            for mail in sink.mails:
                print("\n" + str(mail.get_payload()[0].get_payload(decode=True).decode()))
    print(
        "\n" + ("\n".join(problems) or "Each trouble: one alert a model, one mail. Nothing else.")
    )
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
