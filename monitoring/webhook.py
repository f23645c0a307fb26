"""Posting to the team's webhook within a limit of time.

Headers and signature are those of Standard Webhooks
(https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md):
HMAC-SHA256 of `id.timestamp.body`, in base64 after `v1,`. A secret that starts with `whsec_` holds
its key in base64, as there; any other is the key itself.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ssl
from datetime import datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from monitoring.deadline import Deadline, DeliveryFailed, network_reason

SECRET_PREFIX = "whsec_"
WAIT_SECONDS = 5.0
"""Bounds each single wait for the receiver."""


def post(
    body: bytes, *, url: str, secret: str, message_id: str, at: datetime, seconds: float
) -> None:
    """Have the receiver take the message, which it does by a status of 2xx.

    Raises `DeliveryFailed`. No redirect is followed, and nothing but the status is read.
    """
    timestamp = int(at.timestamp())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "customer-segmentation-api",
        "Connection": "close",
        "Webhook-Id": message_id,
        "Webhook-Timestamp": str(timestamp),
        "Webhook-Signature": signature(
            body, secret=secret, message_id=message_id, timestamp=timestamp
        ),
    }
    with Deadline(seconds) as deadline:
        try:
            status = status_of(url, body, headers, deadline=deadline)
        except (OSError, HTTPException) as error:
            if deadline.is_over:
                raise DeliveryFailed("The receiver took too long and was cut off.") from error
            raise DeliveryFailed(f"The receiver {reason(error)}") from error
    if not 200 <= status < 300:
        redirected = ", a redirect, which is not followed" if 300 <= status < 400 else ""
        raise DeliveryFailed(f"The receiver answered {status}{redirected}.")


def status_of(url: str, body: bytes, headers: dict[str, str], *, deadline: Deadline) -> int:
    parts = urlsplit(url)
    host = parts.hostname or ""
    tls = ssl.create_default_context() if parts.scheme == "https" else None
    connection = HTTPSConnection(host, parts.port) if tls else HTTPConnection(host, parts.port)
    try:
        reached = deadline.connect(host, connection.port, wait=WAIT_SECONDS)
        connection.sock = tls.wrap_socket(reached, server_hostname=host) if tls else reached
        target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        connection.request("POST", target, body, headers)
        with connection.getresponse() as response:
            return response.status
    finally:
        connection.close()


def signature(body: bytes, *, secret: str, message_id: str, timestamp: int) -> str:
    content = f"{message_id}.{timestamp}.".encode() + body
    digest = hmac.digest(signing_key(secret), content, hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


def signing_key(secret: str) -> bytes:
    if secret.startswith(SECRET_PREFIX):
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    return secret.encode()


def reason(error: OSError | HTTPException) -> str:
    """Why the receiver took nothing, to go on after those words."""
    if isinstance(error, OSError):  # RemoteDisconnected among them
        return network_reason(error)
    return "answered with something that is not HTTP."
