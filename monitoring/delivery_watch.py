"""Whether messages get through: a condition of each channel, told by the other one."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Q

from monitoring.alerts import Condition, Level
from monitoring.channels import Channels
from monitoring.models import AlertKind, Channel, DeliveryState, Notification
from monitoring.outbox import BACKOFF, delivery_key

UNDELIVERED_AFTER = timedelta(hours=6)
"""How long a message waits until somebody should know: one attempt after the short waits."""
ADVICE = {
    Channel.MAIL: "Look at SMTP_SERVER, its account and ALERT_EMAIL.",
    Channel.WEBHOOK: "Look at WEBHOOK_URL and at the service behind it.",
}


def delivery_conditions(channels: Channels, *, at: datetime) -> list[Condition]:
    """How deliveries stand; a small query a channel."""
    is_set = {Channel.MAIL: channels.mails, Channel.WEBHOOK: channels.posts}
    return [_condition(channel, is_set=is_set[channel], at=at) for channel in Channel]


def _condition(channel: Channel, *, is_set: bool, at: datetime) -> Condition:
    """A channel that is no longer set owes nobody anything."""
    found = _undelivered(channel, at=at) if is_set else []
    since = f" since {found[0].created_at:%Y-%m-%d %H:%M} UTC" if found else ""
    messages = "message" if len(found) == 1 else "messages"
    return Condition(
        kind=AlertKind.DELIVERY,
        key=delivery_key(channel),
        level=Level.ALARM if found else Level.OK,
        title=f"{channel.label}: alerts are not delivered",
        summary=(
            f"{len(found):,} {messages} did not get through by {channel.value}{since}."
            f" {found[-1].error if found else ''}"
        ),
        advice=(
            f"{ADVICE[channel]} The outbox in the admin says what each attempt met, and sends a "
            "message again. Until then look at the alerts in the admin: nobody hears of them."
        ),
        needs=1,
    )


def _undelivered(channel: Channel, *, at: datetime) -> list[Notification]:
    """Messages that wait in vain, or were given up and nothing was sent since; oldest first.

    A message that was hardly tried waits for us and not for the server.
    """
    sent = Notification.objects.filter(channel=channel, state=DeliveryState.SENT)
    last_sent_at = sent.order_by("-sent_at").values_list("sent_at", flat=True).first()
    waiting = Q(
        state=DeliveryState.QUEUED,
        created_at__lte=at - UNDELIVERED_AFTER,
        n_attempts__gte=len(BACKOFF),
    )
    given_up = Q(state=DeliveryState.GIVEN_UP)
    if last_sent_at is not None:  # a message is given up its last wait before it would be due
        given_up &= Q(next_attempt_at__gt=last_sent_at + BACKOFF[-1])
    found = Notification.objects.filter(waiting | given_up, channel=channel)
    return list(found.order_by("created_at", "pk").only("created_at", "error"))
