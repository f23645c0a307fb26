"""`GET /segments/{model_type}/changes`: the net moves since a moment, whatever moved customers."""

from __future__ import annotations

import json
import random
from base64 import b64encode
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import numpy as np
import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from ml.clusterers import Prediction
from modelregistry import activation
from modelregistry.activation import Move, pointer_of
from modelregistry.models import Activation, ModelVersion
from monitoring.drift_check import CheckTerms
from segmentation_project.management.commands.monitor import Monitor
from segments import assignment
from segments.assignment import SegmentLabels, assign_stored_customers, write_assignments
from segments.changes import OutOfReach, changes_since, forget_changes
from segments.customers import upsert_customers
from segments.models import Assignment, AssignmentChange, ChangeHistory, Customer
from tests.expectations import errors_of, one_entry, problem_of
from tests.factories import BY, TrainedModels, make_version

HOUR = timedelta(hours=1)
Row = dict[str, Any]


@pytest.fixture(scope="module")
def second(trained_once: TrainedModels, django_db_blocker: Any) -> ModelVersion:
    """A candidate that divides the customers otherwise."""
    with django_db_blocker.unblock():
        return make_version(parameters={"n_clusters": 3})


def move(version: ModelVersion, key: str, cluster: int, *, at: datetime) -> None:
    """As if the customer's attributes had changed so that the version says this cluster."""
    customer = Customer.objects.get(pk=key)
    noise_has_a_status = version.model_type == "dbscan"
    prediction = Prediction(
        np.array([cluster]), np.array([1.0]), np.array([True]) if noise_has_a_status else None
    )
    labels = SegmentLabels.of(version)
    write_assignments(version.pk, [key], [customer.revision], prediction, labels, at=at)


def elsewhere(version: ModelVersion, key: str) -> tuple[int, int]:
    """A cluster that the customer is not in, and its segment."""
    now = Assignment.objects.get(version=version, customer=key).segment_id
    row = version.segments.exclude(segment_id=now).order_by("cluster").first()
    assert row is not None
    return row.cluster, row.segment_id


def serve(version: ModelVersion, *, at: datetime) -> None:
    generation = pointer_of(version.model_type).generation
    activation.move_pointer(Move(version, generation, "test", forced=False), by=BY, at=at)


def moment(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def changes(client: Client, model_type: str = "kmeans", **query: Any) -> Row:
    response = client.get(f"/segments/{model_type}/changes", query)
    assert response.status_code == 200, response.content
    body: Row = response.json()
    return body


def serving(version: ModelVersion) -> dict[str, int | None]:
    return dict(Assignment.objects.filter(version=version).values_list("customer", "segment"))


@pytest.mark.parametrize(
    "since", ["2026-11-23T16:08:00", "2026-11-23", "2026-11-23T16:08:00 01:00"]
)
def test_a_moment_without_its_zone_is_refused(
    trained: TrainedModels, api: Client, since: str
) -> None:
    answer = api.get("/segments/kmeans/changes", {"since": since})

    body = problem_of(answer, status=400, code="invalid-parameter")
    assert "with its zone" in body["errors"][0]["detail"]


def test_who_moved_is_listed_with_where_from_and_why(trained: TrainedModels, api: Client) -> None:
    key = trained.records[7]["customer_id"]
    since = timezone.now()
    before = (
        Assignment.objects.select_related("segment")
        .get(version=trained.kmeans, customer=key)
        .segment
    )
    assert before is not None
    cluster, after = elsewhere(trained.kmeans, key)
    at = timezone.now()
    move(trained.kmeans, key, cluster, at=at)

    with one_entry(
        action="segments.changes_read", outcome="succeeded", n_items=1,
        target_type="model_version", target_id="kmeans 1",
    ):  # fmt: skip
        body = changes(api, since=moment(since))

    names = dict(trained.kmeans.segments.values_list("segment_id", "segment__name"))
    assert body.pop("as_of") == moment(since)
    assert body == {
        "model_type": "kmeans",
        "version": 1,
        "version_then": 1,
        "since": moment(since),
        "next": None,
        "previous": None,
        "results": [
            {
                "customer_id": key,
                "from": {"segment": before.pk, "segment_name": before.name},
                "to": {"segment": after, "segment_name": names[after]},
                "at": moment(at),
                "cause": "attributes_changed",
            }
        ],
    }


def test_who_left_and_came_back_is_not_listed(trained: TrainedModels, api: Client) -> None:
    key = trained.records[0]["customer_id"]
    start = timezone.now() - 3 * HOUR
    ChangeHistory.objects.update(kept_since=start)
    Activation.objects.update(activated_at=start)
    home = Assignment.objects.get(version=trained.kmeans, customer=key).segment_id
    cluster_of = {row.segment_id: row.cluster for row in trained.kmeans.segments.all()}
    away, _ = elsewhere(trained.kmeans, key)
    move(trained.kmeans, key, away, at=start + HOUR)
    move(trained.kmeans, key, cluster_of[home], at=start + 2 * HOUR)

    whole = changes(api, since=moment(start))["results"]
    from_between = changes(api, since=moment(start + 1.5 * HOUR))["results"]

    assert whole == []
    assert [(row["customer_id"], row["to"]["segment"]) for row in from_between] == [(key, home)]


def test_a_new_customer_comes_from_nowhere(trained: TrainedModels, api: Client) -> None:
    since = timezone.now()
    record = {**trained.records[0], "customer_id": "new"}
    answer = api.post("/predict/kmeans", json.dumps([record]), content_type="application/json")

    for model_type in ("kmeans", "dbscan"):  # stored by one, assigned to both
        (row,) = changes(api, model_type, since=moment(since))["results"]
        assert (row["customer_id"], row["from"], row["cause"]) == ("new", None, "new_customer")
    (row,) = changes(api, since=moment(since))["results"]
    assert row["to"]["segment"] == answer.json()["predictions"][0]["segment"]


def test_a_customer_assigned_late_is_not_called_new(trained: TrainedModels, api: Client) -> None:
    upsert_customers({"late": {"age": 30}}, at=timezone.now())
    since = timezone.now()
    move(trained.kmeans, "late", 0, at=timezone.now())

    (row,) = changes(api, since=moment(since))["results"]

    assert (row["from"], row["cause"]) == (None, "attributes_changed")


@pytest.mark.parametrize("n", [1, 300])
def test_nothing_is_kept_of_who_stays(trained: TrainedModels, api: Client, n: int) -> None:
    body = json.dumps(trained.records[:n])

    api.post("/predict/dbscan", body, content_type="application/json")

    assert not AssignmentChange.objects.exists()


def test_nothing_is_kept_of_a_version_that_never_served(
    trained: TrainedModels, second: ModelVersion
) -> None:
    key = trained.records[0]["customer_id"]

    move(second, key, elsewhere(second, key)[0], at=timezone.now())

    assert not AssignmentChange.objects.exists()


def test_a_guarded_write_that_does_not_happen_is_no_change(trained: TrainedModels) -> None:
    key = trained.records[0]["customer_id"]
    cluster, _ = elsewhere(trained.kmeans, key)
    Customer.objects.filter(pk=key).update(revision=5)
    prediction = Prediction(np.array([cluster]), np.array([1.0]))
    labels = SegmentLabels.of(trained.kmeans)

    write_assignments(trained.kmeans.pk, [key], [4], prediction, labels, at=timezone.now())

    assert not AssignmentChange.objects.exists()


def test_one_segment_lists_who_entered_and_who_left(trained: TrainedModels, api: Client) -> None:
    since = timezone.now()
    first, other = (row for row in trained.kmeans.segments.order_by("cluster")[:2])
    everybody = Assignment.objects.filter(version=trained.kmeans).order_by("customer_id")
    inside = everybody.filter(segment=first.segment)
    outside = everybody.exclude(segment__in=[first.segment, other.segment])
    leaver, comer, passer = (
        inside[0].customer_id, outside[0].customer_id, outside[1].customer_id
    )  # fmt: skip
    move(trained.kmeans, leaver, other.cluster, at=timezone.now())
    move(trained.kmeans, comer, first.cluster, at=timezone.now())
    move(trained.kmeans, passer, other.cluster, at=timezone.now())

    rows = changes(api, since=moment(since), segment=first.segment_id)["results"]

    assert {row["customer_id"] for row in rows} == {leaver, comer}


def test_noise_is_left_and_entered_like_a_segment(trained: TrainedModels, api: Client) -> None:
    since = timezone.now()
    lost = Assignment.objects.filter(version=trained.dbscan, segment=None).first()
    found = Assignment.objects.exclude(segment=None).filter(version=trained.dbscan).first()
    assert lost and found
    move(trained.dbscan, lost.customer_id, 0, at=timezone.now())
    move(trained.dbscan, found.customer_id, -1, at=timezone.now())

    rows = changes(api, "dbscan", since=moment(since), segment="noise")["results"]

    nowhere = {"segment": None, "segment_name": None}
    by_key = {row["customer_id"]: row for row in rows}
    assert by_key.keys() == {lost.customer_id, found.customer_id}
    assert by_key[lost.customer_id]["from"] == nowhere
    assert by_key[found.customer_id]["to"] == nowhere


def test_another_version_moves_whom_it_sees_otherwise(
    trained: TrainedModels, second: ModelVersion, api: Client
) -> None:
    since = timezone.now()
    before, after = serving(trained.kmeans), serving(second)
    at = timezone.now()
    serve(second, at=at)

    body = changes(api, since=moment(since), limit=1000)

    assert (body["version"], body["version_then"]) == (2, 1)
    moved = {
        row["customer_id"]: (row["from"]["segment"], row["to"]["segment"])
        for row in body["results"]
    }
    assert moved == {key: (before[key], after[key]) for key in before if before[key] != after[key]}
    assert {(row["cause"], row["at"]) for row in body["results"]} == {("activation", moment(at))}

    serve(trained.kmeans, at=timezone.now())
    assert changes(api, since=moment(since))["results"] == []


def test_who_moved_in_between_is_said_to_have_changed(
    trained: TrainedModels, second: ModelVersion, api: Client
) -> None:
    since = timezone.now()
    clusters = dict(trained.kmeans.segments.values_list("segment_id", "cluster"))
    in_first, in_second = serving(trained.kmeans), serving(second)
    early = next(k for k, s in in_second.items() if s != in_first[k] and s in clusters)
    late = next(k for k, s in in_second.items() if s == in_first[k])
    early_at = timezone.now()
    move(trained.kmeans, early, clusters[in_second[early]], at=early_at)
    serve(second, at=timezone.now())
    late_at = timezone.now()
    move(second, late, elsewhere(second, late)[0], at=late_at)

    listed = changes(api, since=moment(since), limit=1000)["results"]

    told = {row["customer_id"]: (row["cause"], row["at"]) for row in listed}
    assert told[early] == ("attributes_changed", moment(early_at))
    assert told[late] == ("attributes_changed", moment(late_at))
    assert {cause for key, (cause, _) in told.items() if key not in (early, late)} == {"activation"}


def test_before_anything_served_everybody_comes_from_nowhere(
    trained: TrainedModels, api: Client
) -> None:
    since = timezone.now() - HOUR
    ChangeHistory.objects.update(kept_since=since)
    Customer.objects.update(created_at=since - HOUR)

    body = changes(api, since=moment(since), limit=1000)

    assert body["version_then"] is None
    assert len(body["results"]) == 300
    assert {(row["from"], row["cause"]) for row in body["results"]} == {(None, "activation")}


@pytest.mark.parametrize("limit", [1, 7, 40, 1000])
def test_the_pages_hold_each_change_once_and_lead_back(
    trained: TrainedModels, second: ModelVersion, api: Client, limit: int
) -> None:
    since = timezone.now()
    serve(second, at=timezone.now())
    whole = changes(api, since=moment(since), limit=1000)["results"]
    pages = []
    url = f"/segments/kmeans/changes?since={moment(since)}&limit={limit}"
    while url and len(pages) < 60:
        pages.append(api.get(url).json())
        url = pages[-1]["next"]

    listed = [row for page in pages for row in page["results"]]
    assert listed == whole[: len(listed)]
    assert len(listed) == min(len(whole), 60 * limit)
    assert [row["customer_id"] for row in whole] == sorted(row["customer_id"] for row in whole)
    if len(pages) > 1:
        assert api.get(pages[1]["previous"]).json()["results"] == pages[0]["results"]


def test_whatever_happened_the_net_change_is_that_of_two_snapshots(
    trained: TrainedModels, second: ModelVersion
) -> None:
    """Moves, versions going and coming, newcomers: each moment compared with the end."""
    start = timezone.now()
    draw = random.Random(5)
    versions = [trained.kmeans, second]
    keys = [record["customer_id"] for record in trained.records[:12]]
    clusters = {version: version.segments.count() for version in versions}
    active = trained.kmeans
    snapshots: dict[datetime, dict[str, int | None]] = {start: serving(active)}
    for step in range(1, 60):
        at = start + step * HOUR
        chance = draw.random()
        if chance < 0.15:
            active = versions[1 - versions.index(active)]
            for key in keys:  # as an activation does: nobody is left out
                if not Assignment.objects.filter(version=active, customer=key).exists():
                    move(active, key, 0, at=at - HOUR / 2)
            serve(active, at=at)
        elif chance < 0.3:
            keys.append(f"N-{step:03}")
            upsert_customers({keys[-1]: {"orders": 1}}, at=at)
            move(active, keys[-1], draw.randrange(clusters[active]), at=at)
        else:
            move(active, draw.choice(keys), draw.randrange(clusters[active]), at=at)
        snapshots[at] = serving(active)

    end = start + 100 * HOUR
    now = serving(active)
    for since, then in snapshots.items():
        found = changes_since("kmeans", since, at=end, default=HOUR)
        rows = {row["customer_id"]: row for row in found[0:1000]}
        assert {
            key: (row["from"] and row["from"]["segment"], row["to"]["segment"])
            for key, row in rows.items()
        } == {key: (then.get(key), now[key]) for key in now if then.get(key, "no") != now[key]}
        for key, row in rows.items():
            assert (row["cause"] == "new_customer") == (key not in then)
            assert since < row["at"] <= end
    assert AssignmentChange.objects.count() < 60


def test_nothing_is_missed_from_one_poll_to_the_next(trained: TrainedModels, api: Client) -> None:
    """What was written, but not yet committed, when the first poll came."""
    ChangeHistory.objects.update(kept_since=timezone.now() - HOUR)
    Activation.objects.update(activated_at=timezone.now() - HOUR)
    first = changes(api, since=moment(timezone.now() - HOUR / 2))
    key = trained.records[0]["customer_id"]
    move(
        trained.kmeans, key, elsewhere(trained.kmeans, key)[0],
        at=timezone.now() - timedelta(seconds=45),
    )  # fmt: skip

    again = changes(api, since=first["as_of"])

    assert [row["customer_id"] for row in again["results"]] == [key]
    assert again["as_of"] >= first["as_of"]


def test_without_a_moment_it_is_the_last_day_or_as_far_as_is_known(
    trained: TrainedModels, api: Client
) -> None:
    kept_since = ChangeHistory.objects.get().kept_since
    assert changes(api)["since"] == moment(kept_since)

    ChangeHistory.objects.update(kept_since=kept_since - 48 * HOUR)
    since = datetime.fromisoformat(changes(api)["since"])

    assert abs(timezone.now() - since - 24 * HOUR) < HOUR


def paged(api: Client, keys: list[str], version: ModelVersion) -> Row:
    """The first of several pages, asked for without a moment."""
    for key in keys:
        move(version, key, elsewhere(version, key)[0], at=timezone.now())
    return changes(api, limit=1)


def test_all_pages_are_of_the_moments_of_the_first(trained: TrainedModels, api: Client) -> None:
    ChangeHistory.objects.update(kept_since=timezone.now() - HOUR)
    keys = [record["customer_id"] for record in trained.records[:3]]
    first = paged(api, keys, trained.kmeans)
    ChangeHistory.objects.update(kept_since=timezone.now() - 2 * HOUR)

    second = api.get(first["next"]).json()
    third = api.get(second["next"]).json()

    sent = parse_qs(urlsplit(first["next"]).query)
    assert datetime.fromisoformat(sent["since"][0]) == datetime.fromisoformat(first["since"])
    pages = [first, second, third]
    assert {(page["since"], page["as_of"]) for page in pages} == {(first["since"], first["as_of"])}
    assert [page["results"][0]["customer_id"] for page in pages] == keys
    assert api.get(second["previous"]).json()["results"] == first["results"]
    alone = changes(api, cursor=sent["cursor"][0], limit=1)
    assert (alone["since"], alone["results"]) == (second["since"], second["results"])


def test_after_the_longest_id_there_is_a_page(trained: TrainedModels, api: Client) -> None:
    since = timezone.now()
    keys = {"\U0001f600" * 200, "\U0001f680" * 200}
    upsert_customers({key: {"orders": 1} for key in keys}, at=timezone.now())
    for key in keys:
        move(trained.kmeans, key, 0, at=timezone.now())

    first = changes(api, since=moment(since), limit=1)
    second = api.get(first["next"]).json()

    assert {page["results"][0]["customer_id"] for page in (first, second)} == keys


def test_a_page_of_another_version_is_refused(
    trained: TrainedModels, second: ModelVersion, api: Client
) -> None:
    keys = [record["customer_id"] for record in trained.records[:2]]
    first = paged(api, keys, trained.kmeans)
    serve(second, at=timezone.now())
    serve(trained.kmeans, at=timezone.now())

    with one_entry(action="segments.changes_read", outcome="refused", status_code=409):
        response = api.get(first["next"])

    body = problem_of(response, status=409, code="version-changed")
    assert "start again" in body["detail"]


def test_a_cursor_goes_with_its_own_moment_only(trained: TrainedModels, api: Client) -> None:
    keys = [record["customer_id"] for record in trained.records[:2]]
    sent = parse_qs(urlsplit(paged(api, keys, trained.kmeans)["next"]).query)
    query = {"cursor": sent["cursor"][0], "since": moment(timezone.now())}

    response = api.get("/segments/kmeans/changes", query)

    body = problem_of(response, status=400, code="invalid-parameter")
    assert errors_of(body) == [("#/cursor", "invalid-cursor")]


@pytest.mark.parametrize(
    "position",
    [
        "C-1",
        "x 2026-01-01T00:00:00+00:00 2026-01-01T00:00:00+00:00 C-1",
        "1 2026-01-01T00:00:00 2026-01-01T00:00:00 C-1",
        "1 2026-01-02T00:00:00+00:00 2026-01-01T00:00:00+00:00 C-1",
        "1 yesterday today C-1",
        "1 2026-01-01T00:00:00+00:00 9999-12-31T23:59:59-14:00 C-1",
    ],
)
def test_no_other_position_is_a_cursor(trained: TrainedModels, api: Client, position: str) -> None:
    cursor = b64encode(urlencode({"p": position}).encode()).decode()

    response = api.get("/segments/kmeans/changes", {"cursor": cursor})

    body = problem_of(response, status=400, code="invalid-parameter")
    assert errors_of(body) == [("#/cursor", "invalid-cursor")]


def earlier() -> str:
    return moment(ChangeHistory.objects.get().kept_since - timedelta(microseconds=1))


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"since": "yesterday"}, "invalid"),
        ({"since": "0001-01-01T00:00:00+14:00"}, "overflow"),
        ({"since": "9999-12-31T23:59:59Z"}, "out-of-range"),
        ({"since": earlier}, "out-of-range"),
        ({"segment": "x"}, "invalid"),
        ({"cursor": "x"}, "invalid-cursor"),
        ({"limit": "0"}, "out-of-range"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(
    trained: TrainedModels, api: Client, query: dict[str, Any], code: str
) -> None:
    sent = {name: value() if callable(value) else value for name, value in query.items()}

    with one_entry(action="segments.changes_read", outcome="refused", status_code=400):
        response = api.get("/segments/kmeans/changes", sent)

    body = problem_of(response, status=400, code="invalid-parameter")
    assert errors_of(body) == [(f"#/{next(iter(query))}", code)]


def test_old_changes_are_forgotten_and_no_longer_answered_for(
    trained: TrainedModels, api: Client
) -> None:
    now = timezone.now()
    start = now - 9 * HOUR
    ChangeHistory.objects.update(kept_since=start)
    Activation.objects.update(activated_at=start)
    first, second = (record["customer_id"] for record in trained.records[:2])
    move(trained.kmeans, first, elsewhere(trained.kmeans, first)[0], at=now - 8 * HOUR)
    move(trained.kmeans, second, elsewhere(trained.kmeans, second)[0], at=now - 2 * HOUR)

    assert forget_changes(before=now - 8.5 * HOUR, by=BY) == 0  # and what is whole stays whole
    assert ChangeHistory.objects.get().kept_since == start
    with one_entry(action="segments.changes_forgotten", n_items=1):
        assert forget_changes(before=now - 4 * HOUR, by=BY) == 1

    rows = changes(api, since=moment(now - 4 * HOUR))["results"]
    assert [row["customer_id"] for row in rows] == [second]
    with pytest.raises(OutOfReach):
        changes_since("kmeans", now - 5 * HOUR, at=now, default=HOUR)


def test_the_monitor_forgets_what_is_older_than_the_setting(
    trained: TrainedModels, settings: Any
) -> None:
    settings.CHANGES_KEPT_DAYS = 2
    now = timezone.now()
    ChangeHistory.objects.update(kept_since=now - 90 * HOUR)
    key = trained.records[0]["customer_id"]
    for hours in (49, 47):
        cluster, _ = elsewhere(trained.kmeans, key)
        move(trained.kmeans, key, cluster, at=now - hours * HOUR)

    Monitor(CheckTerms.of(settings)).thin(now)

    assert [row.changed_at for row in AssignmentChange.objects.all()] == [now - 47 * HOUR]
    assert ChangeHistory.objects.get().kept_since == now - 48 * HOUR


def test_nothing_is_left_of_an_erased_customer(trained: TrainedModels, api: Client) -> None:
    since = timezone.now()
    key = trained.records[0]["customer_id"]
    move(trained.kmeans, key, elsewhere(trained.kmeans, key)[0], at=timezone.now())

    Customer.objects.get(pk=key).delete()

    assert not AssignmentChange.objects.exists()
    assert changes(api, since=moment(since))["results"] == []


def test_a_page_takes_as_many_queries_whatever_is_on_it(
    trained: TrainedModels, second: ModelVersion, api: Client
) -> None:
    since = timezone.now()
    serve(second, at=timezone.now())
    counts = []
    for limit in (1, 200):
        with CaptureQueriesContext(connection) as queries:
            assert changes(api, since=moment(since), limit=limit)["results"]
        counts.append(len(queries))

    assert counts[0] == counts[1]


def test_an_activation_is_dated_when_it_happens(
    trained: TrainedModels, second: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poll between the request and the move would miss the move otherwise."""
    asked_at = timezone.now() - HOUR
    entry = assignment.activate(
        second, reason="test", by=BY, at=asked_at, directory=settings.MODEL_DIR, force=True
    )

    assert entry.activated_at > asked_at + HOUR / 2
    assert (
        assign_stored_customers(second, activation.load(second, directory=settings.MODEL_DIR)) == 0
    )


def test_without_an_active_version_the_answer_is_503(db: None, api: Client) -> None:
    problem_of(api.get("/segments/dbscan/changes"), status=503, code="no-active-version")
