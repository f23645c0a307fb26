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


def limited_network(address: str) -> str:
    """What is limited together: an IPv4 address, or the /64 that an IPv6 client may choose from.

    RFC 4291, section 2.5.4: within a /64 a host gives itself whichever address it likes.
    """
    try:
        known = ipaddress.ip_address(address)
    except ValueError:  # a Unix socket has none
        return address
    if isinstance(known, ipaddress.IPv4Address):
        return str(known)
    if known.ipv4_mapped is not None:
        return str(known.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(known), 64), strict=False))
