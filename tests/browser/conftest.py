"""Servers that the tests of a process share, and a browser that forgives nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import watching
from tests.browser.served import Server, served
from tests.browser.watching import Complaints, new_page, sign_in

PATIENCE = 30_000
"""Milliseconds until what a page should show is missing, on a machine that has much else to do."""
expect.set_options(timeout=PATIENCE)
SignIn = Callable[[str, Server], Page]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With something on every page; tests leave it as they find it."""
    with served(tmp_path_factory.mktemp("filled")) as server:
        yield server


@pytest.fixture(scope="session")
def empty_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With staff, and nothing that staff work on."""
    with served(tmp_path_factory.mktemp("empty"), "--only-staff") as server:
        yield server


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with watching.chromium() as browser:
        yield browser


@pytest.fixture
def complaints() -> Iterator[Complaints]:
    """The test fails on what the browser complained about, whatever else it saw."""
    complaints = Complaints()
    yield complaints
    assert complaints.found == []


@pytest.fixture
def signed_in(chromium: Browser, complaints: Complaints) -> Iterator[SignIn]:
    """Opens a page for somebody, in a session of their own."""
    pages: list[Page] = []

    def open_page(name: str, server: Server) -> Page:
        page = new_page(chromium, server)
        pages.append(page)
        complaints.watch(page, server)
        sign_in(page, name, server)
        return page

    yield open_page
    for page in pages:
        page.context.close()
