"""Where messages go, as the settings say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Channels:
    """`base_url` is what links in messages start with; `smtp`: a mail server is set."""

    mail_to: tuple[str, ...] = ()
    mail_from: str = ""
    smtp: bool = False
    webhook_url: str = field(default="", repr=False)
    webhook_secret: str = field(default="", repr=False)
    base_url: str = ""

    @classmethod
    def of(cls, settings: Any) -> Channels:
        """Those of a settings object, which the caller has at hand."""
        addresses = (address.strip() for address in settings.ALERT_EMAIL.split(","))
        return cls(
            mail_to=tuple(address for address in addresses if address),
            mail_from=settings.DEFAULT_FROM_EMAIL,
            smtp=bool(settings.EMAIL_HOST),
            webhook_url=settings.WEBHOOK_URL,
            webhook_secret=settings.WEBHOOK_SECRET,
            base_url=settings.PUBLIC_URL,
        )

    @property
    def mails(self) -> bool:
        return self.smtp and bool(self.mail_to)

    @property
    def posts(self) -> bool:
        return bool(self.webhook_url)
