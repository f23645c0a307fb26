"""How predictions and segments are asked for and shown over the API."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from access.pagination import PageQuery
from modelregistry.models import ModelType
from segments.models import Status

NOISE = "noise"
ATTRIBUTE = {
    "oneOf": [
        {"type": "number", "minimum": -1e15, "maximum": 1e15},
        {"type": "boolean"},
        {"type": "string", "maxLength": 1000},
        {"type": "null"},
    ]
}


class PredictQuery(serializers.Serializer):
    store = serializers.ChoiceField(
        choices=["true", "false"],
        required=False,
        default="true",
        help_text="Store and assign the customers that have a customer_id.",
    )

    def validate_store(self, text: str) -> bool:
        return text == "true"


@extend_schema_field(
    {
        "type": "object",
        "properties": {"customer_id": {"type": "string", "minLength": 1, "maxLength": 200}},
        "additionalProperties": ATTRIBUTE,
        "example": {"customer_id": "C-1", "total_spend": 129.9, "channel": "web"},
    }
)
class CustomerField(serializers.DictField):
    """A flat object: the client's own id, if any, and attributes."""


class PredictionSerializer(serializers.Serializer):
    customer_id = serializers.CharField(allow_null=True)
    segment = serializers.IntegerField(allow_null=True, help_text="Null for DBSCAN's noise.")
    segment_name = serializers.CharField(allow_null=True)
    distance = serializers.FloatField(help_text="In encoded units.")
    status = serializers.ChoiceField(choices=Status.choices, required=False)


class PredictionsSerializer(serializers.Serializer):
    model_type = serializers.ChoiceField(choices=ModelType.choices)
    version = serializers.IntegerField()
    n_stored = serializers.IntegerField()
    predictions = PredictionSerializer(many=True)


class SegmentsQuery(PageQuery):
    segment = serializers.RegexField(
        r"^(\d{1,18}|noise)$", required=False, help_text="A segment's id, or noise."
    )

    def validate_segment(self, text: str) -> int | None:
        return None if text == NOISE else int(text)


class AssignedCustomerSerializer(serializers.Serializer):
    customer_id = serializers.CharField()
    segment = serializers.IntegerField(allow_null=True)
    segment_name = serializers.CharField(allow_null=True)
    distance = serializers.FloatField()
    status = serializers.ChoiceField(choices=Status.choices, required=False)
    assigned_at = serializers.DateTimeField()


class SegmentsPage(serializers.Serializer):
    model_type = serializers.ChoiceField(choices=ModelType.choices)
    version = serializers.IntegerField()
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = AssignedCustomerSerializer(many=True)
