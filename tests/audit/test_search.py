"""Looking for a phrase: what is found, and that the table is never read whole."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from audit import search
from audit.filters import LOOKUPS, matching, names_in
from audit.models import ActorKind, AuditEntry, Outcome
from audit.pages import BadCursor, Place, page_of, place_of
from audit.search import TooManyNames

pytestmark = pytest.mark.django_db
AT = datetime(2026, 1, 1, tzinfo=UTC)


def add(n: int = 1, *, at: datetime = AT, **fields: str) -> list[AuditEntry]:
    """Entries of one moment."""
    values = {"actor_kind": ActorKind.USER, "action": "tests.acted", "outcome": "succeeded"}
    entries = [AuditEntry(at=at, **values | fields) for _ in range(n)]
    for entry in entries:
        entry.insert()
    return entries


@pytest.fixture
def entries() -> None:
    add(actor_id="ann", actor_label="Ann Ångström", action="segment.renamed", target_id="7")
    add(actor_id="bob", actor_label="Bob", target_type="model_version", target_id="kmeans 3")
    add(actor_id="bob", actor_label="Robert", at=AT + timedelta(days=1), request_id="abc-1")
    add(actor_kind=ActorKind.ANONYMOUS, action="audit.read", outcome="refused")
    add(actor_kind=ActorKind.API_KEY, actor_label="Shop till")


@pytest.mark.parametrize(
    ("phrase", "n_found"),
    [
        ("ann", 1), ("ÅNGSTRÖM", 1), ("n å", 1), ("bob", 2), ("robert", 1), ("SEGMENT.", 1),
        ("till", 1),
        ("kmeans 3", 1), ("KMEANS 3", 1), ("kmeans", 0), ("abc-1", 1), ("abc", 0), ("read", 1),
        ("%", 0), ("_", 0), ("' OR 1=1 --", 0), ("nobody", 0), ("  ann ", 1),
    ],
)  # fmt: skip
def test_names_are_looked_into_and_ids_compared(entries: None, phrase: str, n_found: int) -> None:
    found = page_of(AuditEntry.objects.all(), size=10, phrase=phrase).entries

    assert len(found) == n_found


def test_a_former_name_is_found_however_many_entries_have_another(db: None) -> None:
    add(3, actor_id="ab12", actor_label="till")
    former = add(actor_id="ab12", actor_label="web shop", at=AT - timedelta(days=1))

    found = page_of(AuditEntry.objects.all(), size=10, phrase="Web").entries

    assert found == former


def test_an_entry_found_twice_is_shown_once(db: None) -> None:
    (entry,) = add(actor_id="erase", action="customer.erased", target_id="erase")

    page = page_of(AuditEntry.objects.all(), size=10, phrase="erase")

    assert page.entries == [entry]


def test_a_phrase_that_says_too_little_is_refused(
    entries: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MAX_NAMES", 2)

    with pytest.raises(TooManyNames, match="write more of it"):
        page_of(AuditEntry.objects.all(), size=10, phrase="e")


@pytest.mark.parametrize("phrase", ["", "bob"])
def test_pages_lead_there_and_back_though_entries_share_a_moment(phrase: str) -> None:
    added = add(3) + add(4, actor_id="bob") + add(2, at=AT + timedelta(1), actor_id="bob")
    entries = matching({})
    expected = [each for each in reversed(added) if not phrase or each.actor_id == phrase]

    pages = [page_of(entries, size=2, phrase=phrase)]
    while pages[-1].older is not None:
        pages.append(page_of(entries, size=2, place=pages[-1].older, phrase=phrase))
    back = [pages[-1]]
    while back[-1].newer is not None:
        back.append(page_of(entries, size=2, place=back[-1].newer, phrase=phrase))

    assert [each for page in pages for each in page.entries] == expected
    assert [page.entries for page in back] == [page.entries for page in reversed(pages)]


def test_a_cursor_names_its_place_and_its_filters() -> None:
    place = Place(AT + timedelta(microseconds=1), 2**63 - 1, is_newer=True)

    assert place_of(place.cursor("12345678"), "12345678") == place
    for cursor, filters in [
        (place.cursor("12345678"), "87654321"),
        (place.cursor("12345678")[:-4], "12345678"),
        (Place(AT, 2**63).cursor("12345678"), "12345678"),
        ("é", "12345678"),
        ("OTk5OTk5OTk5OTk5OTk5OTk5IDEgb2xkZXIgMTIzNDU2Nzg=", "12345678"),  # beyond year 9999
    ]:
        with pytest.raises(BadCursor):
            place_of(cursor, filters)


VALUES = {
    "actor": "bob",
    "actor_kind": "user",
    "action": "tests.acted",
    "target_type": "segment",
    "target": "7",
    "outcome": Outcome.REFUSED,
    "request_id": "abc-1",
    "since": AT,
    "until": AT,
}


def plan_of(statement: str, params: tuple[object, ...] = ()) -> str:
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(f"EXPLAIN QUERY PLAN {statement}", params)
            return "\n".join(row[3] for row in cursor.fetchall())
        cursor.execute("SET LOCAL enable_seqscan TO off")  # of a table as small as this one
        cursor.execute(f"EXPLAIN {statement}", params)
        return "\n".join(row[0] for row in cursor.fetchall())


@pytest.mark.parametrize("name", LOOKUPS)
def test_each_filter_reads_an_index_in_order(entries: None, name: str) -> None:
    """In order, but for entries of one moment: nothing is sorted that is not shown."""
    query = matching({name: VALUES[name]}).order_by("-at", "-id")[:50].query

    plan = plan_of(*query.sql_with_params())

    if connection.vendor == "sqlite":
        assert "USING INDEX audit_" in plan and "TEMP B-TREE" not in plan
    else:
        assert "Index" in plan and "Seq Scan" not in plan


@pytest.mark.parametrize(
    ("rare", "common"),
    [
        ({"target": "7"}, {"target_type": "segment", "action": "tests.acted"}),
        ({"action": "segment.renamed"}, {"actor": "ann", "target": "9", "actor_kind": "user"}),
        ({"actor": "bob"}, {"action": "audit.read", "outcome": "refused"}),
        ({"outcome": "refused"}, {"action": "tests.acted", "actor": "ann"}),
    ],
)
def test_of_several_filters_the_rarest_is_looked_up(
    rare: dict[str, str], common: dict[str, str]
) -> None:
    fields = {name: LOOKUPS[name] for name in (*rare, *common)}
    add(9, **{fields[name]: value for name, value in common.items()})
    add(1, **{fields[name]: value for name, value in rare.items()})
    both = add(1, **{fields[name]: value for name, value in (rare | common).items()})

    found = matching(rare | common).order_by("-at", "-id")

    assert list(found) == both
    (name,) = rare
    if connection.vendor == "sqlite":  # PostgreSQL knows by its statistics
        assert f"USING INDEX audit_by_{name} " in plan_of(*found.query.sql_with_params())


@pytest.mark.parametrize(
    ("column", "names"),
    [
        ("action", ["audit.read", "segment.renamed", "tests.acted"]),
        ("actor_label", ["Ann Ångström", "Bob", "Robert", "Shop till"]),
    ],
)
def test_the_names_are_stepped_through(entries: None, column: str, names: list[str]) -> None:
    with CaptureQueriesContext(connection) as queries:
        found = names_in(column)

    assert found == names
    plan = plan_of(queries[0]["sql"])
    assert "Seq Scan on audit" not in plan and f"audit_by_{column}" in plan


def test_a_search_asks_a_constant_number_of_queries(entries: None) -> None:
    for n_more in (0, 30):
        for number in range(n_more):
            add(actor_id=f"bob {number}")
        with CaptureQueriesContext(connection) as queries:
            page_of(AuditEntry.objects.all(), size=10, phrase="bob")
        assert len(queries) == 5
