"""How predictions and segments are asked for and shown over the API."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from access.choices import Switch
from access.pagination import PageQuery
from ml.features import Kind
from ml.records import MAX_ATTRIBUTES, MAX_ID, MAX_NAME, MAX_TEXT, NUMBER_LIMIT, PATH_STEPS
from modelregistry.models import ModelType
from segments.models import NOISE_KEY, Fate, Status

NOISE = "noise"
ACTIVE = "active"
INVISIBLE = "\\u007F-\\u009F\\u061C\\u200B-\\u200F\\u202A-\\u202E\\u2060-\\u2069\\uFEFF"
"""As `ml.records.BAD_TEXT`, less the first 32 characters, and surrogates, which no JSON holds."""
PRINTED = f"[^\\u0000-\\u001F{INVISIBLE}]"
VISIBLE = f"[^\\s\\u0000-\\u001F{INVISIBLE}]"
LINES = f"[^\\u0000-\\u0008\\u000B\\u000C\\u000E-\\u001F{INVISIBLE}]"
CUSTOMER_ID = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_ID,
    "pattern": f"^{VISIBLE}({PRINTED}*{VISIBLE})?$",
    "not": {"enum": sorted(PATH_STEPS)},
}
ATTRIBUTE = {
    "oneOf": [
        {"type": "number", "minimum": -NUMBER_LIMIT, "maximum": NUMBER_LIMIT},
        {"type": "boolean"},
        {
            "type": "string",
            "maxLength": MAX_TEXT,
            "pattern": f"^{LINES}*$",
        },
        {"type": "null"},
    ]
}
CUSTOMER = {
    "type": "object",
    "description": "A flat object: the client's own id, if any, and attributes.",
    "properties": {"customer_id": CUSTOMER_ID},
    "additionalProperties": ATTRIBUTE,
    "propertyNames": {"minLength": 1, "maxLength": MAX_NAME, "pattern": f"^{PRINTED}+$"},
    "maxProperties": MAX_ATTRIBUTES,
    "example": {"customer_id": "C-1", "total_spend": 129.9, "channel": "web"},
}
CUSTOMER_SCHEMAS = {
    "CustomerRecord": CUSTOMER,
    "IdentifiedRecord": {**CUSTOMER, "required": ["customer_id"]},
}
"""Components of the API's schema."""


def customers_body(*, ids_required: bool = False) -> dict[str, Any]:
    """The schema of a body that lists customers, for `extend_schema(request=…)`."""
    component = "IdentifiedRecord" if ids_required else "CustomerRecord"
    customers = {
        "type": "array",
        "items": {"$ref": f"#/components/schemas/{component}"},
        "minItems": 1,
        "maxItems": settings.MAX_RECORDS,
    }
    return {"application/json": customers}


class PredictQuery(serializers.Serializer):
    store = Switch(
        required=False,
        default=True,
        help_text="Store and assign the customers that have a customer_id.",
    )
    explain = Switch(
        required=False,
        default=False,
        help_text="Say why each customer is in its segment; for fewer customers a request.",
    )


class ContributionSerializer(serializers.Serializer):
    feature = serializers.CharField()
    contribution = serializers.FloatField(
        help_text="Part of the gap in squared encoded units; below 0 it speaks for the runner-up."
    )
    share = serializers.FloatField(help_text="Of the sizes of all contributions, -1 to 1.")


class ExplanationSerializer(serializers.Serializer):
    """What makes the gap: squared distance to the runner-up less that to the own segment."""

    runner_up = serializers.IntegerField(
        allow_null=True, help_text="The nearest other segment; for noise the nearest one."
    )
    runner_up_name = serializers.CharField(allow_null=True)
    confidence = serializers.FloatField(
        allow_null=True,
        help_text=(
            "0 on the border to the runner-up, 1 in the very place of the own segment; null for "
            "noise of a version without segments."
        ),
    )
    contributions = ContributionSerializer(many=True, help_text="At most 3, the largest first.")


class PredictionSerializer(serializers.Serializer):
    customer_id = serializers.CharField(allow_null=True)
    segment = serializers.IntegerField(allow_null=True, help_text="Null for DBSCAN's noise.")
    segment_name = serializers.CharField(allow_null=True)
    distance = serializers.FloatField(
        allow_null=True, help_text="In encoded units; null where the version has no segment."
    )
    status = serializers.ChoiceField(choices=Status.choices, required=False)
    explanation = ExplanationSerializer(required=False)


class PredictionsSerializer(serializers.Serializer):
    model_type = serializers.ChoiceField(choices=ModelType.choices)
    version = serializers.IntegerField()
    n_stored = serializers.IntegerField()
    predictions = PredictionSerializer(many=True)


class SegmentQuery(serializers.Serializer):
    """One segment only."""

    segment = serializers.RegexField(
        r"^([0-9]{1,18}|noise)$", required=False, help_text="A segment's id, or noise."
    )

    def validate_segment(self, text: str) -> int:
        return NOISE_KEY if text == NOISE else int(text)


class SegmentsQuery(SegmentQuery, PageQuery):
    """The query of a list of customers with their segment."""


class AssignedCustomerSerializer(serializers.Serializer):
    customer_id = serializers.CharField()
    segment = serializers.IntegerField(allow_null=True)
    segment_name = serializers.CharField(allow_null=True)
    distance = serializers.FloatField(
        allow_null=True, help_text="Null where the version has no segment."
    )
    status = serializers.ChoiceField(choices=Status.choices, required=False)
    assigned_at = serializers.DateTimeField()


class SegmentsPage(serializers.Serializer):
    model_type = serializers.ChoiceField(choices=ModelType.choices)
    version = serializers.IntegerField()
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = AssignedCustomerSerializer(many=True)


class ProfilesQuery(serializers.Serializer):
    version = serializers.RegexField(
        r"^(active|[1-9][0-9]{0,8})$",
        required=False,
        default=ACTIVE,
        help_text="active, or the number of a trained version.",
    )


@extend_schema_field({"type": ["number", "string"]})
class TypicalField(serializers.Field):
    """A median, the commonest level of a category, or an ISO date."""

    def to_representation(self, value: Any) -> Any:
        return value


class LevelShareSerializer(serializers.Serializer):
    level = serializers.CharField()
    share = serializers.FloatField()
    everyone_share = serializers.FloatField()
    ratio = serializers.FloatField(help_text="The share over everyone's.")


class FeatureProfileSerializer(serializers.Serializer):
    """One feature of a segment beside everyone's; shares are of the customers at training."""

    feature = serializers.CharField()
    kind = serializers.ChoiceField(choices=[kind.value for kind in Kind], allow_null=True)
    median = TypicalField(
        allow_null=True, help_text="In its own unit; the commonest level of a category."
    )
    everyone_median = TypicalField(allow_null=True)
    difference = serializers.FloatField(
        allow_null=True, help_text="Of the means, in standard deviations of everyone."
    )
    robust_difference = serializers.FloatField(
        allow_null=True, help_text="Of the medians, in robust standard deviations of everyone."
    )
    levels = LevelShareSerializer(many=True, default=[])
    missing_share = serializers.FloatField(allow_null=True)
    everyone_missing_share = serializers.FloatField(allow_null=True)


class DifferenceSerializer(serializers.Serializer):
    feature = serializers.CharField()
    difference = serializers.FloatField()
    words = serializers.CharField()


class RuleSerializer(serializers.Serializer):
    """Judged on customers that it was not made from."""

    text = serializers.CharField()
    is_short = serializers.BooleanField(
        help_text="False: no short rule is right often enough; the figures are of the best one."
    )
    precision = serializers.FloatField()
    recall = serializers.FloatField()
    coverage = serializers.FloatField()


class SizeSerializer(serializers.Serializer):
    """How many there are now, and were at training."""

    n_customers = serializers.IntegerField()
    share = serializers.FloatField(allow_null=True)
    n_customers_trained = serializers.IntegerField()
    share_trained = serializers.FloatField(allow_null=True)


class RelatedSegmentSerializer(serializers.Serializer):
    segment = serializers.IntegerField(source="id")
    segment_name = serializers.CharField(source="name")


class SegmentProfileSerializer(serializers.Serializer):
    segment = serializers.IntegerField(source="row.segment_id")
    segment_name = serializers.CharField(source="row.segment.name")
    description = serializers.CharField(source="row.segment.description", help_text="By staff.")
    n_customers = serializers.IntegerField(source="size.n_customers")
    share = serializers.FloatField(source="size.share", allow_null=True)
    n_customers_trained = serializers.IntegerField(source="size.n_customers_trained")
    share_trained = serializers.FloatField(source="size.share_trained")
    features = FeatureProfileSerializer(many=True)
    distinguishing = DifferenceSerializer(source="row.distinguishing", many=True)
    rule = RuleSerializer(source="row.rule", allow_null=True)
    stability = serializers.FloatField(
        source="row.stability", allow_null=True, help_text="Above .75 firm, below .6 doubtful."
    )
    low_confidence_share = serializers.FloatField(
        source="row.low_confidence_share", allow_null=True
    )
    fate = serializers.ChoiceField(source="row.fate", choices=Fate.choices)
    match_score = serializers.FloatField(source="row.match_score", allow_null=True)
    related_segments = RelatedSegmentSerializer(source="related", many=True)


class ProfilesSerializer(serializers.Serializer):
    model_type = serializers.ChoiceField(source="version.model_type", choices=ModelType.choices)
    version = serializers.IntegerField(source="version.number")
    n_customers = serializers.IntegerField(help_text="Customers assigned now.")
    noise = SizeSerializer(allow_null=True, help_text="Null for K-means.")
    segments = SegmentProfileSerializer(many=True)
