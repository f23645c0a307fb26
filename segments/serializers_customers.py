"""How customers are shown over the API, and the receipt of an erasure."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from modelregistry.models import ModelType, State
from segments.models import Status
from segments.serializers import ATTRIBUTE


class StoredSerializer(serializers.Serializer):
    n_created = serializers.IntegerField()
    n_updated = serializers.IntegerField(help_text="Stored before, with other attributes.")
    n_unchanged = serializers.IntegerField()


class AssignmentSerializer(serializers.Serializer):
    model_type = serializers.ChoiceField(choices=ModelType.choices)
    version = serializers.IntegerField()
    state = serializers.ChoiceField(choices=State.choices)
    segment = serializers.IntegerField(allow_null=True, help_text="Null for DBSCAN's noise.")
    segment_name = serializers.CharField(allow_null=True)
    distance = serializers.FloatField(
        allow_null=True, help_text="Null where the version has no segment."
    )
    status = serializers.ChoiceField(choices=Status.choices, required=False)
    assigned_at = serializers.DateTimeField()
    is_stale = serializers.BooleanField(
        help_text="Made from attributes that have changed since; the next assigning renews it."
    )


@extend_schema_field({"type": "object", "additionalProperties": ATTRIBUTE})
class AttributesField(serializers.DictField):
    """What is stored of a customer."""


class CustomerSerializer(serializers.Serializer):
    customer_id = serializers.CharField()
    attributes = AttributesField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    assignments = AssignmentSerializer(
        many=True, help_text="Under the active, previous and candidate versions."
    )


class ErasedSerializer(serializers.Serializer):
    """Counts by place."""

    customers = serializers.IntegerField()
    assignments = serializers.IntegerField()
    assignment_changes = serializers.IntegerField()
    segment_names = serializers.IntegerField(
        help_text="Automatic names of segments that nobody else is in."
    )
    drift_inputs = serializers.IntegerField(help_text="Rows of drift reports' inputs.")
    reports_and_alerts = serializers.IntegerField(
        help_text="Drift reports, alerts and messages with a level or segment of theirs alone."
    )
    stored_answers = serializers.IntegerField(help_text="Answers kept for an Idempotency-Key.")


class RewrittenVersionSerializer(serializers.Serializer):
    """A version whose artifact was replaced by one without the customer."""

    model_type = serializers.ChoiceField(choices=ModelType.choices)
    version = serializers.IntegerField()
    sha256_before = serializers.CharField()
    sha256_after = serializers.CharField()
    core_samples_removed = serializers.IntegerField()
    centres_moved = serializers.IntegerField(
        help_text="Centres of clusters that were this customer alone."
    )
    stand_ins = serializers.IntegerField(
        help_text="Invented core samples for others who would have lost their segment."
    )
    predictions_rechecked = serializers.IntegerField()
    segments_changed = serializers.IntegerField(help_text="Others in another segment now.")
    distances_changed = serializers.IntegerField(
        help_text="Others to whom the core sample was the nearest."
    )


class ReceiptSerializer(serializers.Serializer):
    receipt = serializers.IntegerField()
    erased_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
    erased = ErasedSerializer()
    versions = RewrittenVersionSerializer(many=True)
    kept = serializers.ListField(child=serializers.CharField())
    not_erased_at_once = serializers.ListField(child=serializers.CharField())
