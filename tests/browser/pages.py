"""Every page of ours that a person can reach by links, one of each kind."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterator
from html import unescape
from urllib.parse import urljoin, urlsplit

from django.urls import Resolver404, resolve
from playwright.sync_api import APIRequestContext

STARTS = ("/admin/", "/docs/guide", "/docs/problems")
EMPTY_LIST = "/admin/segments/customer/?q=nobody-has-this-id"
NO_PAGE = "/admin/segments/nothing/"
OURS = ("/admin/", "/docs/")
"""Where our own pages are; `/docs` and `/redoc` themselves are drawn by Swagger UI and ReDoc."""
LINK = re.compile(r'<a\b[^>]*?\bhref="([^"]*)"')
EACH = 1
MORE = {
    "modelregistry_modelversion_change": 4,  # a candidate, active ones of both types, a former one
    "modelregistry_trainingjob_change": 2,  # failed and done
    "monitoring_driftreport_change": 2,
    "monitoring_alert_change": 2,
    "segments_customerimport_change": 2,  # done, and waiting for a choice of columns
}
"""Pages of one kind that are looked at, by the name of their route: a query makes no other kind."""
NO_PAGES = ("logout", "jsi18n")


def pages_by_links(get: APIRequestContext) -> list[str]:
    """The addresses of pages, found by following every link from the start."""
    seen: Counter[str] = Counter()
    pages, waiting, known = [], deque(STARTS), set(STARTS)
    while waiting:
        address = waiting.popleft()
        route, most = kind_of(address)
        if seen[route] >= most:
            continue
        answer = get.get(address)
        assert answer.ok, f"{address}, which a page links to, answers {answer.status}"
        seen[route] += 1
        if answer.headers.get("content-type", "").startswith("text/html"):
            pages.append(address)
            for link in links_of(answer.text(), answer.url):
                if link not in known:
                    known.add(link)
                    waiting.append(link)
    return pages


def links_of(page: str, url: str) -> Iterator[str]:
    host = urlsplit(url).netloc
    for found in LINK.findall(page):
        target = urlsplit(urljoin(url, unescape(found)))
        if target.netloc == host and target.path.startswith(OURS):
            yield target.path + (f"?{target.query}" if target.query else "")


def kind_of(address: str) -> tuple[str, int]:
    """Its route, and how many pages of it are looked at."""
    path = urlsplit(address).path
    try:
        match = resolve(path)
    except Resolver404:
        return path, EACH
    name = str(match.url_name)
    return match.route, 0 if name in NO_PAGES else MORE.get(name, EACH)
