"""`POST /monitor/drift`: a stored report with one verdict, or one stated refusal."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from django.utils.module_loading import import_string

from monitoring.mail import mail_stored_report
from monitoring.models import DriftReport
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


def test_drift_queues_the_mail_and_the_worker_sends_it_once(
    trained: TrainedModels,
    api: Client,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    mailoutbox: list[Any],
    django_capture_on_commit_callbacks: Any,
) -> None:
    queued: list[tuple[Any, ...]] = []
    monkeypatch.setattr("monitoring.mail.async_task", lambda *args: queued.append(args))
    settings.EMAIL_HOST, settings.ALERT_EMAIL = "mail.example.com", "team@example.com"
    changed = [record | {"orders": record["orders"] * 3 + 5} for record in others(200)]

    with django_capture_on_commit_callbacks(execute=True):
        body = post(api, changed).json()

    assert queued == [("monitoring.mail.mail_stored_report", body["id"])]
    assert mailoutbox == []
    assert import_string(queued[0][0]) is mail_stored_report
    assert mail_stored_report(body["id"]) and mail_stored_report(body["id"])
    assert [(mail.subject, mail.to) for mail in mailoutbox] == [
        ("Drift: kmeans 1", ["team@example.com"])
    ]
    assert DriftReport.objects.get(pk=body["id"]).mailed_at is not None


@pytest.mark.parametrize(("n_current", "verdict"), [(200, "ok"), (5, "insufficient_data")])
def test_without_drift_no_mail_is_queued(
    trained: TrainedModels,
    api: Client,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: Any,
    n_current: int,
    verdict: str,
) -> None:
    queued: list[tuple[Any, ...]] = []
    monkeypatch.setattr("monitoring.mail.async_task", lambda *args: queued.append(args))

    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        body = post(api, others(n_current)).json()

    assert body["verdict"] == verdict
    assert (queued, callbacks) == ([], [])


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
