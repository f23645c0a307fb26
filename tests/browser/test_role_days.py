"""The day of each role in the admin, one after the other, from an empty system to a settled alert.

Each does what the role is for, and finds no button for what it is not.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from segments.demo_shop import write_demo_customers
from tests.browser.conftest import SignIn
from tests.browser.prepare import N_CUSTOMERS, write_changed
from tests.browser.served import Server
from tests.browser.watching import assert_fits

pytestmark = pytest.mark.browser

TRAINING_MILLISECONDS = 120_000
CHECK_SECONDS = 90
CUSTOMERS = "/admin/segments/customer/"
VERSIONS = "/admin/modelregistry/modelversion/"


def test_the_days_of_analyst_operator_auditor_and_viewer(
    signed_in: SignIn, empty_server: Server, tmp_path: Path
) -> None:
    table, current = tmp_path / "customers.csv", tmp_path / "current.csv"
    write_demo_customers(table, n_customers=N_CUSTOMERS, random_state=7)
    write_changed(table, current)
    analyst = signed_in("analyst", empty_server)
    operator = signed_in("operator", empty_server)

    expect(analyst.get_by_role("heading", name="First steps")).to_be_visible()
    import_customers(analyst, table)
    first = train(analyst, k="3", number=1)
    assert_absent(analyst, "Activate")
    assert_jobs(analyst, 1)
    activate(operator, first, number=1)
    second = train(analyst, k="", number=2)
    compare(analyst, number=2, other=1)
    assert_absent(analyst, "Activate", "Activate kmeans 2")
    rename_first_segment(analyst, second, "The regulars")
    activate(operator, second, number=2, forced=True)
    expect(operator.locator("body")).to_contain_text("The regulars")

    import_customers(analyst, current)
    change_the_policy(operator)
    check_now(operator)
    answer_the_alert(operator)
    issue_a_key(operator)
    roll_back(operator, second, to=1)
    erase_a_customer(operator, "C-000007")

    audit_the_day(signed_in("auditor", empty_server), second)
    look_around(signed_in("viewer", empty_server))


def assert_absent(page: Page, *names: str) -> None:
    for name in names:
        assert page.get_by_role("link", name=name, exact=True).count() == 0, name
        assert page.get_by_role("button", name=name, exact=True).count() == 0, name


def import_customers(page: Page, file: Path) -> None:
    """Choose the file, look at its first rows, confirm, and wait until it is done."""
    page.goto(CUSTOMERS)
    page.locator("#main").get_by_role("link", name=re.compile("^Import")).first.click()
    page.set_input_files("input[name=file]", file)
    page.get_by_role("button", name="Look at the file").click()
    expect(page.get_by_role("heading", name="First rows")).to_be_visible()
    expect(page.locator("table").first).to_contain_text("C-000001")
    assert_fits(page)
    page.get_by_role("button", name="Import", exact=True).click()
    link = page.get_by_role("link", name="See the customers")
    expect(link).to_be_visible(timeout=TRAINING_MILLISECONDS)
    expect(page.locator(".seg-tiles")).to_contain_text(str(N_CUSTOMERS))
    link.click()
    expect(page.locator("#result_list")).to_contain_text("C-000001")


def train(page: Page, *, k: str, number: int) -> str:
    """Ask for a training and wait, as a person does; returns the address of the version."""
    page.goto(f"{VERSIONS}train/")
    page.select_option("select[name=model_type]", "dbscan")
    page.fill("input[name=eps]", "1.5")  # left over, hidden and not sent
    page.select_option("select[name=model_type]", "kmeans")
    page.fill("input[name=n_clusters]", k)
    page.fill("[name=note]", f"browser test {number}")
    page.get_by_role("button", name="Train", exact=True).dblclick()  # one job all the same
    link = page.get_by_role("link", name=f"See kmeans {number}")
    expect(link).to_be_visible(timeout=TRAINING_MILLISECONDS)
    link.click()
    expect(page.locator("body")).to_contain_text(f"K-means version {number}")
    assert are_drawn(page)
    return page.url


def assert_jobs(page: Page, n: int) -> None:
    page.goto("/admin/modelregistry/trainingjob/")
    expect(page.locator("#result_list tbody tr")).to_have_count(n)


def are_drawn(page: Page) -> bool:
    """Whether each chart in sight has more than one colour: an empty canvas is transparent."""
    return bool(
        page.locator("canvas.chart:visible").evaluate_all(
            """all => all.every(canvas => canvas.getContext("2d")
                .getImageData(0, 0, canvas.width, canvas.height).data.some(value => value > 0))"""
        )
    )


def activate(page: Page, version: str, *, number: int, forced: bool = False) -> None:
    page.goto(version)
    page.get_by_role("link", name="Activate", exact=True).click()
    page.fill("textarea[name=reason]", "agreed with marketing")
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


def rename_first_segment(page: Page, version: str, name: str) -> None:
    """In its place, on the page of the version."""
    page.goto(version)
    place = page.locator(".seg-rename").first
    place.locator("summary").click()
    place.locator("input[name$=name]").fill(name)
    place.get_by_role("button", name="Save the name").click()
    expect(page.locator("article").first).to_contain_text(name)


def change_the_policy(page: Page) -> None:
    page.goto("/admin/monitoring/monitoringpolicy/")
    page.fill("input[name=interval_hours]", "12")
    page.get_by_role("button", name=re.compile("^Save")).first.click()
    expect(page.locator("body")).to_contain_text("12")


def check_now(page: Page) -> None:
    """Ask for a check, and wait until it raises an alert."""
    page.goto("/admin/monitoring/monitoringpolicy/")
    page.get_by_role("link", name="Check now").first.click()
    page.get_by_role("button", name="Check now").click()
    expect(page.locator("body")).to_contain_text("A check begins within seconds.")
    page.goto("/admin/monitoring/alert/")
    alerts = page.locator("#result_list tbody tr")
    for _ in range(CHECK_SECONDS):
        if alerts.count():
            break
        page.wait_for_timeout(1000)
        page.reload()
    alerts.first.get_by_role("link").first.click()


def answer_the_alert(page: Page) -> None:
    """Read the report behind it, then acknowledge it."""
    alert = page.url
    page.get_by_role("link", name="See the drift report").click()
    expect(page.locator("body")).to_contain_text("drift")
    assert are_drawn(page)
    assert_fits(page)
    page.get_by_role("link", name="Compute again").click()
    page.get_by_role("button", name="Compute again").click()
    expect(page.locator("body")).to_contain_text("every figure is the same")
    page.goto(alert)
    page.get_by_role("link", name="Acknowledge").click()
    page.locator("form textarea").first.fill("a price rise, as planned")
    page.get_by_role("button", name="Acknowledge").click()
    expect(page.locator("body")).to_contain_text("a price rise, as planned")


def issue_a_key(page: Page) -> None:
    page.goto("/admin/access/apikey/add/")
    page.fill("input[name=name]", "the shop")
    page.locator("input[name=scopes]").first.check()
    page.get_by_role("button", name=re.compile("^(Save|Issue)")).first.click()
    expect(page.locator(".seg-secret")).to_be_visible()


def roll_back(page: Page, version: str, *, to: int) -> None:
    page.goto(version)
    page.get_by_role("link", name=f"Roll back to kmeans {to}").first.click()
    page.fill("textarea[name=reason]", "second thoughts")
    page.get_by_role("button", name=f"Roll back to kmeans {to}").click()
    expect(page.locator("body")).to_contain_text(f"kmeans {to} is active.")


def erase_a_customer(page: Page, customer_id: str) -> None:
    page.goto(f"{CUSTOMERS}?q={customer_id}")
    page.get_by_role("link", name=customer_id).first.click()
    expect(page.get_by_role("heading", name="Why it is in its segments")).to_be_visible()
    page.get_by_role("link", name="Erase this customer").click()
    page.get_by_role("button", name="Erase this customer").click()
    expect(page.locator("body")).to_contain_text(f"Erasure 1 of customer {customer_id}: 1 customer")
    page.goto(f"{CUSTOMERS}?q={customer_id}")
    assert page.get_by_role("link", name=customer_id, exact=True).count() == 0


def audit_the_day(page: Page, version: str) -> None:
    """Look for somebody, take a file, follow an entry and a timeline, see the settings."""
    page.goto("/admin/audit/auditentry/?q=analyst&action=segment.renamed")
    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    with page.expect_download() as download:
        page.get_by_role("link", name="Export these as CSV").click()
    assert "segment.renamed" in Path(download.value.path()).read_text()
    page.locator("#result_list tbody tr").first.get_by_role("link").first.click()
    expect(page.get_by_role("heading", name="Seal")).to_be_visible()
    page.goto(version)
    assert_absent(page, "Activate", "Roll back to kmeans 2", "Train again like this")
    page.get_by_role("link", name="Timeline").click()
    expect(page.locator(".seg-timeline")).to_contain_text("model_version.activated")
    page.goto("/admin/settings/")
    expect(page.get_by_role("heading", name=re.compile("Settings")).first).to_be_visible()
    assert CUSTOMERS not in sidebar(page)


def look_around(page: Page) -> None:
    """Everything but people, keys and the trail; and nothing to change."""
    links = sidebar(page)
    assert CUSTOMERS in links
    assert VERSIONS in links
    assert not [link for link in links if re.search("auth/|apikey|auditentry|settings", link)]
    for link in links:
        page.goto(link)
        assert_absent(page, "Import", "Train", "Activate", "Check now", "Erase this customer")
        first = page.locator("#result_list tbody tr").first.get_by_role("link").first
        if first.count():
            first.click()
            assert_absent(page, "Activate", "Acknowledge", "Erase this customer", "Rename")


def sidebar(page: Page) -> list[str]:
    page.goto("/admin/")
    links = page.locator("#nav-sidebar-apps a").evaluate_all("all => all.map(a => a.pathname)")
    return sorted(set(links))
