"""A forwarding header counts only as far as trusted proxies wrote it."""

from __future__ import annotations

import pytest

from access.client_address import client_address, limited_network

PEER = "10.0.0.1"


@pytest.mark.parametrize(
    ("forwarded", "trusted", "address"),
    [
        (None, 0, PEER),
        ("1.1.1.1", 0, PEER),
        ("1.1.1.1", 1, "1.1.1.1"),
        ("6.6.6.6, 1.1.1.1", 1, "1.1.1.1"),
        ("6.6.6.6, 1.1.1.1, 10.0.0.2", 2, "1.1.1.1"),
        ("10.0.0.2", 2, PEER),
        (None, 1, PEER),
        ("", 1, PEER),
        ("nonsense", 1, PEER),
        ("1.1.1.1:8080", 1, PEER),
        ("6.6.6.6,2001:DB8::0:1", 1, "2001:db8::1"),
    ],
)
def test_the_address_is_the_one_that_the_outermost_trusted_proxy_saw(
    forwarded: str | None, trusted: int, address: str
) -> None:
    meta = {"REMOTE_ADDR": PEER}
    if forwarded is not None:
        meta["HTTP_X_FORWARDED_FOR"] = forwarded

    assert client_address(meta, trusted_proxy_count=trusted) == address


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8:0:7:1234::1", "2001:db8:0:7::/64"),
        ("2001:db8:0:7:ffff:ffff:ffff:ffff", "2001:db8:0:7::/64"),
        ("2001:db8:0:8::1", "2001:db8:0:8::/64"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_an_ipv6_client_is_limited_by_its_network(address: str, network: str) -> None:
    assert limited_network(address) == network
