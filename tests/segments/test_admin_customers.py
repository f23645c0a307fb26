"""Customers in the admin: found, looked at, exported, erased."""

from __future__ import annotations

import json
import re
from html import escape, unescape
from typing import Any

import pytest
from django.conf import settings
from django.contrib.admin.utils import quote
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from segments.customer_digests import customer_digest
from segments.customer_pages import Place, Wanted
from segments.customers import upsert_customers
from segments.erasure import ErasureConflict
from segments.models import Assignment, Customer
from segments.views_export import slots
from tests.expectations import one_entry
from tests.factories import TrainedModels
from tests.staff import entries_after, last_entry_id, staff

VIEW, IMPORT, EXPORT, DELETE = (
    "segments.view_customer",
    "segments.import_customer",
    "segments.export_customer",
    "segments.delete_customer",
)
LIST_URL = "/admin/segments/customer/"
EXPORT_URL = "/admin/segments/customer/export/"


def page_of(key: object) -> str:
    return reverse("admin:segments_customer_change", args=[key])


def listed(client: Client, **query: Any) -> list[str]:
    response = client.get(LIST_URL, query)
    return [customer.pk for customer in response.context["cl"].result_list]


def store(*ids: str) -> None:
    upsert_customers({key: {"age": 1} for key in ids}, at=timezone.now())


# -- the list -----------------------------------------------------------------------------------


def test_pages_hold_every_customer_once_in_both_directions(db: None) -> None:
    store(*(f"c{n:03}" for n in range(120)))
    client = staff(VIEW)
    wanted = sorted(Customer.objects.values_list("pk", flat=True))

    pages, url = [], LIST_URL
    while url:
        shown = client.get(url).context["cl"]
        pages.append([customer.pk for customer in shown.result_list])
        url = LIST_URL + shown.older if shown.older else ""
    back = client.get(LIST_URL + shown.newer).context["cl"]

    assert [len(page) for page in pages] == [50, 50, 20]
    assert sum(pages, []) == wanted
    assert [customer.pk for customer in back.result_list] == pages[1]
    assert back.newer and back.older


@pytest.mark.parametrize("prefix", ["c1", "C1", "%", "_", "ß", "c\U0010ffff", "'"])
def test_customers_are_found_by_the_very_beginning_of_their_ids(db: None, prefix: str) -> None:
    ids = ["c1", "c10", "c2", "C1x", "%a", "_b", "ßc", "c\U0010ffffd", "'e", "xc1"]
    store(*ids)

    found = listed(staff(VIEW), q=prefix)

    assert sorted(found) == sorted(key for key in ids if key.startswith(prefix))


def test_each_row_shows_the_segments_now(trained: TrainedModels) -> None:
    shown = staff(VIEW).get(LIST_URL).context["cl"].result_list

    rows = Assignment.objects.filter(version=trained.kmeans).select_related("segment")
    names = {row.customer_id: row.segment.name for row in rows if row.segment}
    assert {each.pk: each.segments_now["kmeans"] for each in shown} == {
        each.pk: names[each.pk] for each in shown
    }


def test_the_list_is_narrowed_by_segments_of_both_models(trained: TrainedModels) -> None:
    client = staff(VIEW)
    lonely = Assignment.objects.filter(version=trained.dbscan, segment=None)[0].customer_id
    segment = Assignment.objects.get(version=trained.kmeans, customer=lonely).segment_id
    of_kmeans = Assignment.objects.filter(version=trained.kmeans, segment=segment)
    in_kmeans = set(of_kmeans.values_list("customer_id", flat=True))
    of_noise = Assignment.objects.filter(version=trained.dbscan, segment=None)
    in_noise = set(of_noise.values_list("customer_id", flat=True))

    assert in_kmeans - in_noise
    assert listed(client, kmeans=segment) == sorted(in_kmeans)[:50]
    assert listed(client, dbscan="noise") == sorted(in_noise)[:50]
    assert listed(client, kmeans=segment, dbscan="noise") == sorted(in_kmeans & in_noise)[:50]
    first = min(in_kmeans)
    assert listed(client, kmeans=segment, q=first) == [first]


def test_who_has_no_segment_can_be_listed(trained: TrainedModels) -> None:
    client = staff(VIEW)
    store("new-1", "new-2", "other")
    of_kmeans = Assignment.objects.filter(version=trained.kmeans)
    away, segment = of_kmeans.order_by("pk").values_list("customer_id", "segment_id")[0]
    Assignment.objects.filter(version=trained.dbscan, customer=away).delete()

    assert listed(client, kmeans="none") == ["new-1", "new-2", "other"]
    assert listed(client, kmeans="none", q="new") == ["new-1", "new-2"]
    assert listed(client, dbscan="none") == sorted([away, "new-1", "new-2", "other"])
    assert listed(client, dbscan="none", kmeans=segment) == [away]
    assert listed(client, dbscan="none", kmeans="none") == ["new-1", "new-2", "other"]
    page = client.get(LIST_URL, {"kmeans": "none", "q": "x"}).content.decode()
    assert "without an assignment" in page


def test_pages_of_who_has_no_segment_go_in_both_directions(trained: TrainedModels) -> None:
    ids = [f"new-{n:03}" for n in range(60)]
    store(*ids)
    client = staff(VIEW)

    first = client.get(LIST_URL, {"kmeans": "none"}).context["cl"]
    second = client.get(LIST_URL + first.older).context["cl"]
    back = client.get(LIST_URL + second.newer).context["cl"]

    assert [each.pk for each in first.result_list] == ids[:50]
    assert [each.pk for each in second.result_list] == ids[50:]
    assert [each.pk for each in back.result_list] == ids[:50]
    assert back.older
    assert listed(client, kmeans="none", cursor=Place("c").cursor(Wanted())) == ids[:50]


@pytest.mark.parametrize(
    "query",
    [
        {"kmeans": "999999"},
        {"kmeans": "x"},
        {"kmeans": "9" * 40},
        {"q": "nobody"},
        {"dbscan": "-1"},
    ],
)
def test_a_list_that_nobody_matches_says_so(trained: TrainedModels, query: dict[str, str]) -> None:
    page = staff(VIEW).get(LIST_URL, query).content.decode()

    assert "No customer matches" in page


def test_an_empty_table_says_what_to_do(db: None) -> None:
    page = staff(VIEW, IMPORT).get(LIST_URL).content.decode()

    assert "No customer is stored yet" in page
    assert reverse("admin:segments_customer_import_view") in page


@pytest.mark.parametrize("cursor", ["x", "ä", "W10=", "bnVsbA==", "A" * 5_000])
def test_a_cursor_of_nothing_begins_at_the_first_page(db: None, cursor: str) -> None:
    store("a", "b")

    assert listed(staff(VIEW), cursor=cursor) == ["a", "b"]


def test_a_cursor_of_another_list_begins_at_the_first_page(db: None) -> None:
    store("a", "b", "c")
    cursor = Place("b").cursor(Wanted())
    client = staff(VIEW)

    assert listed(client, cursor=cursor) == ["c"]
    assert listed(client, cursor=cursor, q="a") == ["a"]


def test_the_number_of_queries_does_not_grow_with_the_customers(
    trained: TrainedModels, django_assert_max_num_queries: Any
) -> None:
    client = staff(VIEW)
    client.get(LIST_URL)
    segment = trained.kmeans.segments.order_by("cluster")[0].segment_id

    with django_assert_max_num_queries(12) as found:
        client.get(LIST_URL, {"kmeans": segment})

    assert not any("COUNT(" in query["sql"] for query in found.captured_queries)


def test_nobody_erases_all_that_a_filter_shows(trained: TrainedModels) -> None:
    response = staff(VIEW, DELETE).post(
        LIST_URL,
        {
            "action": "delete_selected",
            "select_across": "1",
            "_selected_action": [trained.records[0]["customer_id"]],
            "post": "yes",
        },
    )

    assert response.status_code == 403
    assert Customer.objects.count() == 300


# -- one customer -------------------------------------------------------------------------------


def test_a_customer_page_shows_attributes_and_segments(trained: TrainedModels) -> None:
    customer_id = trained.records[0]["customer_id"]

    response = staff(VIEW).get(page_of(customer_id))

    page = response.content.decode()
    for name in Customer.objects.get(pk=customer_id).attributes:
        assert name in page
    versions = [str(row[0]) for row in response.context["assignments"].rows]
    assert versions == ["dbscan 1 (active)", "kmeans 1 (active)"]


def test_an_odd_id_has_a_page_too(db: None) -> None:
    odd = "ä/b_c?&<i>"
    store(odd)
    client = staff(VIEW)

    listed_page = client.get(LIST_URL).content.decode()
    page = client.get(reverse("admin:segments_customer_change", args=[quote(odd)])).content.decode()

    assert "&lt;i&gt;" in listed_page
    assert "ä/b_c?&amp;&lt;i&gt;" in page


def test_values_are_shown_as_they_are(db: None) -> None:
    values = {"gap": None, "member": True, "born": "2001-02-03", "remark": "<b>" + "x" * 500}
    upsert_customers({"a": values}, at=timezone.now())

    response = staff(VIEW).get(page_of("a"))

    kinds = {row[0]: row[2] for row in response.context["attributes"].rows}
    assert kinds == {"gap": "–", "member": "yes or no", "born": "date", "remark": "text"}
    page = response.content.decode()
    assert "missing" in page and "&lt;b&gt;" + "x" * 500 in page


def test_the_page_of_an_erasure_says_what_it_reaches(trained: TrainedModels) -> None:
    client = staff(VIEW, DELETE)
    url = reverse("admin:segments_customer_delete", args=[trained.records[0]["customer_id"]])

    page = client.get(url).content.decode()

    assert "Assignments to segments under 2 versions." in page
    assert Customer.objects.count() == 300


def test_deleting_a_customer_takes_its_assignments_and_leaves_one_entry(
    trained: TrainedModels,
) -> None:
    customer_id = trained.records[0]["customer_id"]
    before = last_entry_id()

    response = staff(VIEW, DELETE).post(
        reverse("admin:segments_customer_delete", args=[customer_id]), {"post": "yes"}
    )

    assert response.status_code == 302
    assert not Customer.objects.filter(pk=customer_id).exists()
    assert not Assignment.objects.filter(customer_id=customer_id).exists()
    (entry,) = entries_after(before)
    digest = customer_digest(customer_id, secret=settings.SECRET_KEY)
    assert (entry.action, entry.target_id) == ("customer.erased", digest)
    assert customer_id not in entry.details


def test_deleting_several_customers_leaves_one_entry(trained: TrainedModels) -> None:
    ids = [record["customer_id"] for record in trained.records[:3]]
    before = last_entry_id()

    staff(VIEW, DELETE).post(
        LIST_URL,
        {"action": "delete_selected", "_selected_action": ids, "post": "yes"},
    )

    assert Customer.objects.count() == 297
    (entry,) = entries_after(before)
    assert (entry.action, entry.n_items) == ("customer.erased", 3)
    assert len(json.loads(entry.details)["customers"]) == 3
    assert not any(customer_id in entry.details for customer_id in ids)


def test_several_customers_are_erased_as_one_is(trained: TrainedModels) -> None:
    client = staff(VIEW, DELETE)
    store("<b>", *(f"zz{n:02}" for n in range(11)))
    ids = ["<b>", *(f"zz{n:02}" for n in range(11))]
    chosen = {"action": "delete_selected", "_selected_action": ids}

    asked = client.post(LIST_URL, chosen)
    page = asked.content.decode()
    sent = re.findall(r'name="_selected_action" value="([^"]*)"', page)
    done = client.post(
        LIST_URL,
        {"action": "delete_selected", "_selected_action": list(map(unescape, sent)), "post": "yes"},
        follow=True,
    )

    assert "Erase 12 customers" in page and "This cannot be undone" in page
    assert "0 assignments to segments." in page and "What is not erased at once" in page
    assert "<li><bdi>&lt;b&gt;</bdi></li>" in page
    [message] = done.context["messages"]
    assert "of customers <b>, zz00, zz01" in str(message)
    assert "zz08 and 2 more: 12 customers, 0 assignments" in str(message)
    assert Customer.objects.count() == 300


def test_customers_who_are_gone_meanwhile_are_not_asked_about(db: None) -> None:
    chosen = {"action": "delete_selected", "_selected_action": ["gone"]}

    page = staff(VIEW, DELETE).post(LIST_URL, chosen, follow=True).content.decode()

    assert "Nobody was erased." in page


def test_a_person_who_deletes_a_customer_reads_the_receipt(trained: TrainedModels) -> None:
    client = staff(VIEW, DELETE)
    customer_id = trained.records[5]["customer_id"]
    url = reverse("admin:segments_customer_delete", args=[customer_id])

    page = client.post(url, {"post": "yes"}, follow=True).content.decode()

    assert f"of customer {customer_id}: 1 customer, 2 assignments" in page
    assert "Models rewritten without them: dbscan 1." in page


def test_a_person_is_told_why_nobody_was_erased(
    trained: TrainedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise ErasureConflict

    monkeypatch.setattr("segments.admin_customers.erase", refuse)
    client = staff(VIEW, DELETE)
    customer_id = trained.records[5]["customer_id"]
    url = reverse("admin:segments_customer_delete", args=[customer_id])
    list_url = LIST_URL
    chosen = {"action": "delete_selected", "_selected_action": [customer_id], "post": "yes"}

    for page in (
        client.post(url, {"post": "yes"}, follow=True),
        client.post(list_url, chosen, follow=True),
    ):
        assert "Nobody was erased." in page.content.decode()
    assert Customer.objects.filter(pk=customer_id).exists()


def test_a_deletion_that_cannot_be_recorded_does_not_happen(
    trained: TrainedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("the trail is gone")

    monkeypatch.setattr("audit.trail.record", fail)
    client = staff(VIEW, DELETE)
    ids = [record["customer_id"] for record in trained.records[:3]]

    with pytest.raises(RuntimeError):
        client.post(reverse("admin:segments_customer_delete", args=[ids[0]]), {"post": "yes"})
    with pytest.raises(RuntimeError):
        client.post(
            LIST_URL,
            {"action": "delete_selected", "_selected_action": ids, "post": "yes"},
        )

    assert Customer.objects.count() == 300


def test_deleting_customers_needs_its_permission(trained: TrainedModels) -> None:
    client = staff(VIEW, IMPORT)
    customer_id = trained.records[0]["customer_id"]
    delete_url = reverse("admin:segments_customer_delete", args=[customer_id])

    one = client.post(delete_url, {"post": "yes"})
    client.post(
        LIST_URL,
        {"action": "delete_selected", "_selected_action": [customer_id], "post": "yes"},
    )

    assert one.status_code == 403
    assert delete_url not in client.get(page_of(customer_id)).content.decode()
    assert Customer.objects.count() == 300


# -- exporting ----------------------------------------------------------------------------------


def test_an_export_is_the_segment_asked_for_and_leaves_one_entry(trained: TrainedModels) -> None:
    segment = trained.kmeans.segments.order_by("cluster")[0].segment_id
    assigned = Assignment.objects.filter(version=trained.kmeans, segment=segment)
    client = staff(VIEW, EXPORT)

    with one_entry(action="segments.exported", actor_id="ann", n_items=assigned.count()):
        response = client.post(EXPORT_URL, {"which": f"kmeans:{segment}", "format": "csv"})

    lines = b"".join(response.streaming_content).decode().splitlines()
    assert {line.split(",")[0] for line in lines[1:]} == set(
        assigned.values_list("customer_id", flat=True)
    )
    assert f"segment-{segment}.csv" in response["Content-Disposition"]


def test_the_export_offers_the_segment_of_the_list(trained: TrainedModels) -> None:
    client = staff(VIEW, EXPORT)
    listed_page = client.get(LIST_URL, {"dbscan": "noise", "q": "C"})

    [button] = listed_page.context["actions_list"]
    response = client.get(button["path"])

    assert response.context["form"]["which"].value() == "dbscan:noise"
    assert "Customers without a segment under the version" in response.content.decode()


@pytest.mark.parametrize("which", ["kmeans:x", "nothing:", "kmeans:999999", ""])
def test_what_cannot_be_exported_is_refused(trained: TrainedModels, which: str) -> None:
    response = staff(VIEW, EXPORT).post(EXPORT_URL, {"which": which, "format": "csv"})

    assert response.context["form"].errors["which"]


def test_an_export_that_finds_no_slot_says_so(trained: TrainedModels) -> None:
    taken = [slots.acquire(blocking=False) for _ in range(100)].count(True)
    try:
        response = staff(VIEW, EXPORT).post(EXPORT_URL, {"which": "kmeans:", "format": "csv"})
    finally:
        for _ in range(taken):
            slots.release()

    assert "try again soon" in response.content.decode()


def test_without_a_version_there_is_nothing_to_export(db: None) -> None:
    page = staff(VIEW, EXPORT).get(EXPORT_URL).content.decode()

    assert "No version serves yet" in page


@pytest.mark.parametrize("permissions", [(), (VIEW,), (EXPORT,), (VIEW, IMPORT, DELETE)])
def test_exporting_needs_its_permission(
    trained: TrainedModels, permissions: tuple[str, ...]
) -> None:
    client = staff(*permissions)
    before = last_entry_id()

    assert client.get(EXPORT_URL).status_code == 403
    sent = client.post(EXPORT_URL, {"which": "kmeans:", "format": "csv"})
    assert sent.status_code == 403
    assert {entry.action for entry in entries_after(before)} == {"admin.refused"}


@pytest.mark.parametrize("customer_id", ["a_2Bb", "a+b", "_5Fq", "a/b", "x?y#z", "<b>", "ü %2F"])
def test_the_pages_of_a_customer_lead_to_that_customer_alone(
    trained: TrainedModels, customer_id: str
) -> None:
    """The admin writes `+` in an address as `_2B`, which an id may hold itself."""
    store("a_2Bb", "a+b", customer_id)
    client = staff(VIEW, DELETE)
    found = client.get(LIST_URL, {"q": customer_id}).content.decode()
    links = re.findall(r'href="([^"]+/change/[^"]*)"', found)

    page = client.get(unescape(links[0])).content.decode()
    (erase,) = re.findall(r'href="([^"]+/delete/)"', page)
    asked = client.get(unescape(erase)).content.decode()
    (back,) = re.findall(r'href="([^"]+/change/)"[^>]*>Back to the customer', asked)
    client.post(unescape(erase), {"post": "yes"})

    assert f"Erase customer {escape(customer_id)}" in asked
    assert f"Customer {escape(customer_id)}" in page
    assert unescape(back) == unescape(links[0]).partition("?")[0]
    left = {"a_2Bb", "a+b"} - {customer_id}
    assert set(Customer.objects.filter(pk__in=[customer_id, *left]).values_list("pk")) == {
        (key,) for key in left
    }
