"""Calls every operation through the Python client that was generated from `/schema`.

Run as `python python_client.py ADDRESS KEY` beside the generated package; prints the requests made
as JSON. Type-checked with mypy --strict first.
"""

from __future__ import annotations

import datetime
import json
import sys
from typing import Any, TypeVar

import httpx
from segmentation_client import AuthenticatedClient
from segmentation_client.api.audit import audit_logs
from segmentation_client.api.auth import auth_token
from segmentation_client.api.customers import erase_customer, read_customer, store_customers
from segmentation_client.api.jobs import cancel_job, job, retry_job
from segmentation_client.api.metrics import metrics
from segmentation_client.api.model import model_status
from segmentation_client.api.models import (
    activate_model_version,
    compare_model_versions,
    model_version,
    models,
    roll_back_model,
    train,
)
from segmentation_client.api.monitor import (
    acknowledge_alert,
    alert,
    alerts,
    drift_report,
    drift_reports,
    monitor_drift,
    quality,
    resolve_alert,
    silence_alert,
    unsilence_alert,
)
from segmentation_client.api.predict import predict
from segmentation_client.api.segments import (
    segment_changes,
    segment_profiles,
    segments,
    segments_export,
)
from segmentation_client.api.service import healthz, readyz, service
from segmentation_client.models import (
    ActivateBodyRequest,
    Activation,
    AlertDetail,
    AlertsPage,
    Alive,
    AuditPage,
    ChangesPage,
    Comparison,
    Customer,
    CustomerRecord,
    DriftReport,
    DriftReportsPage,
    IdentifiedRecord,
    Job,
    Models,
    ModelTypeEnum,
    NoteBodyRequest,
    Predictions,
    Problem,
    Profiles,
    QualitySeries,
    Readiness,
    Receipt,
    RollBackBodyRequest,
    SegmentsPage,
    Service,
    SilenceBodyRequest,
    Status,
    Stored,
    Token,
    TokenBodyRequest,
    TrainBodyRequest,
    TrainBodyRequestParameters,
    VersionDetail,
)
from segmentation_client.models.scopes_enum import ScopesEnum
from segmentation_client.models.segments_export_format import SegmentsExportFormat
from segmentation_client.types import Response

T = TypeVar("T")
requested: list[str] = []
RECORD: dict[str, Any] = {"signed_up_on": "2024-05-02", "age": 41, "recency_days": 12,
    "orders": 18, "total_spend": 1450.0, "average_basket": 80.5, "returns_share": 0.05,
    "discount_share": 0.1, "newsletter": True, "channel": "web", "region": "North"}  # fmt: skip


def good(response: Response[Any], kind: type[T]) -> T:
    """The parsed answer, which is of the documented kind and no problem."""
    assert isinstance(response.parsed, kind), response.content[:500]
    return response.parsed


def note(request: httpx.Request) -> None:
    requested.append(f"{request.method} {request.url.path}")


def main(address: str, key: str) -> None:
    client = AuthenticatedClient(
        base_url=address,
        token=key,
        auth_header_name="X-API-Key",
        prefix="",
        raise_on_unexpected_status=True,
        httpx_args={"event_hooks": {"request": [note]}},
    )
    kmeans, dbscan = ModelTypeEnum.KMEANS, ModelTypeEnum.DBSCAN

    assert good(service.sync_detailed(client=client), Service).status == "ok"
    good(healthz.sync_detailed(client=client), Alive)
    good(readyz.sync_detailed(client=client), Readiness)
    token = good(
        auth_token.sync_detailed(
            client=client, body=TokenBodyRequest(scopes=[ScopesEnum.MODELSREAD])
        ),
        Token,
    )
    bearer = AuthenticatedClient(base_url=address, token=token.access_token)
    assert len(good(models.sync_detailed(client=bearer), Models).models) == 2
    good(models.sync_detailed(client=client), Models)

    status = good(model_status.sync_detailed(kmeans, client=client), Status)
    number = status.active.version
    good(model_version.sync_detailed(kmeans, number, client=client), VersionDetail)
    comparison = good(
        compare_model_versions.sync_detailed(kmeans, number + 1, client=client), Comparison
    )
    assert comparison.before == number
    activated = good(
        activate_model_version.sync_detailed(
            kmeans, number + 1, client=client, body=ActivateBodyRequest(reason="new", force=True)
        ),
        Activation,
    )
    back = good(
        roll_back_model.sync_detailed(
            kmeans, client=client, body=RollBackBodyRequest(reason="back", version=number)
        ),
        Activation,
    )
    assert (back.version, back.replaced_version) == (number, activated.version)
    parameters = TrainBodyRequestParameters(eps=1.5)
    queued = good(
        train.sync_detailed(dbscan, client=client, body=TrainBodyRequest(parameters=parameters)),
        Job,
    )
    good(job.sync_detailed(queued.id, client=client), Job)
    good(cancel_job.sync_detailed(queued.id, client=client), Job)
    again = good(retry_job.sync_detailed(queued.id, client=client, idempotency_key="once"), Job)
    same = good(retry_job.sync_detailed(queued.id, client=client, idempotency_key="once"), Job)
    assert again.id == same.id
    good(cancel_job.sync_detailed(again.id, client=client), Job)

    customer = CustomerRecord(customer_id="python-1")
    customer.additional_properties = dict(RECORD)
    predicted = good(
        predict.sync_detailed(kmeans, client=client, body=[customer], explain=True), Predictions
    )
    assert predicted.predictions[0].customer_id == "python-1"
    identified = IdentifiedRecord(customer_id="python-1")
    identified.additional_properties = {"orders": 19}
    stored = good(store_customers.sync_detailed(client=client, body=[identified]), Stored)
    assert stored.n_updated == 1
    known = good(read_customer.sync_detailed("python-1", client=client), Customer)
    assert known.customer_id == "python-1"
    good(erase_customer.sync_detailed("python-1", client=client), Receipt)
    page = good(segments.sync_detailed(kmeans, client=client, limit=5), SegmentsPage)
    assert len(page.results) == 5
    good(segment_profiles.sync_detailed(kmeans, client=client), Profiles)
    good(segment_changes.sync_detailed(kmeans, client=client), ChangesPage)
    table = good(
        segments_export.sync_detailed(kmeans, client=client, format_=SegmentsExportFormat.CSV), str
    )
    assert table.startswith("customer_id,")

    report = good(
        monitor_drift.sync_detailed(client=client, body=[customer]),
        DriftReport,
    )
    good(drift_reports.sync_detailed(client=client), DriftReportsPage)
    good(drift_report.sync_detailed(report.id, client=client), DriftReport)
    good(quality.sync_detailed(kmeans, client=client), QualitySeries)
    first, *_ = good(alerts.sync_detailed(client=client), AlertsPage).results
    good(alert.sync_detailed(first.id, client=client), AlertDetail)
    seen = NoteBodyRequest(note="seen")
    good(acknowledge_alert.sync_detailed(first.id, client=client, body=seen), AlertDetail)
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    good(
        silence_alert.sync_detailed(first.id, client=client, body=SilenceBodyRequest(until=until)),
        AlertDetail,
    )
    good(unsilence_alert.sync_detailed(first.id, client=client, body=seen), AlertDetail)
    good(resolve_alert.sync_detailed(first.id, client=client, body=seen), AlertDetail)
    assert good(alert.sync_detailed(first.id, client=client), AlertDetail).state == "resolved"
    assert "segmentation_" in good(metrics.sync_detailed(client=client), str)
    assert good(audit_logs.sync_detailed(client=client), AuditPage).results
    refused = good(model_version.sync_detailed(kmeans, 999, client=client), Problem)
    assert refused.code == "not-found"
    print(json.dumps(requested))


if __name__ == "__main__":
    main(*sys.argv[1:])
