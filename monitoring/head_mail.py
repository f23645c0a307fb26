"""The last seal of the audit trail, mailed once a day: an anchor out of this machine's reach."""

from __future__ import annotations

from datetime import UTC, datetime

from django.db import IntegrityError, transaction
from django.db.models import Sum

from audit.anchors import Anchor
from audit.models import AuditSeal, SealKind
from audit.stored_seals import digest_of
from monitoring.channels import Channels
from monitoring.models import Channel, Notification
from monitoring.outbox import mail_domain, mail_recipient


def queue_head_mail(*, at: datetime, channels: Channels) -> Notification | None:
    """Queue the mail of the day (UTC), once there is a seal; None if it was queued before.

    The Message-ID names the day and the chain, so that two who come at once queue one mail.
    """
    prefix = f"<audit-head-{at.astimezone(UTC):%Y-%m-%d}-"
    if not channels.mails or is_queued(prefix):
        return None
    seals = AuditSeal.objects.order_by("no")
    first, last = seals.first(), seals.last()
    if first is None or last is None:
        return None
    head = Anchor(0, last.sealed_at, last.no, digest_of(last))
    try:
        with transaction.atomic():
            return Notification.objects.create(
                channel=Channel.MAIL,
                message_id=f"{prefix}{digest_of(first)[:16]}@{mail_domain(channels)}>",
                recipient=mail_recipient(channels),
                subject=f"Audit trail: seal {head.no:,}",
                text=text(head, last.key_id, base_url=channels.base_url, at=at),
                created_at=at,
                next_attempt_at=at,
            )
    except IntegrityError:
        return None


def is_queued(prefix: str) -> bool:
    return Notification.objects.filter(message_id__startswith=prefix).exists()


def text(head: Anchor, key_id: str, *, base_url: str, at: datetime) -> str:
    """What the mail says; the line of the anchor is whole, as the anchor file has it."""
    n_seals, n_entries = _since_last_mail()
    return "\n".join(
        [
            f"The audit trail of {base_url} ends with this seal:",
            "",
            f"  Seal    {head.no:,}",
            f"  Digest  {head.digest}",
            f"  Sealed  {head.at:%Y-%m-%d %H:%M:%S} UTC",
            f"  Key     {key_id}",
            "",
            f"Since the last such mail {n_entries:,} entries were sealed by {n_seals:,} seals.",
            "",
            "Keep this mail. To check the trail against it, put the line below into a file and run",
            "manage.py verify_audit --anchor FILE",
            "",
            str(head),
        ]
    )


def _since_last_mail() -> tuple[int, int]:
    """Seals of entries since the last mail, and how many entries they hold."""
    mails = Notification.objects.filter(message_id__startswith="<audit-head-")
    last = mails.order_by("-created_at").values_list("created_at", flat=True).first()
    seals = AuditSeal.objects.filter(kind=SealKind.ENTRIES)
    if last is not None:
        seals = seals.filter(sealed_at__gt=last)
    return seals.count(), seals.aggregate(n=Sum("n_entries"))["n"] or 0
