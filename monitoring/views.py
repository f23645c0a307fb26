"""`POST /monitor/drift` and `GET /model/status/{model_type}`."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from access.api import ApiView
from access.schema import documented
from access.scopes import Scope
from ml.records import check_records
from monitoring.drift_check import check_drift, recent_records
from monitoring.mail import mail_later
from monitoring.models import Source, Verdict
from monitoring.serializers import DriftQuery, DriftReportSerializer, StatusSerializer
from monitoring.status import status_of
from segments.serializers import CustomerField


class DriftView(ApiView):
    scope = Scope.DRIFT_RUN
    audit_action = "drift.checked"
    query_serializer_class = DriftQuery

    @extend_schema(
        summary="Compare current customers with the reference",
        description=(
            "A JSON list of current customers, or no body: then the customers stored since the "
            "last MONITORING_INTERVAL hours are compared."
        ),
        parameters=[DriftQuery],
        request=serializers.ListSerializer(child=CustomerField(), min_length=1),
        responses=documented(DriftReportSerializer, 415),
        operation_id="monitor_drift",
    )
    def post(self, request: Request) -> Response:
        now = timezone.now()
        has_body = request.META.get("CONTENT_LENGTH") not in (None, "", "0")
        if has_body:
            records = check_records(request.data, max_records=settings.MAX_RECORDS)
        else:
            records = recent_records(now - timedelta(hours=settings.MONITORING_INTERVAL))
        report = check_drift(
            self.query["model_type"],
            records,
            source=Source.REQUEST if has_body else Source.STORED,
            threshold=settings.DRIFT_THRESHOLD,
            interval=timedelta(hours=settings.MONITORING_INTERVAL),
            directory=settings.MODEL_DIR,
            by=self.actor,
            at=now,
        )
        if report.verdict == Verdict.DRIFT:
            mail_later(report)
        return Response(DriftReportSerializer(report).data)


class StatusView(ApiView):
    scope = Scope.MODELS_READ
    audit_action = "model.status_read"

    @extend_schema(
        summary="How a model does",
        responses=documented(StatusSerializer, 404),
        operation_id="model_status",
    )
    def get(self, request: Request, model_type: str) -> Response:
        status = status_of(model_type, since=timezone.now() - timedelta(hours=24))
        return Response(StatusSerializer(status).data)
