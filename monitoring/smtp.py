"""Handing a mail to the mail server within a limit of time.

What SMTP cannot promise: when the connection breaks after the last byte of the message and before
the reply to it, nobody but the server knows whether it took the message (RFC 5321, 4.2.5 and 6.1).
It is then sent again, under the same Message-ID, by which the second copy can be told.
"""

from __future__ import annotations

import re
import smtplib
import socket
from contextlib import suppress
from typing import Any

from django.core.mail import EmailMessage
from django.core.mail.backends import smtp

from monitoring.deadline import Deadline, DeliveryFailed, network_reason

ENHANCED_CODE = re.compile(rb"[245]\.\d{1,3}\.\d{1,3}(?!\S)")
"""RFC 3463; the words of a reply are not kept: they may repeat addresses or a login."""


def send(message: EmailMessage, *, seconds: float) -> str:
    """Have the server of the settings take the message. Raises `DeliveryFailed`.

    Taken is what the server said 250 to after the message. Returns what it did not take: the
    recipients it refused while it took others, else nothing.
    """
    with Deadline(seconds) as deadline:
        backend = EmailBackend(deadline)
        try:
            backend.open()
            backend.send_messages([message])
            return backend.note
        except (OSError, smtplib.SMTPException) as error:
            if deadline.is_over:
                raise DeliveryFailed("The mail server took too long and was cut off.") from error
            raise DeliveryFailed(f"The mail server {reason(error)}") from error
        finally:
            backend.close()


class Conversation(smtplib.SMTP):
    """`refused` are the recipients that the last message was not taken for."""

    def __init__(self, host: str, port: int, *, deadline: Deadline, wait: float) -> None:
        self.deadline = deadline
        self.refused: dict[str, tuple[int, bytes]] = {}
        super().__init__(host, port, local_hostname=own_name(), timeout=wait)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return self.deadline.connect(host, port, wait=timeout)

    def sendmail(self, *args: Any, **kwargs: Any) -> dict[str, tuple[int, bytes]]:
        self.refused = super().sendmail(*args, **kwargs)
        return self.refused


class EmailBackend(smtp.EmailBackend):
    """Django's, within a deadline, and without its look-up of this machine's name."""

    def __init__(self, deadline: Deadline) -> None:
        super().__init__()
        self.deadline = deadline
        self.conversation: Conversation | None = None
        self._partial_connection: Conversation | None = None

    def open(self) -> bool:
        if self.connection is not None:
            return False
        wait = self.deadline.seconds_left() if self.timeout is None else float(self.timeout)
        conversation = Conversation(self.host, self.port, deadline=self.deadline, wait=wait)
        self._partial_connection = self.conversation = conversation
        if self.use_tls:
            conversation.starttls(context=self.ssl_context)
        if self.username and self.password:
            conversation.login(self.username, self.password)
        self.connection = conversation
        self._partial_connection = None
        return True

    @property
    def note(self) -> str:
        refused = self.conversation.refused if self.conversation else {}
        if not refused:
            return ""
        codes = sorted({coded(*reply) for reply in refused.values()})
        return f"Refused for {len(refused)} of the recipients ({', '.join(codes)})."

    def _close_connection(self, connection: smtplib.SMTP) -> None:
        """Say QUIT and leave: no reply to it changes what became of the message."""
        with suppress(OSError, smtplib.SMTPException):
            connection.putcmd("QUIT")
        connection.close()


def own_name() -> str:
    """What EHLO says, without asking a name server: the full name or the address of loopback."""
    name = socket.gethostname()
    return name if "." in name and name.isascii() else "[127.0.0.1]"


def reason(error: OSError | smtplib.SMTPException) -> str:
    """Why the mail server took nothing, to go on after those words."""
    match error:
        case smtplib.SMTPRecipientsRefused():
            codes = sorted({coded(*reply) for reply in error.recipients.values()})
            return f"refused every recipient ({', '.join(codes)})."
        case smtplib.SMTPAuthenticationError():
            return f"refused the login ({coded(error.smtp_code, error.smtp_error)})."
        case smtplib.SMTPSenderRefused():
            return f"refused the sender ({coded(error.smtp_code, error.smtp_error)})."
        case smtplib.SMTPDataError():
            return f"refused the message ({coded(error.smtp_code, error.smtp_error)})."
        case smtplib.SMTPResponseException():
            return f"refused us ({coded(error.smtp_code, error.smtp_error)})."
        case smtplib.SMTPNotSupportedError():
            missing = "STARTTLS" if "STARTTLS" in str(error) else "what is needed to log in"
            return f"does not offer {missing}."
        case smtplib.SMTPServerDisconnected():
            return (
                "did not answer in time."
                if isinstance(error.__context__, TimeoutError)
                else "broke the connection off."
            )
        case smtplib.SMTPException():
            return f"could not be talked to ({type(error).__name__})."
        case _:
            return network_reason(error)


def coded(code: int, reply: bytes | str) -> str:
    """The code of a reply, with its enhanced one where it has one."""
    found = ENHANCED_CODE.match(reply.encode() if isinstance(reply, str) else reply)
    return f"{code} {found[0].decode()}" if found else str(code)
