"""One model version over the API: look at it, compare it, let it serve, go back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django.conf import settings
from django.db.models import Prefetch, prefetch_related_objects
from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from access.api import ApiView
from access.bodies import Body, Flag, Number, Text
from access.schema import documented
from access.scopes import Scope
from modelregistry.activation import MAX_REASON, ActivationRefused, Gate, load, pointer_of
from modelregistry.models import Activation, ModelType, ModelVersion
from modelregistry.serializers import VersionSerializer
from segments.assignment import activate, roll_back
from segments.comparison import (
    RETIRED,
    Comparison,
    NotComparable,
    SegmentChange,
    compare,
    notes_of,
)
from segments.gates import GateLimits, check_gates
from segments.models import Fate, VersionSegment

QUALITY = (
    "n_clusters",
    "noise_share",
    "silhouette",
    "davies_bouldin",
    "calinski_harabasz",
    "inertia_per_customer",
)
ACTIVE = "active"
MAX_NUMBER = 999_999_999


class VersionSegmentSerializer(serializers.ModelSerializer[VersionSegment]):
    """What one cluster of the version is: its segment, and how it was matched and described."""

    segment = serializers.IntegerField(source="segment_id")
    segment_name = serializers.CharField(source="segment.name")
    fate = serializers.ChoiceField(choices=Fate.choices)
    related_segments = serializers.ListField(child=serializers.IntegerField())
    medians = serializers.DictField()
    distinguishing = serializers.ListField(child=serializers.DictField())
    rule = serializers.DictField(allow_null=True)

    class Meta:
        model = VersionSegment
        fields = [
            "segment",
            "segment_name",
            "n_customers",
            "share",
            "fate",
            "match_score",
            "related_segments",
            "medians",
            "distinguishing",
            "rule",
            "stability",
            "low_confidence_share",
        ]


class VersionDetailSerializer(VersionSerializer):
    """A version with all there is to know of it; `selection` is null when all was stated."""

    stage = serializers.CharField()
    selection = serializers.DictField(allow_null=True)
    schema = serializers.DictField(help_text="Features as learned, and `omitted` with reasons.")
    identity = serializers.DictField(
        allow_null=True, help_text="What became of the segments that served at training."
    )
    library_versions = serializers.DictField(child=serializers.CharField())
    segments = VersionSegmentSerializer(many=True)

    class Meta(VersionSerializer.Meta):
        fields = [
            *VersionSerializer.Meta.fields,
            "stage",
            "failure",
            "selection",
            "schema",
            "identity",
            "segments",
            "library_versions",
            "artifact_bytes",
            "training_seconds",
        ]


class GateSerializer(serializers.Serializer):
    """A condition before activation.

    `value` and `limit` are null for a matter of yes or no, `value` and `passed` for what cannot be
    measured as things stand.
    """

    name = serializers.CharField()
    value = serializers.FloatField(allow_null=True)
    limit = serializers.FloatField(allow_null=True)
    passed = serializers.BooleanField(allow_null=True)
    sentence = serializers.CharField()


class SegmentChangeSerializer(serializers.Serializer):
    """A segment on the compared customers, noise with a null id."""

    segment = serializers.IntegerField(allow_null=True)
    segment_name = serializers.CharField(source="name")
    fate = serializers.ChoiceField(choices=[*Fate.values, RETIRED], allow_null=True)
    match_score = serializers.FloatField(allow_null=True)
    related_segments = serializers.ListField(child=serializers.IntegerField())
    n_before = serializers.IntegerField()
    n_after = serializers.IntegerField()
    share_before = serializers.FloatField()
    share_after = serializers.FloatField()
    share_change = serializers.FloatField()


class QualitySerializer(serializers.Serializer):
    """Figures of one version as it was trained."""

    metrics = serializers.DictField()
    parameters = serializers.DictField()
    evidence = serializers.CharField(allow_null=True)


class MigrationsSerializer(serializers.Serializer):
    """`counts[i][j]` customers go from segment `rows[i]` to `columns[j]`; null is noise."""

    rows = serializers.ListField(child=serializers.IntegerField(allow_null=True))
    columns = serializers.ListField(child=serializers.IntegerField(allow_null=True))
    counts = serializers.ListField(child=serializers.ListField(child=serializers.IntegerField()))


class ComparisonSerializer(serializers.Serializer):
    """A version compared with another, `before`, on the customers that both know."""

    model_type = serializers.ChoiceField(choices=ModelType.choices)
    version = serializers.IntegerField()
    before = serializers.IntegerField()
    n_compared = serializers.IntegerField()
    n_before_only = serializers.IntegerField()
    n_after_only = serializers.IntegerField()
    n_moved = serializers.IntegerField()
    moved_share = serializers.FloatField(allow_null=True)
    adjusted_rand_index = serializers.FloatField(allow_null=True)
    migrations = MigrationsSerializer()
    segments = SegmentChangeSerializer(many=True)
    quality_before = QualitySerializer()
    quality_after = QualitySerializer()
    notes = serializers.ListField(
        child=serializers.CharField(), help_text="Sentences on what the figures do not say."
    )
    gates = GateSerializer(
        many=True, allow_null=True, help_text="Null when not compared with the active version."
    )


class ActivationSerializer(serializers.ModelSerializer[Activation]):
    """One move of the active version, as the ledger keeps it."""

    version = serializers.IntegerField(source="to_version.number")
    replaced_version = serializers.IntegerField(
        source="from_version.number", allow_null=True, default=None
    )
    gates = GateSerializer(many=True)

    class Meta:
        model = Activation
        fields = [
            "model_type",
            "version",
            "replaced_version",
            "generation",
            "is_rollback",
            "forced",
            "gates",
            "reason",
            "activated_at",
            "activated_by",
        ]


class CompareQuery(serializers.Serializer):
    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        # `with` is a word of Python's own.
        return {
            "with": serializers.RegexField(
                r"^(active|[1-9][0-9]{0,8})$",
                required=False,
                default=ACTIVE,
                help_text="active, or a version's number.",
            )
        }


class ReasonBody(Body):
    reason = Text(max_length=MAX_REASON, help_text="Kept in the ledger and the audit trail.")


class ActivateBody(ReasonBody):
    force = Flag(default=False, help_text="Activate it although a gate is breached.")


@extend_schema_field({"type": "integer", "minimum": 1, "maximum": MAX_NUMBER})
class VersionNumber(Number):
    default_error_messages = {"invalid": "The number of a version is needed."}

    def to_internal_value(self, data: Any) -> int:
        number = super().to_internal_value(data)
        if number != int(number) or not 1 <= number <= MAX_NUMBER:
            self.fail("invalid")
        return int(number)


class RollBackBody(ReasonBody):
    version = VersionNumber(
        required=False,
        help_text="The version that should serve again; refused when it is not the previous one.",
    )
    force = Flag(default=False, help_text="Go back to it although it is degenerate.")


class MoveView(ApiView):
    """What the views that move the active version share: a refusal keeps what was asked for."""

    scope = Scope.MODELS_ACTIVATE

    def moved(self, body: dict[str, Any], move: Callable[..., Activation]) -> Response:
        self.audit_details = body
        try:
            entry = move(**body, by=self.actor, at=timezone.now(), directory=settings.MODEL_DIR)
        except ActivationRefused as refusal:
            gates = [gate.figures() for gate in refusal.breached]
            self.audit_details = {**body, "gates": gates}
            raise
        return Response(ActivationSerializer(entry).data)


class VersionApiView(ApiView):
    """What the views of one version share: the version, or 404 for one that never was."""

    def found(self, model_type: str, number: int) -> ModelVersion:
        self.audit_target = ("model_version", f"{model_type} {number}")
        versions = ModelVersion.objects.with_state()
        version = versions.filter(model_type=model_type, number=number).first()
        if version is None:
            raise NotFound(f"There is no version {number} of {model_type}.")
        return version


class VersionView(VersionApiView):
    scope = Scope.MODELS_READ
    audit_action = "model_version.read"

    @extend_schema(
        summary="One version with all there is to know of it",
        responses=documented(VersionDetailSerializer, 404),
        operation_id="model_version",
    )
    def get(self, request: Request, model_type: str, number: int) -> Response:
        version = self.found(model_type, number)
        segments = VersionSegment.objects.select_related("segment").defer("features")
        prefetch_related_objects([version], Prefetch("segments", queryset=segments))
        return Response(VersionDetailSerializer(version).data)


class CompareView(VersionApiView):
    scope = Scope.MODELS_READ
    audit_action = "model_version.compared"
    query_serializer_class = CompareQuery

    @extend_schema(
        summary="Compare a version with another on the same customers",
        parameters=[CompareQuery],
        responses=documented(ComparisonSerializer, 404, 409),
        operation_id="compare_model_versions",
    )
    def get(self, request: Request, model_type: str, number: int) -> Response:
        active = pointer_of(model_type).active
        before = active
        if self.query["with"] != ACTIVE:
            before = self.found(model_type, int(self.query["with"]))
        after = self.found(model_type, number)
        if before is None:
            raise NotComparable(f"No version of {model_type} is active to compare {after} with.")
        self.audit_details = {"with": str(before)}
        comparison = compare(after, before)
        gates = None
        is_proposed = before == active and after != active
        if is_proposed:
            model = load(after, directory=settings.MODEL_DIR)
            limits = GateLimits(**settings.GATE_LIMITS)
            gates = check_gates(after, model, comparison, limits=limits)
        notes = notes_of(comparison, is_proposed=is_proposed)
        return Response(ComparisonSerializer(compared(comparison, gates, notes)).data)


class ActivateView(MoveView, VersionApiView):
    audit_action = "model_version.activated"

    @extend_schema(
        summary="Let a version serve",
        description="Refused with 409 when a gate is breached, unless `force` is true.",
        request=ActivateBody,
        responses=documented(ActivationSerializer, 404, 409, 415),
        operation_id="activate_model_version",
    )
    def post(self, request: Request, model_type: str, number: int) -> Response:
        version = self.found(model_type, number)
        limits = GateLimits(**settings.GATE_LIMITS)
        return self.moved(ActivateBody.of(request), partial(activate, version, limits=limits))


class RollBackView(MoveView):
    audit_action = "model_version.rolled_back_to"

    @extend_schema(
        summary="Let the version serve that served before the active one",
        description=(
            "Name the `version` to go back to, so that a repeated request cannot undo the first: "
            "409 when it is not the previous one. A degenerate version needs `force`."
        ),
        request=RollBackBody,
        responses=documented(ActivationSerializer, 404, 409, 415),
        operation_id="roll_back_model",
    )
    def post(self, request: Request, model_type: str) -> Response:
        self.audit_target = ("model_type", model_type)
        return self.moved(RollBackBody.of(request), partial(roll_back, model_type))


def compared(comparison: Comparison, gates: list[Gate] | None, notes: list[str]) -> dict[str, Any]:
    segments: tuple[SegmentChange, ...] = comparison.segments
    return {
        "model_type": comparison.after.model_type,
        "version": comparison.after.number,
        "before": comparison.before.number,
        "n_compared": comparison.n_compared,
        "n_before_only": comparison.n_before_only,
        "n_after_only": comparison.n_after_only,
        "n_moved": comparison.n_moved,
        "moved_share": comparison.moved_share,
        "adjusted_rand_index": comparison.adjusted_rand_index,
        "migrations": {
            "rows": comparison.rows,
            "columns": comparison.columns,
            "counts": comparison.counts.tolist(),
        },
        "segments": segments,
        "quality_before": quality(comparison.before),
        "quality_after": quality(comparison.after),
        "notes": notes,
        "gates": gates,
    }


def quality(version: ModelVersion) -> dict[str, Any]:
    return {
        "metrics": {name: version.metrics.get(name) for name in QUALITY},
        "parameters": version.parameters,
        "evidence": (version.selection or {}).get("evidence"),
    }
