"""Alerts over the API: what is wrong, what became of it, and what staff make of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from access.api import ApiView
from access.bodies import Body, Moment, Text
from access.choices import Choice
from access.pagination import KeysetPagination, PageQuery
from access.schema import documented
from access.scopes import Scope
from modelregistry.models import ModelType
from monitoring import alert_acts, alerts
from monitoring.models import Alert, AlertEvent, AlertKind, AlertState, Notification

ALERT_ID = re.compile(r"^[0-9]{1,18}$")
UNRESOLVED, ALL = "unresolved", "all"


class AlertsQuery(PageQuery):
    state = Choice(
        choices=[UNRESOLVED, *AlertState.values, ALL], required=False, default=UNRESOLVED
    )
    kind = Choice(choices=AlertKind.choices, required=False)
    model_type = Choice(choices=ModelType.choices, required=False)


class NoteBody(Body):
    note = Text(
        max_length=alert_acts.MAX_NOTE,
        allow_blank=True,
        default="",
        help_text="Kept with the alert.",
    )


class SilenceBody(NoteBody):
    until = Moment(
        help_text="When the silence ends by itself, with its zone; at most a year from now."
    )

    def validate_until(self, until: datetime) -> datetime:
        now = timezone.now()
        if not now < until <= now + alert_acts.MAX_SILENCE:
            raise serializers.ValidationError(
                f"must lie in the next {alert_acts.MAX_SILENCE.days} days", code="out-of-range"
            )
        return until


class AlertSerializer(serializers.ModelSerializer[Alert]):
    """An alert as it stands; `report` is the id of the drift report behind it."""

    kind = serializers.ChoiceField(choices=AlertKind.choices)
    state = serializers.ChoiceField(choices=AlertState.choices)
    model_type = serializers.ChoiceField(
        choices=ModelType.choices, allow_blank=True, help_text="Empty for a matter of no model."
    )
    version = serializers.IntegerField(
        source="version.number", allow_null=True, default=None, help_text="Its number."
    )
    report = serializers.IntegerField(source="report_id", allow_null=True)
    subjects = serializers.ListField(
        child=serializers.CharField(), help_text="The features or segments it is about."
    )

    class Meta:
        model = Alert
        fields = [
            "id",
            "kind",
            "state",
            "model_type",
            "version",
            "report",
            "title",
            "summary",
            "advice",
            "subjects",
            "n_bad",
            "n_good",
            "raised_at",
            "fired_at",
            "last_seen_at",
            "notified_at",
            "acknowledged_at",
            "acknowledged_by",
            "silenced_until",
            "silenced_by",
            "resolved_at",
            "resolution",
        ]


class AlertsPage(serializers.Serializer):
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = AlertSerializer(many=True)


class AlertEventSerializer(serializers.ModelSerializer[AlertEvent]):
    """One step in the life of an alert."""

    class Meta:
        model = AlertEvent
        fields = ["kind", "at", "by", "note"]


class DeliverySerializer(serializers.ModelSerializer[Notification]):
    """A message that told of the alert; to whom is for the admin alone."""

    class Meta:
        model = Notification
        fields = [
            "id",
            "channel",
            "state",
            "created_at",
            "n_attempts",
            "next_attempt_at",
            "sent_at",
            "error",
        ]


class AlertDetailSerializer(AlertSerializer):
    """An alert with its figures, its life so far and the messages that told of it."""

    facts = serializers.ListField(
        child=serializers.ListField(child=serializers.CharField(), min_length=2, max_length=2),
        help_text="Pairs of a name and a figure as text.",
    )
    events = AlertEventSerializer(many=True)
    deliveries = DeliverySerializer(many=True, source="notifications")

    class Meta(AlertSerializer.Meta):
        fields = [*AlertSerializer.Meta.fields, "facts", "events", "deliveries"]


class AlertsView(ApiView):
    scope = Scope.DRIFT_READ
    audit_action = "alerts.listed"
    query_serializer_class = AlertsQuery

    @extend_schema(
        summary="List alerts",
        description="The latest raised first; without a state those that are not resolved.",
        parameters=[AlertsQuery],
        responses=documented(AlertsPage),
        operation_id="alerts",
    )
    def get(self, request: Request) -> Response:
        found = in_state(self.query["state"]).select_related("version")
        for parameter in ("kind", "model_type"):
            if parameter in self.query:
                found = found.filter(**{parameter: self.query[parameter]})
        pages = KeysetPagination("-id", ALERT_ID)
        page = pages.paginate_queryset(found, request, view=self) or []
        self.n_items = len(page)
        return Response(pages.envelope(list(AlertSerializer(page, many=True).data)))


def in_state(state: str) -> QuerySet[Alert]:
    if state == ALL:
        return Alert.objects.all()
    if state == UNRESOLVED:
        return Alert.objects.unresolved()
    return Alert.objects.filter(state=state)


class AlertApiView(ApiView):
    """What the views of one alert share: the alert as the answer, or 404 for one that never was."""

    def found(self, alert_id: int) -> Alert:
        self.audit_target = (alerts.TARGET, alert_id)
        alert = Alert.objects.select_related("version").filter(pk=alert_id).first()
        if alert is None:
            raise NotFound(f"There is no alert {alert_id}.")
        return alert

    def shown(self, alert_id: int) -> Response:
        return Response(AlertDetailSerializer(self.found(alert_id)).data)

    def after(
        self, act: Callable[..., Alert], alert_id: int, request: Request, body: type[Body]
    ) -> Response:
        """The alert once it was acted on as the body says."""
        self.found(alert_id)
        act(alert_id, **body.of(request), by=self.actor, at=timezone.now())
        return self.shown(alert_id)


class AlertView(AlertApiView):
    scope = Scope.DRIFT_READ
    audit_action = "alert.read"

    @extend_schema(
        summary="One alert with its events and deliveries",
        responses=documented(AlertDetailSerializer, 404),
        operation_id="alert",
    )
    def get(self, request: Request, alert_id: int) -> Response:
        return self.shown(alert_id)


class AcknowledgeView(AlertApiView):
    scope = Scope.ALERTS_WRITE
    audit_action = "alert.acknowledged"

    @extend_schema(
        summary="Say that somebody looks after an alert",
        description="No digest tells of it again; it stays open until it is resolved.",
        request=NoteBody,
        responses=documented(AlertDetailSerializer, 404, 409, 415),
        operation_id="acknowledge_alert",
    )
    def post(self, request: Request, alert_id: int) -> Response:
        return self.after(alert_acts.acknowledge, alert_id, request, NoteBody)


class SilenceView(AlertApiView):
    scope = Scope.ALERTS_WRITE
    audit_action = "alert.silenced"

    @extend_schema(
        summary="Let an alert be quiet until a moment",
        request=SilenceBody,
        responses=documented(AlertDetailSerializer, 404, 409, 415),
        operation_id="silence_alert",
    )
    def post(self, request: Request, alert_id: int) -> Response:
        return self.after(alert_acts.silence, alert_id, request, SilenceBody)


class UnsilenceView(AlertApiView):
    scope = Scope.ALERTS_WRITE
    audit_action = "alert.unsilenced"

    @extend_schema(
        summary="Let a silenced alert be told of again",
        request=NoteBody,
        responses=documented(AlertDetailSerializer, 404, 409, 415),
        operation_id="unsilence_alert",
    )
    def post(self, request: Request, alert_id: int) -> Response:
        return self.after(alert_acts.unsilence, alert_id, request, NoteBody)


class ResolveView(AlertApiView):
    scope = Scope.ALERTS_WRITE
    audit_action = "alert.resolved"

    @extend_schema(
        summary="Say that an alert is over",
        description="When the trouble is seen again, it is raised again.",
        request=NoteBody,
        responses=documented(AlertDetailSerializer, 404, 409, 415),
        operation_id="resolve_alert",
    )
    def post(self, request: Request, alert_id: int) -> Response:
        return self.after(alert_acts.resolve, alert_id, request, NoteBody)
