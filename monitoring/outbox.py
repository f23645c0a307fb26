"""The outbox: messages are written with the alerts they tell of, and delivered by whoever comes.

A message is queued in the transaction of its alerts, so neither is ever there without the other.
Who delivers claims it by one conditional UPDATE, so two who come at once never both send it. A
process that dies before it sends leaves a message that the next one sends; one that dies after
its claim leaves one that is sent when the claim has run out. Only who dies, or is cut off, between
the other side's acceptance and the record of it makes a message go out again: then under the same
Message-ID or Webhook-Id, by which the receiver can tell. No protocol between two machines can
promise more.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from django.core.mail import EmailMultiAlternatives
from django.core.serializers.json import DjangoJSONEncoder
from django.db import transaction
from django.db.models import F, OuterRef, Q, QuerySet, Subquery

from audit import trail
from audit.models import Outcome
from monitoring import digest, smtp, webhook
from monitoring.channels import Channels
from monitoring.deadline import DeliveryFailed
from monitoring.models import (
    Alert,
    AlertEvent,
    AlertKind,
    AlertState,
    Channel,
    DeliveryState,
    MonitoringPolicy,
    Notification,
)

logger = logging.getLogger(__name__)

BACKOFF = (
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=15),
    timedelta(hours=1),
    timedelta(hours=4),
)
"""Wait after the first, second… failed attempt, the last of them again and again."""
GIVE_UP_AFTER = timedelta(days=3)
"""And after more attempts than `BACKOFF` is long, should nobody have tried for days."""
LONGEST_CONVERSATION = timedelta(seconds=30)
LEASE = 2 * LONGEST_CONVERSATION
"""How long a claim holds: longer than any conversation, with time to record its end."""
STEPS = (AlertEvent.Kind.FIRED, AlertEvent.Kind.REOPENED, AlertEvent.Kind.RESOLVED)
"""What a machine that keeps the state of an alert must hear of."""


class DeliveryConflict(Exception):
    """The message cannot be sent again as it is."""


def queue_digest(*, at: datetime, channels: Channels) -> list[Notification]:
    """Queue what staff and machines were not told yet, one message a channel.

    Inside the caller's transaction. A mail tells of the alerts that fire, once each, unless they
    are acknowledged or silenced. The webhook is told of the same, and then of each step that ends
    or reopens an alert it knows. That a channel does not work is for the other one to tell.
    Without any channel nothing counts as told.
    """
    if not (channels.mails or channels.posts):
        return []
    MonitoringPolicy.current()
    list(MonitoringPolicy.objects.select_for_update().filter(pk=1))  # one digest at a time
    fresh = list(untold(at).select_related("version"))
    queued = []
    told: dict[Channel, list[Alert]] = {}
    if channels.mails:
        told[Channel.MAIL] = for_channel(Channel.MAIL, fresh)
        if told[Channel.MAIL]:
            queued.append(queue_mail(told[Channel.MAIL], at=at, channels=channels))
    if channels.posts:
        told[Channel.WEBHOOK] = for_channel(Channel.WEBHOOK, fresh)
        stepped = stepped_since_posted().select_related("version")
        posted = [*told[Channel.WEBHOOK], *stepped]
        queued += [queue_post(posted, at=at, channels=channels)] if posted else []
    mark_told(told, at=at)
    return queued


def delivery_key(channel: Channel) -> str:
    """The key of the alert that messages do not get through a channel."""
    return f"{AlertKind.DELIVERY}:{channel}"


def for_channel(channel: Channel, alerts: Sequence[Alert]) -> list[Alert]:
    """Those but the one that the channel itself does not work."""
    return [alert for alert in alerts if alert.key != delivery_key(channel)]


def untold(at: datetime) -> QuerySet[Alert]:
    return (
        Alert.objects.filter(state=AlertState.FIRING, notified_at=None, acknowledged_at=None)
        .filter(Q(silenced_until=None) | Q(silenced_until__lte=at))
        .order_by("fired_at", "pk")
    )


def stepped_since_posted() -> QuerySet[Alert]:
    """Alerts that the webhook knows and that ended or came back since."""
    posted = Notification.objects.filter(channel=Channel.WEBHOOK, alerts=OuterRef("pk"))
    steps = AlertEvent.objects.filter(alert=OuterRef("pk"), kind__in=STEPS)
    return (
        Alert.objects.exclude(state=AlertState.PENDING)
        .annotate(
            posted_at=Subquery(posted.order_by("-created_at").values("created_at")[:1]),
            stepped_at=Subquery(steps.order_by("-at").values("at")[:1]),
        )
        .filter(posted_at__lt=F("stepped_at"))
        .order_by("stepped_at", "pk")
    )


def mark_told(told: Mapping[Channel, Sequence[Alert]], *, at: datetime) -> None:
    """Say of each alert by which channels it is told."""
    alerts = {alert.pk: alert for channel in told for alert in told[channel]}
    Alert.objects.filter(pk__in=list(alerts)).update(notified_at=at)
    AlertEvent.objects.bulk_create(
        AlertEvent(
            alert=alert,
            kind=AlertEvent.Kind.NOTIFIED,
            at=at,
            by="outbox",
            note=" and ".join(channel.label for channel in told if alert in told[channel]),
        )
        for alert in alerts.values()
    )


def queue_mail(alerts: Sequence[Alert], *, at: datetime, channels: Channels) -> Notification:
    notification = Notification.objects.create(
        channel=Channel.MAIL,
        message_id=f"<{uuid.uuid4().hex}@{mail_domain(channels)}>",
        recipient=mail_recipient(channels),
        subject=digest.subject(alerts),
        text=digest.text(alerts, at=at, base_url=channels.base_url),
        html=digest.html(alerts, at=at, base_url=channels.base_url),
        created_at=at,
        next_attempt_at=at,
    )
    notification.alerts.set(alerts)
    return notification


def queue_post(alerts: Sequence[Alert], *, at: datetime, channels: Channels) -> Notification:
    message_id = f"msg_{uuid.uuid4().hex}"
    notification = Notification.objects.create(
        channel=Channel.WEBHOOK,
        message_id=message_id,
        recipient=webhook_recipient(channels),
        subject=digest.subject(alerts),
        text=digest.payload(alerts, message_id=message_id, at=at, base_url=channels.base_url),
        created_at=at,
        next_attempt_at=at,
    )
    notification.alerts.set(alerts)
    return notification


def mail_domain(channels: Channels) -> str:
    """That of the sender, for Message-IDs."""
    return channels.mail_from.rpartition("@")[2].rstrip("> ") or "localhost"


def mail_recipient(channels: Channels) -> str:
    return digest.shortened(", ".join(channels.mail_to), 1000)


def webhook_recipient(channels: Channels) -> str:
    """The host alone: paths of webhooks are often secrets."""
    return digest.shortened(urlsplit(channels.webhook_url).netloc, 1000)


def due(at: datetime) -> QuerySet[Notification]:
    return Notification.objects.filter(
        Q(claimed_until=None) | Q(claimed_until__lte=at),
        state=DeliveryState.QUEUED,
        next_attempt_at__lte=at,
    )


def deliver(
    *, channels: Channels, at: Callable[[], datetime], within: timedelta, by: trail.Actor
) -> list[Notification]:
    """Send what is due, outside any transaction; returns what was tried, as it ended.

    Ends in time whatever the other sides do. The channels that wait share what is left of it, so
    that one dead server leaves some to the other; a channel that failed rests until the next call.
    """
    ends = time.monotonic() + within.total_seconds()
    tried: list[Notification] = []
    resting: set[str] = set()
    while (left := ends - time.monotonic()) >= within.total_seconds() / 4:
        n_channels = due(at()).exclude(channel__in=resting).values("channel").distinct().count()
        notification = claim(at=at(), resting=resting)
        if notification is None:
            break
        seconds = min(left / max(1, n_channels), LONGEST_CONVERSATION.total_seconds())
        if not attempt(notification, channels=channels, seconds=seconds, at=at, by=by):
            resting.add(notification.channel)
        notification.refresh_from_db()
        tried.append(notification)
    return tried


def claim(*, at: datetime, resting: Collection[str]) -> Notification | None:
    """Take the message that has been due for longest, unless somebody else was first."""
    waiting = due(at).exclude(channel__in=resting).order_by("next_attempt_at", "pk")
    for key in list(waiting.values_list("pk", flat=True)[:100]):
        won = due(at).filter(pk=key)
        if won.update(claimed_until=at + LEASE, n_attempts=F("n_attempts") + 1):
            return Notification.objects.get(pk=key)
    return None


def attempt(
    notification: Notification,
    *,
    channels: Channels,
    seconds: float,
    at: Callable[[], datetime],
    by: trail.Actor,
) -> bool:
    """Try once and record what came of it. Whether it was sent."""
    send = mail if notification.channel == Channel.MAIL else post
    try:
        note = send(notification, channels=channels, seconds=seconds, at=at())
    except DeliveryFailed as error:
        record_failure(notification, str(error), at=at(), by=by)
        return False
    except Exception as error:  # one broken message must not keep the others back
        logger.exception("Message %s could not be sent", notification.pk)
        record_failure(
            notification, f"It failed by {type(error).__name__}; see the log.", at=at(), by=by
        )
        return False
    record_sent(notification, note, at=at(), by=by)
    return True


def mail(notification: Notification, *, channels: Channels, seconds: float, at: datetime) -> str:
    if not channels.mails:
        raise DeliveryFailed("SMTP_SERVER or ALERT_EMAIL is not set any more.")
    notification.recipient = mail_recipient(channels)
    message = EmailMultiAlternatives(
        subject=notification.subject,
        body=notification.text,
        from_email=channels.mail_from,
        to=channels.mail_to,
        headers={"Message-ID": notification.message_id, "Auto-Submitted": "auto-generated"},
    )
    if notification.html:
        message.attach_alternative(notification.html, "text/html")
    return smtp.send(message, seconds=seconds)


def post(notification: Notification, *, channels: Channels, seconds: float, at: datetime) -> str:
    if not channels.posts:
        raise DeliveryFailed("WEBHOOK_URL is not set any more.")
    notification.recipient = webhook_recipient(channels)
    content = {**json.loads(notification.text), "sent_at": at}
    webhook.post(
        json.dumps(content, cls=DjangoJSONEncoder).encode(),
        url=channels.webhook_url,
        secret=channels.webhook_secret,
        message_id=notification.message_id,
        at=at,
        seconds=seconds,
    )
    return ""


@transaction.atomic
def record_sent(notification: Notification, note: str, *, at: datetime, by: trail.Actor) -> None:
    recorded = (
        Notification.objects.filter(pk=notification.pk)
        .exclude(state=DeliveryState.SENT)
        .update(
            state=DeliveryState.SENT,
            recipient=notification.recipient,
            sent_at=at,
            claimed_until=None,
            error=note[:500],
        )
    )
    if recorded:
        record_end(notification, "notification.sent", Outcome.SUCCEEDED, by=by)


@transaction.atomic
def record_failure(
    notification: Notification, error: str, *, at: datetime, by: trail.Actor
) -> None:
    """Unless the claim ran out and somebody else took the message over."""
    logger.warning(
        "Message %s was not delivered, attempt %s: %s",
        notification.pk,
        notification.n_attempts,
        error,
    )
    is_old = at - notification.created_at >= GIVE_UP_AFTER
    given_up = is_old and notification.n_attempts > len(BACKOFF)
    wait = BACKOFF[min(notification.n_attempts, len(BACKOFF)) - 1]
    recorded = Notification.objects.filter(
        pk=notification.pk, state=DeliveryState.QUEUED, n_attempts=notification.n_attempts
    ).update(
        state=DeliveryState.GIVEN_UP if given_up else DeliveryState.QUEUED,
        recipient=notification.recipient,
        next_attempt_at=at + wait,
        claimed_until=None,
        error=error[:500],
    )
    if recorded and given_up:
        record_end(notification, "notification.given_up", Outcome.FAILED, by=by)


def record_end(
    notification: Notification, action: str, outcome: Outcome, *, by: trail.Actor
) -> None:
    trail.record(
        action,
        by=by,
        target=("notification", notification.pk),
        outcome=outcome,
        n_items=notification.alerts.count(),
        details={
            "channel": notification.channel,
            "message_id": notification.message_id,
            "n_attempts": notification.n_attempts,
        },
    )


@transaction.atomic
def give_again(notification_id: int, *, by: trail.Actor, at: datetime) -> Notification:
    """Make a message due now that waits or was given up. Raises `DeliveryConflict`."""
    notification = Notification.objects.select_for_update().get(pk=notification_id)
    if notification.state == DeliveryState.SENT:
        raise DeliveryConflict("The message was sent; it is not sent twice.")
    if notification.claimed_until is not None and notification.claimed_until > at:
        raise DeliveryConflict("The message is being sent right now; look again in a minute.")
    notification.state, notification.next_attempt_at = DeliveryState.QUEUED, at
    notification.save(update_fields=["state", "next_attempt_at"])
    trail.record(
        "notification.retried",
        by=by,
        target=("notification", notification.pk),
        details={"channel": notification.channel, "n_attempts": notification.n_attempts},
    )
    return notification
