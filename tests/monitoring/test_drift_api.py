"""`POST /monitor/drift`: a stored report with one verdict, or one stated refusal."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from audit.models import AuditEntry
from monitoring.models import Alert, DriftReport, Notification
from segments.models import Assignment, Customer
from tests.bad_input import BAD_BODIES, BAD_FEATURES, BadBody
from tests.expectations import errors_of, one_entry, problem_of
from tests.factories import TrainedModels, make_records

JSON = "application/json"


def post(client: Client, body: Any = None, query: str = "") -> Any:
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body)
    return client.generic("POST", f"/monitor/drift{query}", content, content_type=JSON)


def others(n: int, **changes: Any) -> list[dict[str, Any]]:
    """Customers of the same shop who were not there at training."""
    return [record | changes for record in make_records(n_customers=n, random_state=99)]


@pytest.mark.parametrize("model_type", ["kmeans", "dbscan"])
def test_customers_of_the_same_shop_have_not_drifted(
    trained: TrainedModels, api: Client, model_type: str
) -> None:
    with one_entry(
        action="drift.checked", outcome="succeeded", n_items=200, target_type="drift_report"
    ) as entries:
        response = post(api, others(200), f"?model_type={model_type}")

    body = response.json()
    assert response.status_code == 200
    assert (body["verdict"], body["model_type"], body["version"]) == ("ok", model_type, 1)
    assert (body["n_reference"], body["n_current"], body["threshold"]) == (300, 200, 0.05)
    stored = DriftReport.objects.get(pk=body["id"])
    assert (stored.verdict, stored.source, stored.report) == ("ok", "request", body["report"])
    assert entries[0].target_id == str(stored.pk)
    assert entries[0].request_id == response.headers["X-Request-ID"]


def test_doubled_orders_are_drift_and_the_report_names_them(
    trained: TrainedModels, api: Client
) -> None:
    changed = [record | {"orders": record["orders"] * 3 + 5} for record in others(200)]

    body = post(api, changed).json()

    assert body["verdict"] == "drift"
    assert "orders" in {finding["feature"] for finding in body["report"]["findings"]}
    assert {row["segment"] for row in body["report"]["segments"]} <= {
        None, *trained.kmeans.segments.values_list("segment_id", flat=True)
    }  # fmt: skip


def test_drift_raises_an_alert_and_queues_its_mail_with_the_report(
    trained: TrainedModels, api: Client, settings: Any, mailoutbox: list[Any]
) -> None:
    settings.EMAIL_HOST, settings.ALERT_EMAIL = "mail.example.com", "team@example.com"
    changed = [record | {"orders": record["orders"] * 3 + 5} for record in others(200)]

    body = post(api, changed).json()

    alert = Alert.objects.get(pk=body["alerts"][0])
    assert (alert.state, alert.report_id, alert.version) == ("firing", body["id"], trained.kmeans)
    assert "orders" in alert.subjects
    message = alert.notifications.get()
    assert (message.channel, message.state, message.recipient) == (
        "mail", "queued", "team@example.com"
    )  # fmt: skip
    assert mailoutbox == []
    actions = AuditEntry.objects.filter(actor_kind="api_key").values_list("action", flat=True)
    assert set(actions) == {"drift.checked", "alert.raised", "alert.fired"}


def test_what_cannot_be_recorded_leaves_neither_report_nor_alert_nor_mail(
    trained: TrainedModels, api: Client, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.EMAIL_HOST, settings.ALERT_EMAIL = "mail.example.com", "team@example.com"
    changed = [record | {"orders": record["orders"] * 3 + 5} for record in others(200)]

    def out_of_order(**given: Any) -> None:
        raise OperationalError("disk I/O error")

    monkeypatch.setattr("monitoring.outbox.queue_digest", out_of_order)

    with one_entry(action="drift.checked", outcome="failed", status_code=503):
        response = post(api, changed)

    problem_of(response, status=503, code="busy")
    assert not DriftReport.objects.exists()
    assert not Alert.objects.exists()
    assert not Notification.objects.exists()


@pytest.mark.parametrize(("n_current", "verdict"), [(200, "ok"), (5, "insufficient_data")])
def test_without_drift_nobody_is_told(
    trained: TrainedModels, api: Client, settings: Any, n_current: int, verdict: str
) -> None:
    settings.EMAIL_HOST, settings.ALERT_EMAIL = "mail.example.com", "team@example.com"

    body = post(api, others(n_current)).json()

    assert (body["verdict"], body["alerts"]) == (verdict, [])
    assert not Notification.objects.exists()


def test_few_customers_are_insufficient_data(trained: TrainedModels, api: Client) -> None:
    assert post(api, others(5)).json()["verdict"] == "insufficient_data"


def test_without_a_body_the_stored_customers_are_compared(
    trained: TrainedModels, api: Client
) -> None:
    body = post(api).json()

    assert (body["source"], body["n_current"], body["verdict"]) == ("stored", 300, "ok")


def test_without_a_body_only_recent_customers_are_compared(
    trained: TrainedModels, api: Client
) -> None:
    Customer.objects.update(updated_at=timezone.now() - timedelta(days=3))

    body = post(api).json()

    assert (body["n_current"], body["verdict"]) == (0, "insufficient_data")


def test_current_customers_are_neither_stored_nor_assigned(
    trained: TrainedModels, api: Client
) -> None:
    current = [record | {"customer_id": f"x{record['customer_id']}"} for record in others(60)]

    post(api, current)

    assert Customer.objects.count() == Assignment.objects.filter(version=trained.kmeans).count()
    assert not Customer.objects.filter(customer_id__startswith="x").exists()


@pytest.mark.parametrize("case", BAD_BODIES, ids=lambda case: case.name)
def test_a_bad_body_is_refused_whole_and_never_echoed(
    trained: TrainedModels, api: Client, case: BadBody
) -> None:
    with one_entry(action="drift.checked", outcome="refused", status_code=400) as entries:
        response = post(api, case.body(trained.records[0]))

    answer = problem_of(response, status=400, code=case.code)
    if case.errors:
        assert errors_of(answer) == list(case.errors)
    assert case.value not in response.text
    assert case.value not in entries[0].details
    assert not DriftReport.objects.exists()


@pytest.mark.parametrize("case", BAD_FEATURES, ids=lambda case: case.name)
def test_a_value_of_the_wrong_kind_is_a_signal_and_not_an_error(
    trained: TrainedModels, api: Client, case: BadBody
) -> None:
    response = post(api, case.body(trained.records[0]))

    assert response.status_code == 200
    assert response.json()["verdict"] == "insufficient_data"


def test_customers_without_most_of_the_features_are_refused_and_these_named(
    trained: TrainedModels, api: Client
) -> None:
    body = [{"customer_id": f"C{n}", "voltage": n} for n in range(60)]

    with one_entry(action="drift.checked", outcome="refused", status_code=400):
        response = post(api, body)

    answer = problem_of(response, status=400, code="invalid-records")
    names = [feature["name"] for feature in trained.kmeans.schema["features"]]
    assert answer["errors_total"] == len(names)
    assert [error["detail"] for error in answer["errors"]] == [
        f"no customer has {n}" for n in names
    ]
    assert {(error["pointer"], error["code"]) for error in answer["errors"]} == {
        ("#", "missing-feature")
    }
    assert not DriftReport.objects.exists()


def test_half_of_the_features_are_enough_to_compare(trained: TrainedModels, api: Client) -> None:
    names = [feature["name"] for feature in trained.kmeans.schema["features"]]
    kept = names[: -(-len(names) // 2)]

    def answer(n_kept: int) -> int:
        body = [{name: record[name] for name in kept[:n_kept]} for record in others(60)]
        return int(post(api, body).status_code)

    assert answer(len(kept)) == 200
    assert answer(len(kept) - 1) == 400


def test_a_feature_that_is_named_and_empty_is_no_wrong_column(
    trained: TrainedModels, api: Client
) -> None:
    names = [feature["name"] for feature in trained.kmeans.schema["features"]]

    body = post(api, [dict.fromkeys(names)] * 60).json()

    assert body["verdict"] == "drift"


@pytest.mark.parametrize(
    "query", ["?model_type=lda", "?model_type=", "?type=kmeans", "?model_type=kmeans%00"]
)
def test_a_query_that_makes_no_sense_is_refused(
    trained: TrainedModels, api: Client, query: str
) -> None:
    with one_entry(action="drift.checked", outcome="refused", status_code=400):
        response = post(api, others(60), query)

    problem_of(response, status=400, code="invalid-parameter")
    assert not DriftReport.objects.exists()


@pytest.mark.parametrize("content_type", ["text/csv", "application/json; charset=latin-1"])
def test_any_body_but_json_in_utf_8_is_a_415(
    trained: TrainedModels, api: Client, content_type: str
) -> None:
    response = api.generic("POST", "/monitor/drift", b"[]", content_type=content_type)

    problem_of(response, status=415, code="unsupported-media-type")


def test_without_an_active_version_the_answer_is_503(db: None, api: Client) -> None:
    with one_entry(action="drift.checked", outcome="failed", status_code=503):
        response = post(api, others(60))

    problem_of(response, status=503, code="no-active-version")
