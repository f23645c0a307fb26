"""The client's address, trusting only as many proxies as the operator named.

With no trusted proxy the forwarding header is ignored, whatever it says.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping


def client_address(meta: Mapping[str, str], *, trusted_proxy_count: int) -> str:
    """The address that the outermost trusted proxy saw, or the peer's own."""
    peer = meta.get("REMOTE_ADDR", "")
    if not trusted_proxy_count:
        return peer
    forwarded = [part.strip() for part in meta.get("HTTP_X_FORWARDED_FOR", "").split(",")]
    if len(forwarded) < trusted_proxy_count:
        return peer
    candidate = forwarded[-trusted_proxy_count]
    try:
        return str(ipaddress.ip_address(candidate))
    except ValueError:
        return peer
