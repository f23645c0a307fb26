"""`POST /predict/{model_type}`, `GET /segments/{model_type}` and its profiles."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from access.api import ApiView
from access.pagination import KeysetPagination
from access.schema import documented
from access.scopes import Scope
from modelregistry.activation import active_version
from modelregistry.models import ModelVersion
from segments import prediction
from segments.models import NOISE_KEY, Assignment, Segment
from segments.profiles import profiles_of
from segments.serializers import (
    ACTIVE,
    PredictionsSerializer,
    PredictQuery,
    ProfilesQuery,
    ProfilesSerializer,
    SegmentsPage,
    SegmentsQuery,
    customers_body,
)

CUSTOMER_ID = re.compile(r"^[^\x00-\x1f]{1,200}$")


class PredictView(ApiView):
    scope = Scope.PREDICT
    audit_action = prediction.AUDIT_ACTION
    query_serializer_class = PredictQuery

    @extend_schema(
        summary="Predict the segments of customers",
        description=(
            "A JSON list of flat customer objects. An attribute that the active version needs and "
            "saw no gaps in is required; attributes it does not use are ignored. With explain=true "
            "each prediction says which features decided it, for at most "
            f"{settings.MAX_EXPLAINED_RECORDS:,} customers a request."
        ),
        parameters=[PredictQuery],
        request=customers_body(),
        responses=documented(PredictionsSerializer, 404, 415),
        operation_id="predict",
    )
    def post(self, request: Request, model_type: str) -> Response:
        self.audit_target = (prediction.MODEL_TYPE_TARGET, model_type)
        answer = prediction.predict_segments(
            model_type,
            request.data,
            store=self.query["store"],
            explain=self.query["explain"],
            max_records=settings.MAX_RECORDS,
            max_explained_records=settings.MAX_EXPLAINED_RECORDS,
            directory=settings.MODEL_DIR,
            by=self.actor,
            at=timezone.now(),
        )
        return Response(
            {
                "model_type": model_type,
                "version": answer.version.number,
                "n_stored": answer.n_stored,
                "predictions": answer.predictions,
            }
        )


def known_segment(query: Mapping[str, Any], model_type: str) -> int | None:
    """The segment that is asked for, NOISE_KEY for noise; None when it is every one.

    Raises NotFound for an id that no segment of the model type ever had. At most one query.
    """
    key: int | None = query.get("segment")
    if key is None or key == NOISE_KEY:
        return key
    if not Segment.objects.filter(pk=key, model_type=model_type).exists():
        raise NotFound(f"{model_type} has no segment of this id.")
    return key


class SegmentsView(ApiView):
    scope = Scope.SEGMENTS_READ
    audit_action = "segments.listed"
    query_serializer_class = SegmentsQuery

    @extend_schema(
        summary="List customers with their segment",
        parameters=[SegmentsQuery],
        responses=documented(SegmentsPage, 404),
        operation_id="segments",
    )
    def get(self, request: Request, model_type: str) -> Response:
        version = active_version(model_type)
        self.audit_target = ("model_version", str(version))
        assigned = Assignment.objects.filter(version=version)
        segment = known_segment(self.query, model_type)
        if segment is not None:
            assigned = assigned.in_segment(segment)
        pages = KeysetPagination("customer_id", CUSTOMER_ID)
        rows = assigned.values(
            "customer_id", "segment_id", "segment__name", "distance", "status", "assigned_at"
        )
        page = pages.paginate_queryset(rows, request, view=self) or []
        self.n_items = len(page)
        return Response(
            {
                "model_type": model_type,
                "version": version.number,
                **pages.envelope([assigned_customer(row) for row in page]),
            }
        )


class ProfilesView(ApiView):
    scope = Scope.SEGMENTS_READ
    audit_action = "segments.profiles_read"
    query_serializer_class = ProfilesQuery

    @extend_schema(
        summary="Describe the segments of a version",
        description=(
            "Size now and at training, medians beside everyone's, what sets each segment apart, a "
            "readable rule with its precision and recall on unseen customers, and what became of "
            "it since the version before. Versions trained by earlier releases lack some: null."
        ),
        parameters=[ProfilesQuery],
        responses=documented(ProfilesSerializer, 404),
        operation_id="segment_profiles",
    )
    def get(self, request: Request, model_type: str) -> Response:
        version = asked_version(model_type, self.query["version"])
        self.audit_target = ("model_version", str(version))
        profiles = profiles_of(version)
        self.n_items = len(profiles.segments)
        return Response(ProfilesSerializer(profiles).data)


def asked_version(model_type: str, asked: str) -> ModelVersion:
    """The active version, or the one of a number. Raises `NotFound`, `NoActiveVersion`."""
    if asked == ACTIVE:
        return active_version(model_type)
    return trained_version(model_type, int(asked))


def trained_version(model_type: str, number: int) -> ModelVersion:
    found = ModelVersion.objects.trained().filter(model_type=model_type, number=number).first()
    if found is None:
        raise NotFound(f"There is no version {number} of {model_type}.")
    return found


def assigned_customer(row: Mapping[str, Any]) -> dict[str, Any]:
    shown = {
        "customer_id": row["customer_id"],
        "segment": row["segment_id"],
        "segment_name": row["segment__name"],
        "distance": row["distance"],
        "status": row["status"],
        "assigned_at": row["assigned_at"],
    }
    if not row["status"]:
        del shown["status"]
    return shown
