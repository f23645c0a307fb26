"""A headless Chromium, somebody signed in, and what a page must never do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.served import Server

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
Theme: TypeAlias = Literal["light", "dark"]
SET_THEME = """async theme => {
    document.documentElement.classList.toggle("dark", theme === "dark");
    await new Promise(requestAnimationFrame);
    for (const each of document.getAnimations())
        if (each instanceof CSSTransition) each.finish();
}"""
DESKTOP, PHONE = 1280, 390
HEIGHT = 900


@dataclass
class Complaints:
    """What the browser said of the pages it showed; `allowed` are answers that a test asks for."""

    allowed: set[int] = field(default_factory=set)
    found: list[str] = field(default_factory=list)

    def watch(self, page: Page, server: Server) -> None:
        page.on(
            "console",
            lambda message: (
                message.type == "error"
                and not any(f"status of {status} " in message.text for status in self.allowed)
                and self.found.append(f"{page.url}: {message.text}")
            ),
        )
        page.on("pageerror", lambda error: self.found.append(f"{page.url}: page error: {error}"))
        page.on(
            "requestfailed",
            lambda request: (
                # The browser itself gives up what a page still loads when the next one is opened.
                request.failure == "net::ERR_ABORTED"
                or self.found.append(f"failed: {request.url}: {request.failure}")
            ),
        )
        page.on(
            "request",
            lambda request: (
                request.url.startswith((server.url, "data:", "blob:"))
                or self.found.append(f"another host: {request.url}")
            ),
        )
        page.on(
            "response",
            lambda response: (
                response.status < 400
                or response.status in self.allowed
                or self.found.append(f"{response.status}: {response.url}")
            ),
        )


@contextmanager
def chromium() -> Iterator[Browser]:
    executable = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    assert executable, f"none of {', '.join(CHROMIUM_NAMES)} is installed"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


def new_page(browser: Browser, server: Server) -> Page:
    context = browser.new_context(
        base_url=server.url, viewport={"width": DESKTOP, "height": HEIGHT}, locale="en-GB"
    )
    return context.new_page()


def sign_in(page: Page, name: str, server: Server) -> None:
    page.goto("/admin/")
    page.fill("input[name=username]", name)
    page.fill("input[name=password]", server.password)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{server.url}/admin/")


def show_theme(page: Page, theme: Theme) -> None:
    """On the page as it stands: the admin's is a class of the root, other pages ask the device."""
    page.emulate_media(color_scheme=theme)
    page.evaluate(SET_THEME, theme)


def resize(page: Page, width: int) -> None:
    """Until what observes sizes has been told, which is in the next frame."""
    page.set_viewport_size({"width": width, "height": HEIGHT})
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def too_wide(page: Page) -> int:
    """Pixels by which the page is wider than the screen, at the most 0 where it fits."""
    return int(
        page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    )


def assert_fits(page: Page) -> None:
    assert too_wide(page) <= 0, f"{page.url} is {too_wide(page)} px wider than the screen"
