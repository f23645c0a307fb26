"""Signing in, training and activating without a mouse, seeing at each stop where one is."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import SignIn
from tests.browser.prepare import SUPERUSER
from tests.browser.served import Server
from tests.browser.watching import Complaints, new_page

pytestmark = pytest.mark.browser

MOST_STOPS = 120
"""Of Tab on one page: more is a trap, or a page that nobody would walk through."""
TRAINING_MILLISECONDS = 120_000
FOCUSED = """() => {
    const node = document.activeElement;
    const label = node.labels?.[0]?.innerText || node.getAttribute("aria-label");
    const words = node.cloneNode(true);
    words.querySelectorAll("[aria-hidden]").forEach(icon => icon.remove());
    const style = getComputedStyle(node);
    const box = node.getBoundingClientRect();
    return {
        name: (label || words.textContent || node.value || "").trim(),
        tag: node.tagName,
        is_seen: box.width > 0 && box.height > 0 && (style.outlineStyle !== "none"
            || style.boxShadow !== "none"),
        html: node.outerHTML.slice(0, 200),
    };
}"""


def tab_to(page: Page, name: str) -> None:
    """Press Tab until the focus is on what has the name; each stop on the way must be visible."""
    passed = []
    for _ in range(MOST_STOPS):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        if focused["tag"] != "BODY":
            assert focused["is_seen"], f"{page.url} does not show the focus on {focused['html']}"
        if re.match(name, focused["name"]):
            return
        passed.append(focused["name"])
    pytest.fail(f"{name} is not reached by Tab on {page.url}, only {passed}")


def test_signing_in_training_and_activating_by_keyboard(
    chromium: Browser, server: Server, complaints: Complaints
) -> None:
    page = new_page(chromium, server)
    complaints.watch(page, server)
    press = page.keyboard.press

    page.goto("/admin/")
    tab_to(page, "Username")
    page.keyboard.type(SUPERUSER)
    tab_to(page, "Password")
    page.keyboard.type(server.password)
    press("Enter")
    page.wait_for_url(f"{server.url}/admin/")

    press("Tab")
    assert page.evaluate(FOCUSED)["name"] == "Skip to the content"
    press("Enter")
    assert page.evaluate("document.querySelector('#content').contains(document.activeElement)")

    page.goto("/admin/modelregistry/modelversion/")
    tab_to(page, "Train( a model)?$")
    press("Enter")
    page.wait_for_url("**/train/")
    tab_to(page, "Number of segments")
    page.keyboard.type("3")
    tab_to(page, "Train$")
    press("Enter")
    link = page.get_by_role("link", name=re.compile("See kmeans"))
    expect(link).to_be_visible(timeout=TRAINING_MILLISECONDS)
    tab_to(page, "See kmeans")
    press("Enter")
    expect(page.locator("body")).to_contain_text("K-means version")
    tab_to(page, "Activate$")
    press("Enter")
    page.wait_for_url("**/activate/")
    tab_to(page, "Reason")
    page.keyboard.type("by keyboard")
    tab_to(page, "Activate kmeans")
    press("Enter")
    expect(page.locator("body")).to_contain_text("is active.")
    page.context.close()


def test_the_filters_of_a_list_keep_the_focus_until_they_are_closed(
    signed_in: SignIn, server: Server
) -> None:
    page = signed_in(SUPERUSER, server)
    is_inside = "document.querySelector('#changelist-filter').contains(document.activeElement)"

    page.goto("/admin/segments/customer/")
    tab_to(page, "Filters")
    page.keyboard.press("Enter")
    page.wait_for_function(is_inside)
    for _ in range(20):
        page.keyboard.press("Tab")
        assert page.evaluate(is_inside)
    page.keyboard.press("Escape")
    page.wait_for_function(f"!{is_inside}")

    assert page.evaluate(FOCUSED)["name"] == "Filters"
