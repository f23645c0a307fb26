"""A day in the admin, in a real browser: import, train, activate, look, rename, roll back."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from segments.demo_shop import write_demo_customers

pytestmark = pytest.mark.browser

N_CUSTOMERS = 400
TRAINING_MILLISECONDS = 120_000
CHECK_SECONDS = 60
SHOTS = os.environ.get("SCREENSHOTS", "")
"""A directory for pictures of the main pages, for who looks at them; empty takes none."""


def import_customers(page: Page, file: Path) -> None:
    page.goto("/admin/segments/customer/")
    page.get_by_role("link", name="Import").first.click()
    page.set_input_files("input[name=file]", file)
    page.get_by_role("button", name="Import").click()
    expect(page.locator("body")).to_contain_text(f"{N_CUSTOMERS} customers created")


def train(page: Page, *, k: str, number: int) -> None:
    """Ask for a training and wait, as a person does, until its page says that it is done."""
    page.goto("/admin/modelregistry/modelversion/train/")
    page.select_option("select[name=model_type]", "dbscan")
    page.fill("input[name=eps]", "1.5")  # left over, hidden and not sent
    page.select_option("select[name=model_type]", "kmeans")
    page.fill("input[name=n_clusters]", k)
    page.fill("input[name=note]", f"browser test {number}")
    page.get_by_role("button", name="Train").click()
    link = page.get_by_role("link", name=f"See kmeans {number}")
    expect(link).to_be_visible(timeout=TRAINING_MILLISECONDS)
    link.click()
    expect(page.locator("body")).to_contain_text(f"K-means version {number}")


def activate(page: Page, *, number: int, forced: bool = False) -> None:
    page.get_by_role("link", name="Activate", exact=True).click()
    page.fill("textarea[name=reason]", "the browser test said so")
    if forced:  # a k of its own choice moves more customers than the gate allows
        page.check("input[name=force]")
    page.get_by_role("button", name=f"Activate kmeans {number}").click()
    expect(page.locator("body")).to_contain_text(f"kmeans {number} is active.")


def compare(page: Page, *, number: int, other: int) -> None:
    """See who would move before deciding."""
    page.get_by_role("link", name="Compare with the active version").click()
    expect(page.locator("body")).to_contain_text(f"Compare kmeans {number} with kmeans {other}")
    expect(page.locator(".seg-matrix tbody tr")).to_have_count(3)
    assert_fits(page)
    page.get_by_role("link", name=f"See kmeans {number}").click()


def rename_first_segment(page: Page, name: str) -> None:
    page.goto("/admin/segments/segment/?serving=yes")
    page.locator("#result_list tbody tr").first.get_by_role("link").first.click()
    page.fill("input[name=name]", name)
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#result_list")).to_contain_text(name)


def read_version(page: Page, url: str) -> None:
    """What a person does who wonders about a new version: look, unfold, follow a segment."""
    page.goto(url)
    expect(page.get_by_role("heading", name="What became of the segments")).to_be_visible()
    expect(page.locator("article").first).to_contain_text("How firm it is")
    assert is_drawn(page), "the curve of the candidates"
    for summary in page.locator("summary").all():
        summary.click()
    expect(page.get_by_role("cell", name="runner-up")).to_be_visible()
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert_fits(page)
    page.set_viewport_size({"width": 1280, "height": 900})
    page.locator("article h3 a").first.click()
    expect(page.get_by_role("heading", name="Its life")).to_be_visible()
    assert_fits(page)


def is_drawn(page: Page) -> bool:
    """Whether the first chart has more than one colour: an empty canvas is all transparent."""
    return bool(
        page.locator("canvas.chart").first.evaluate(
            """canvas => canvas.getContext("2d")
                .getImageData(0, 0, canvas.width, canvas.height).data.some(value => value > 0)"""
        )
    )


def roll_back(page: Page, *, to: int) -> None:
    page.get_by_role("link", name=f"Roll back to kmeans {to}").click()
    page.fill("textarea[name=reason]", "second thoughts")
    page.get_by_role("button", name=f"Roll back to kmeans {to}").click()
    expect(page.locator("body")).to_contain_text(f"kmeans {to} is active.")


def check_now(page: Page) -> None:
    """Ask for a check and wait until the monitor has looked: its series begins."""
    page.goto("/admin/monitoring/monitoringpolicy/")
    expect(page.get_by_text("Smallest changes that count")).to_be_visible()
    page.get_by_role("link", name="Check now").click()
    page.get_by_role("button", name="Check now").click()
    expect(page.locator("body")).to_contain_text("A check begins within seconds.")
    page.goto("/admin/monitoring/driftreport/")
    rows = page.locator("#result_list tbody tr")
    for _ in range(CHECK_SECONDS):
        if rows.count():
            break
        page.wait_for_timeout(1000)
        page.reload()
    rows.first.get_by_role("link").first.click()
    expect(page.get_by_role("heading", name="Every check")).to_be_visible()
    assert is_drawn(page), "the segments then and now"
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert_fits(page)
    page.set_viewport_size({"width": 1280, "height": 900})
    page.get_by_role("link", name="Compute again").click()
    page.get_by_role("button", name="Compute again").click()
    expect(page.locator("body")).to_contain_text("every figure is the same")
    page.get_by_role("link", name=re.compile("^Quality of")).click()
    expect(page.get_by_role("heading", name="Over time")).to_be_visible()
    assert is_drawn(page), "the shares of the segments"
    assert_fits(page)


def test_a_day_from_import_to_roll_back(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "customers.csv"
    write_demo_customers(file, n_customers=N_CUSTOMERS, random_state=7)

    import_customers(page, file)
    train(page, k="3", number=1)
    activate(page, number=1)
    train(page, k="", number=2)
    compare(page, number=2, other=1)
    activate(page, number=2, forced=True)
    version_page = page.url
    read_version(page, version_page)
    rename_first_segment(page, "The regulars")
    page.goto(version_page)
    expect(page.locator("body")).to_contain_text("The regulars")
    take_pictures(page, version_page)
    check_now(page)
    page.goto(version_page)
    roll_back(page, to=1)

    page.goto("/admin/")
    expect(page.locator("body")).to_contain_text("kmeans 1")
    page.goto("/admin/modelregistry/activation/")
    expect(page.locator("#result_list tbody tr")).to_have_count(3)
    read_the_trail(page, version_page)


def read_the_trail(page: Page, version_page: str) -> None:
    """What an auditor does: look for somebody, follow an entry and a timeline, take a file."""
    page.goto("/admin/audit/auditentry/?q=browser&action=segment.renamed")
    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    with page.expect_download() as download:
        page.get_by_role("link", name="Export these as CSV").click()
    assert "segment.renamed" in Path(download.value.path()).read_text()
    page.locator("#result_list tbody tr").first.get_by_role("link").first.click()
    expect(page.get_by_role("heading", name="Seal")).to_be_visible()
    assert_fits(page)
    page.goto(version_page)
    page.get_by_role("link", name="Timeline").click()
    expect(page.locator(".seg-timeline")).to_contain_text("model_version.activated")
    assert_fits(page)


@pytest.mark.parametrize("width", [1280, 390])
def test_pages_fit_the_screen_in_both_themes(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})

    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        for url in pages_of_the_sidebar(page):
            page.goto(url)
            assert_fits(page)


def assert_fits(page: Page) -> None:
    overflow = page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    assert overflow <= 0, f"{page.url} is {overflow} px too wide at {page.viewport_size}"


def pages_of_the_sidebar(page: Page) -> list[str]:
    page.goto("/admin/")
    links = page.locator("#nav-sidebar-apps a").evaluate_all("nodes => nodes.map(n => n.href)")
    found = sorted({link for link in links if re.search(r"/admin/.*", link)})
    assert len(found) >= 10
    return found


def take_pictures(page: Page, version_page: str) -> None:
    if not SHOTS:
        return
    page.goto("/admin/segments/segment/?serving=yes")
    first = page.locator("#result_list tbody tr").first.get_by_role("link").first
    segment_page = first.get_attribute("href") or ""
    pages = {
        "home": "/admin/",
        "versions": "/admin/modelregistry/modelversion/",
        "version": version_page,
        "customers": "/admin/segments/customer/",
        "segments": "/admin/segments/segment/",
        "segment": segment_page,
        "train": "/admin/modelregistry/modelversion/train/",
        "import": "/admin/segments/customer/import/",
        "key": "/admin/access/apikey/add/",
        "audit": "/admin/audit/auditentry/",
    }
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 900})
            for name, url in pages.items():
                page.goto(url)
                page.wait_for_timeout(400)
                path = Path(SHOTS) / f"{name}-{width}-{theme}.png"
                page.screenshot(path=path, full_page=name in ("version", "segment"))
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1280, "height": 1400})
    page.goto(version_page)
    page.wait_for_timeout(400)
    page.screenshot(path=Path(SHOTS) / "admin.png")
    page.set_viewport_size({"width": 1280, "height": 900})
