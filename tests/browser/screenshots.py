"""Pictures of every page, for who looks at them, and the best ones for docs/screenshots.

`python -m tests.browser.screenshots [--data FILE --id COLUMN] [--all DIRECTORY] [--best DIRECTORY]`
starts a server of its own on the table, or on the demo shop, trains, checks, and takes each page on
a desktop and a phone, light and dark.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import django
from playwright.sync_api import Page

from tests.browser import watching
from tests.browser.pages import pages_by_links
from tests.browser.prepare import SUPERUSER
from tests.browser.served import served
from tests.browser.watching import DESKTOP, PHONE, Theme, new_page, resize, sign_in

ROOT = Path(__file__).resolve().parents[2]
MILLISECONDS_TO_DRAW = 300
MAX_BYTES = 300_000
"""Of one picture in the documentation."""
VERSIONS = "/admin/modelregistry/modelversion"
THEMES: tuple[Theme, ...] = ("light", "dark")
BEST: Mapping[str, tuple[str, str, int, Theme]] = {
    "home": ("/admin/", "", DESKTOP, "light"),
    "version": (f"{VERSIONS}/2/change/", "", DESKTOP, "light"),
    "map": (f"{VERSIONS}/2/change/", ".seg-map", DESKTOP, "dark"),
    "compare": (f"{VERSIONS}/4/compare/", ".seg-flow", DESKTOP, "light"),
    "drift": ("/admin/monitoring/driftreport/4/change/", "", DESKTOP, "light"),
    "audit": ("/admin/audit/auditentry/", "", DESKTOP, "dark"),
    "phone": ("/admin/", "", PHONE, "dark"),
}
"""By name: the page, what of it is scrolled to, the screen and the theme."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--id", dest="id_column")
    parser.add_argument("--all", type=Path, default=ROOT / "screenshots")
    parser.add_argument("--best", type=Path, default=ROOT / "docs" / "screenshots")
    options = parser.parse_args()
    table = ["--data", str(options.data.resolve())] if options.data else []
    table += ["--id", options.id_column] if options.id_column else []
    with (
        tempfile.TemporaryDirectory(prefix="screenshots-") as directory,
        served(Path(directory), *table) as server,
        watching.chromium() as browser,
    ):
        page = new_page(browser, server)
        sign_in(page, SUPERUSER, server)
        shoot_best(page, options.best)  # first: the audit log notes each reading of itself
        shoot_all(page, options.all)


def shoot_all(page: Page, directory: Path) -> None:
    """Whole pages, named for their address."""
    directory.mkdir(parents=True, exist_ok=True)
    addresses = pages_by_links(page.request)
    for address in addresses:
        for theme in THEMES:
            page.emulate_media(color_scheme=theme)
            page.goto(address)  # anew, for the theme is chosen when a page is loaded
            for width in (DESKTOP, PHONE):
                resize(page, width)
                page.wait_for_timeout(MILLISECONDS_TO_DRAW)
                name = f"{name_of(address)}-{width}-{theme}.png"
                page.screenshot(path=directory / name, full_page=True)
    print(f"{len(addresses)} pages, four pictures each, are in {directory}.")


def name_of(address: str) -> str:
    path = urlsplit(address).path.removeprefix("/admin/").strip("/")
    return re.sub(r"[^\w-]+", "-", path) or "home"


def shoot_best(page: Page, directory: Path) -> None:
    """What fits the screen, of the pages that show most."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, (address, part, width, theme) in BEST.items():
        resize(page, width)
        page.emulate_media(color_scheme=theme)
        page.goto(address)
        if part:
            page.locator(part).first.evaluate("part => part.scrollIntoView({block: 'center'})")
        page.wait_for_timeout(MILLISECONDS_TO_DRAW)
        path = directory / f"{name}.png"
        page.screenshot(path=path)
        assert path.stat().st_size <= MAX_BYTES, f"{path} is larger than {MAX_BYTES:,} bytes"
    print(f"The {len(BEST)} for the documentation are in {directory}.")


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    main()
