"""How changes of segment are asked for and shown over the API."""

from __future__ import annotations

from rest_framework import serializers

from access.bodies import Moment
from modelregistry.models import ModelType
from segments.changes import Cause
from segments.serializers import SegmentsQuery


class ChangesQuery(SegmentsQuery):
    since = Moment(
        required=False,
        help_text="Without it the last 24 hours, or as far back as changes are known.",
    )


class SegmentOfCustomerSerializer(serializers.Serializer):
    segment = serializers.IntegerField(allow_null=True, help_text="Null for DBSCAN's noise.")
    segment_name = serializers.CharField(allow_null=True)


class MovedCustomerSerializer(serializers.Serializer):
    """A customer who is in another segment than at `since`."""

    customer_id = serializers.CharField()
    to = SegmentOfCustomerSerializer()
    at = serializers.DateTimeField(help_text="When the customer came into it for the last time.")
    cause = serializers.ChoiceField(choices=Cause.choices)

    def get_fields(self) -> dict[str, serializers.Field]:
        # A class cannot name a field with a keyword.
        left = SegmentOfCustomerSerializer(
            allow_null=True, help_text="Null for who had not been assigned to any."
        )
        customer_id, *others = super().get_fields().items()
        return dict([customer_id, ("from", left), *others])


class ChangesPage(serializers.Serializer):
    model_type = serializers.ChoiceField(choices=ModelType.choices)
    version = serializers.IntegerField(help_text="The version that serves.")
    version_then = serializers.IntegerField(
        allow_null=True, help_text="The version that served at `since`."
    )
    since = serializers.DateTimeField()
    as_of = serializers.DateTimeField(
        help_text="Ask from this moment, that of the first page, the next time: nothing is missed."
    )
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = MovedCustomerSerializer(many=True)
