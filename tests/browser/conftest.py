"""A real server on data of its own, and a headless Chromium that forgives nothing."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60
STOP_SECONDS = 40
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
USER = "browser"


@dataclass(frozen=True)
class Server:
    url: str
    password: str


@dataclass
class Complaints:
    """What a page must never do."""

    host: str
    found: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on(
            "console",
            lambda message: message.type == "error" and self.found.append(message.text),
        )
        page.on("pageerror", lambda error: self.found.append(f"page error: {error}"))
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
                request.url.startswith((self.host, "data:", "blob:"))
                or self.found.append(f"another host: {request.url}")
            ),
        )
        page.on(
            "response",
            lambda response: (
                response.status < 400 or self.found.append(f"{response.status}: {response.url}")
            ),
        )


def manage(*arguments: str, environment: dict[str, str]) -> None:
    subprocess.run(
        [sys.executable, "manage.py", *arguments, "--skip-checks"],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
        timeout=120,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment_of(directory: Path, port: int) -> dict[str, str]:
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "segmentation_project.settings",
        "API_HOST": "127.0.0.1",
        "API_PORT": str(port),
        "API_KEY": secrets.token_urlsafe(40),
        "SECRET_KEY": secrets.token_urlsafe(60),
        "JWT_SECRET_KEY": secrets.token_urlsafe(40),
        "API_CONFIG": str(directory / "no-such-config.json"),
        "DATA_DIR": str(directory / "data"),
        "MODEL_DIR": str(directory / "models"),
        "LOG_DIR": str(directory / "logs"),
        "DB_PATH": str(directory / "data" / "browser.db"),
        "DATABASE_URL": "",
        "REDIS_URL": "",
        "ALLOWED_HOSTS": "127.0.0.1",
    }


def wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended by itself"
        try:
            with urllib.request.urlopen(f"{url}/healthz", timeout=2):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    pytest.fail("the server did not start")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`manage.py serve`: gunicorn and the background worker, as `make run` starts them."""
    directory = tmp_path_factory.mktemp("browser")
    port, password = free_port(), secrets.token_urlsafe(12)
    environment = environment_of(directory, port)
    manage("migrate", "--verbosity", "0", environment=environment)
    manage("collectstatic", "--noinput", "--verbosity", "0", environment=environment)
    manage(
        *("createsuperuser", "--noinput", "--username", USER, "--email", "browser@example.org"),
        environment={**environment, "DJANGO_SUPERUSER_PASSWORD": password},
    )
    process = subprocess.Popen(
        [sys.executable, "manage.py", "serve", "--skip-checks"], cwd=ROOT, env=environment
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(url, process)
        yield Server(url, password)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    executable = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    assert executable, f"none of {', '.join(CHROMIUM_NAMES)} is installed"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def complaints(server: Server) -> Complaints:
    return Complaints(server.url)


@pytest.fixture
def page(chromium: Browser, server: Server, complaints: Complaints) -> Iterator[Page]:
    """Signed in; the test fails on what the browser complained about, whatever else it saw."""
    context = chromium.new_context(
        base_url=server.url, viewport={"width": 1280, "height": 900}, locale="en-GB"
    )
    page = context.new_page()
    complaints.watch(page)
    page.goto("/admin/")
    page.fill("input[name=username]", USER)
    page.fill("input[name=password]", server.password)
    page.click("button[type=submit], input[type=submit]")
    page.wait_for_url("**/admin/")
    yield page
    context.close()
    assert complaints.found == []
