"""Every page: no serious problem of accessibility, nothing wider than the screen, no complaint."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.accessibility import CONTRAST, violations
from tests.browser.conftest import SignIn
from tests.browser.pages import EMPTY_LIST, NO_PAGE, pages_by_links
from tests.browser.prepare import SUPERUSER
from tests.browser.served import Server
from tests.browser.watching import (
    DESKTOP,
    PHONE,
    Complaints,
    Theme,
    new_page,
    resize,
    show_theme,
    too_wide,
)

pytestmark = pytest.mark.browser


DEEP = (
    "/compare/",
    "/activate/",
    "/roll-back/",
    "/retry/",
    "/retrain/",
    "/acknowledge/",
    "/delete/",
)
"""Pages at the end of long ways: where they are found, so are the others."""
MISNAMED = "#result_list td[data-label='Select record']:not(:has(input))"
LOOKS: tuple[tuple[Theme, int, tuple[str, ...]], ...] = (
    ("light", DESKTOP, ()),
    ("dark", PHONE, ()),
)
"""Theme, width and rules, none being all."""
DARK_DESKTOP: tuple[Theme, int, tuple[str, ...]] = ("dark", DESKTOP, (CONTRAST,))
FRAMES = ("/admin/", "/admin/segments/customer/", "/admin/auth/user/add/")
"""A page, a list, a form: what a phone does not show is on each page like on one of these."""


def problems_of(page: Page, address: str) -> list[str]:
    found = []
    page.goto(address)
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    if page.locator(MISNAMED).count():
        found.append(f"{address}: the first cell of a row bears the name of a box to tick")
    for theme, width, rules in (*LOOKS, *([DARK_DESKTOP] if address in FRAMES else [])):
        show_theme(page, theme)
        resize(page, width)
        look = f"{address} at {width} px, {theme}"
        if too_wide(page) > 0:
            found.append(f"{look}: {too_wide(page)} px wider than the screen")
        found += [f"{look}: {violation}" for violation in violations(page, *rules)]
    return found


def test_every_page_is_accessible_and_fits_the_screen(signed_in: SignIn, server: Server) -> None:
    page = signed_in(SUPERUSER, server)
    addresses = [*pages_by_links(page.request), EMPTY_LIST]

    found = [problem for address in addresses for problem in problems_of(page, address)]

    assert all(any(part in address for address in addresses) for part in DEEP)
    assert set(FRAMES) <= set(addresses)
    assert not found, "\n".join(found)


def test_signing_in_is_accessible(chromium: Browser, server: Server) -> None:
    page = new_page(chromium, server)

    found = problems_of(page, "/admin/")
    page.get_by_role("button", name="Log in").focus()
    page.fill("input[name=username]", "nobody")
    page.fill("input[name=password]", "no password")
    page.get_by_role("button", name="Log in").click()
    found += violations(page)

    page.context.close()
    assert not found, "\n".join(found)


def test_a_refusal_is_a_page_with_a_way_back(
    signed_in: SignIn, server: Server, complaints: Complaints
) -> None:
    complaints.allowed = {403, 404}
    page = signed_in("auditor", server)

    found = problems_of(page, NO_PAGE)
    assert page.get_by_role("heading", level=1).inner_text() == "There is nothing here"
    found += problems_of(page, "/admin/modelregistry/modelversion/train/")
    page.get_by_role("link", name="Overview").click()

    assert page.url == f"{server.url}/admin/"
    assert not found, "\n".join(found)
