"""How drift reports and model status are shown over the API."""

from __future__ import annotations

from rest_framework import serializers

from access.choices import Choice
from modelregistry.models import ModelType
from modelregistry.serializers import VersionSerializer
from monitoring.models import DriftReport
from segments.models import Fate


class DriftQuery(serializers.Serializer):
    model_type = Choice(choices=ModelType.choices, required=False, default=ModelType.KMEANS)


class DriftReportSerializer(serializers.ModelSerializer[DriftReport]):
    """The verdict in one field and one sentence; `report` holds every statistic behind it."""

    version = serializers.IntegerField(source="version.number")
    report = serializers.DictField()

    class Meta:
        model = DriftReport
        fields = [
            "id",
            "model_type",
            "version",
            "verdict",
            "summary",
            "source",
            "threshold",
            "n_reference",
            "n_current",
            "created_at",
            "report",
        ]


class LastDriftSerializer(serializers.ModelSerializer[DriftReport]):
    class Meta:
        model = DriftReport
        fields = ["id", "verdict", "summary", "n_current", "created_at"]


class LatencySerializer(serializers.Serializer):
    p50 = serializers.FloatField(allow_null=True)
    p95 = serializers.FloatField(allow_null=True)
    p99 = serializers.FloatField(allow_null=True)


class ServingSerializer(serializers.Serializer):
    """`POST /predict` of this version in the last 24 hours; latency in milliseconds."""

    since = serializers.DateTimeField()
    n_requests = serializers.IntegerField()
    n_customers = serializers.IntegerField()
    n_refused = serializers.IntegerField()
    n_failed = serializers.IntegerField()
    latency_ms = LatencySerializer()


class SegmentShareSerializer(serializers.Serializer):
    segment = serializers.IntegerField(source="segment_id")
    segment_name = serializers.CharField(source="segment.name")
    n_customers = serializers.IntegerField()
    share = serializers.FloatField()
    medians = serializers.DictField()
    fate = serializers.ChoiceField(choices=Fate.choices)
    rule = serializers.CharField(source="rule.text", allow_null=True)


class StatusSerializer(serializers.Serializer):
    model_type = serializers.ChoiceField(choices=ModelType.choices)
    active = VersionSerializer()
    activated_at = serializers.DateTimeField()
    segments = SegmentShareSerializer(many=True)
    serving = ServingSerializer()
    last_drift = LastDriftSerializer(allow_null=True)
