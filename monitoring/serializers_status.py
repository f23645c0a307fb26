"""How the status of a model is shown over the API."""

from __future__ import annotations

from rest_framework import serializers

from modelregistry.models import ModelType
from modelregistry.serializers import VersionSerializer
from monitoring.models import Alert, DriftReport
from segments.models import Fate


class LastDriftSerializer(serializers.ModelSerializer[DriftReport]):
    class Meta:
        model = DriftReport
        fields = ["id", "verdict", "summary", "source", "n_current", "created_at"]


class LatencySerializer(serializers.Serializer):
    p50 = serializers.FloatField(allow_null=True)
    p95 = serializers.FloatField(allow_null=True)
    p99 = serializers.FloatField(allow_null=True)


class ServingSerializer(serializers.Serializer):
    """`POST /predict` of this version in the last 24 hours, from a whole hour on; latency in
    milliseconds, to 4 %."""

    since = serializers.DateTimeField()
    n_requests = serializers.IntegerField()
    n_customers = serializers.IntegerField()
    n_refused = serializers.IntegerField()
    n_failed = serializers.IntegerField()
    requests_per_minute = serializers.FloatField()
    customers_per_minute = serializers.FloatField()
    latency_ms = LatencySerializer()


class QualityPointSerializer(serializers.Serializer):
    """How well the version segmented some customers; a figure is null where it is not defined.

    `inertia_per_customer` is the mean squared distance to the mean of these customers' segments.
    `shares` are by segment id, -1 for noise. `level` is null for training.
    """

    measured_at = serializers.DateTimeField()
    n_customers = serializers.IntegerField()
    silhouette = serializers.FloatField(allow_null=True)
    silhouette_se = serializers.FloatField(allow_null=True)
    n_silhouette = serializers.IntegerField()
    davies_bouldin = serializers.FloatField(allow_null=True)
    calinski_harabasz = serializers.FloatField(allow_null=True)
    inertia_per_customer = serializers.FloatField(allow_null=True)
    noise_share = serializers.FloatField(allow_null=True)
    stability = serializers.FloatField(allow_null=True)
    shares = serializers.DictField(child=serializers.FloatField())
    level = serializers.CharField(allow_null=True)
    sentence = serializers.CharField()


class StatusQualitySerializer(serializers.Serializer):
    """Quality at training, as last measured, and the latest measured points, oldest first."""

    training = QualityPointSerializer()
    latest = QualityPointSerializer(allow_null=True)
    series = QualityPointSerializer(many=True)


class OpenAlertSerializer(serializers.ModelSerializer[Alert]):
    class Meta:
        model = Alert
        fields = ["id", "kind", "state", "title", "raised_at", "last_seen_at", "acknowledged_at"]


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
    quality = StatusQualitySerializer()
    serving = ServingSerializer()
    last_drift = LastDriftSerializer(allow_null=True)
    open_alerts = OpenAlertSerializer(many=True)
