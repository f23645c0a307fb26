"""Drift and quality over the API: a check, the reports and series of past ones, the status."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from access.api import ApiView
from access.pagination import KeysetPagination
from access.schema import documented
from access.scopes import Scope
from ml.records import check_records
from monitoring.current_customers import of_records
from monitoring.drift_check import AUDIT_ACTION, CheckTerms, check_drift
from monitoring.models import DriftReport
from monitoring.performance import series
from monitoring.serializers import (
    DriftQuery,
    DriftReportRowSerializer,
    DriftReportSerializer,
    DriftReportsPage,
    DriftReportsQuery,
    QualityQuery,
    QualitySeriesSerializer,
)
from monitoring.serializers_status import StatusSerializer
from monitoring.status import status_of
from segments.serializers import customers_body
from segments.views import asked_version

REPORT_ID = re.compile(r"^[0-9]{1,18}$")


class DriftView(ApiView):
    """Past reports to read, and a check to run: one address, a scope and an action for each."""

    scope = Scope.DRIFT_READ
    audit_action = "drift.listed"
    query_serializer_class: type[serializers.Serializer] = DriftReportsQuery

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if request.method == "POST":
            self.scope, self.audit_action = Scope.DRIFT_RUN, AUDIT_ACTION
            self.query_serializer_class = DriftQuery
        super().initial(request, *args, **kwargs)

    @extend_schema(
        summary="List drift reports",
        description="The latest first, without the statistics behind each.",
        parameters=[DriftReportsQuery],
        responses=documented(DriftReportsPage),
        operation_id="drift_reports",
    )
    def get(self, request: Request) -> Response:
        filters = {
            "model_type": "model_type",
            "verdict": "verdict",
            "source": "source",
            "since": "created_at__gte",
            "until": "created_at__lt",
        }
        reports = DriftReport.objects.in_short()
        for parameter, lookup in filters.items():
            if parameter in self.query:
                reports = reports.filter(**{lookup: self.query[parameter]})
        pages = KeysetPagination("-id", REPORT_ID)
        page = pages.paginate_queryset(reports, request, view=self) or []
        self.n_items = len(page)
        return Response(pages.envelope(list(DriftReportRowSerializer(page, many=True).data)))

    @extend_schema(
        summary="Compare current customers with the reference",
        description=(
            "A JSON list of current customers, or no body: then the customers stored or changed "
            "in the last interval, or since the last check of stored customers if that is longer "
            "ago, are compared. Raises and resolves alerts, which are told of a little later; the "
            "answer waits for no mail."
        ),
        parameters=[DriftQuery],
        request=customers_body(),
        responses=documented(DriftReportSerializer, 415),
        operation_id="monitor_drift",
    )
    def post(self, request: Request) -> Response:
        has_body = request.META.get("CONTENT_LENGTH") not in (None, "", "0")
        customers = None
        if has_body:
            customers = of_records(check_records(request.data, max_records=settings.MAX_RECORDS))
        report = check_drift(
            self.query["model_type"],
            customers,
            terms=CheckTerms.of(settings),
            by=self.actor,
            at=timezone.now(),
        )
        return Response(DriftReportSerializer(report).data)


class DriftReportView(ApiView):
    scope = Scope.DRIFT_READ
    audit_action = "drift.read"

    @extend_schema(
        summary="One drift report with every statistic",
        responses=documented(DriftReportSerializer, 404),
        operation_id="drift_report",
    )
    def get(self, request: Request, report_id: int) -> Response:
        self.audit_target = ("drift_report", report_id)
        report = DriftReport.objects.select_related("version").filter(pk=report_id).first()
        if report is None:
            raise NotFound(f"There is no drift report {report_id}.")
        return Response(DriftReportSerializer(report).data)


class QualityView(ApiView):
    scope = Scope.MODELS_READ
    audit_action = "quality.read"
    query_serializer_class = QualityQuery

    @extend_schema(
        summary="How well a version segments customers, check by check",
        description=(
            "Training, and a point of each check of the schedule and of `check_drift`; `limit` "
            "counts checks."
        ),
        parameters=[QualityQuery],
        responses=documented(QualitySeriesSerializer, 404),
        operation_id="quality",
    )
    def get(self, request: Request, model_type: str) -> Response:
        version = asked_version(model_type, self.query["version"])
        self.audit_target = ("model_version", str(version))
        points = series(version, limit=self.query["limit"])
        self.n_items = len(points)
        answer = {"model_type": model_type, "version": version.number, "points": points}
        return Response(QualitySeriesSerializer(answer).data)


class StatusView(ApiView):
    scope = Scope.MODELS_READ
    audit_action = "model.status_read"

    @extend_schema(
        summary="How a model does",
        responses=documented(StatusSerializer, 404),
        operation_id="model_status",
    )
    def get(self, request: Request, model_type: str) -> Response:
        now = timezone.now()
        status = status_of(model_type, since=now - timedelta(hours=24), at=now)
        return Response(StatusSerializer(status).data)
