"""How drift reports, quality and model status are asked for and shown over the API."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from access.choices import Choice
from access.pagination import LimitQuery, PageQuery
from modelregistry.models import ModelType
from monitoring.models import DriftInput, DriftReport, Source, Verdict
from monitoring.serializers_status import QualityPointSerializer
from segments.serializers import ACTIVE


class DriftQuery(serializers.Serializer):
    model_type = Choice(choices=ModelType.choices, required=False, default=ModelType.KMEANS)


class DriftReportsQuery(PageQuery):
    model_type = Choice(choices=ModelType.choices, required=False)
    verdict = Choice(choices=Verdict.choices, required=False)
    source = Choice(choices=Source.choices, required=False)  # type: ignore[assignment]  # the declared field, not DRF's argument
    since = serializers.DateTimeField(required=False, help_text="Inclusive.")
    until = serializers.DateTimeField(required=False, help_text="Exclusive.")


REPORT_HEAD = [
    "id",
    "model_type",
    "version",
    "verdict",
    "summary",
    "source",
    "since",
    "threshold",
    "n_reference",
    "n_seen",
    "n_current",
    "created_at",
    "created_by",
]
"""What a report says in short."""


class DriftReportRowSerializer(serializers.ModelSerializer[DriftReport]):
    """A report without the statistics behind it; the surest finding comes first."""

    version = serializers.IntegerField(source="version.number")
    findings = serializers.SerializerMethodField()

    class Meta:
        model = DriftReport
        fields = [*REPORT_HEAD, "findings"]

    def get_findings(self, report: Any) -> list[str]:
        """A sentence for each check that shows drift."""
        return [finding["sentence"] for finding in report.findings]


class DriftReportsPage(serializers.Serializer):
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = DriftReportRowSerializer(many=True)


class DriftReportSerializer(serializers.ModelSerializer[DriftReport]):
    """The verdict in one field and one sentence; `report` holds every statistic behind it.

    `n_current` of the `n_seen` customers were compared, stored ones only from `since` on. `alerts`
    are the ids of the alerts it is behind. `can_be_recomputed` says whether all the customers it
    compared are still kept.
    """

    version = serializers.IntegerField(source="version.number")
    report = serializers.DictField()
    alerts = serializers.SerializerMethodField()
    can_be_recomputed = serializers.SerializerMethodField()

    class Meta:
        model = DriftReport
        fields = [*REPORT_HEAD, "alerts", "can_be_recomputed", "report"]

    def get_alerts(self, report: DriftReport) -> list[int]:
        return list(report.alerts.order_by("id").values_list("id", flat=True))

    def get_can_be_recomputed(self, report: DriftReport) -> bool:
        return DriftInput.objects.filter(report=report, n_erased=0).exists()


class QualityQuery(LimitQuery):
    version = serializers.RegexField(
        r"^(active|[1-9][0-9]{0,8})$",
        required=False,
        default=ACTIVE,
        help_text="active, or a version's number.",
    )


class QualitySeriesSerializer(serializers.Serializer):
    """Training first, then the latest checks, oldest first."""

    model_type = serializers.ChoiceField(choices=ModelType.choices)
    version = serializers.IntegerField()
    points = QualityPointSerializer(many=True)
