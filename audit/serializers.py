"""How the trail is asked for and shown over the API."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from access.choices import Choice
from access.pagination import PageQuery
from audit.entry_words import details_of
from audit.models import ActorKind, AuditEntry, Outcome
from audit.search import MAX_PHRASE


class AuditQuery(PageQuery):
    actor = serializers.CharField(required=False, max_length=150, help_text="An actor's id.")
    actor_kind = Choice(choices=ActorKind.values, required=False)
    action = serializers.CharField(
        required=False, max_length=80, help_text="Such as model_version.activated."
    )
    target_type = serializers.CharField(
        required=False, max_length=40, help_text="Such as model_version."
    )
    target = serializers.CharField(
        required=False, max_length=200, help_text="A target's id, such as `kmeans 3`."
    )
    outcome = Choice(choices=Outcome.values, required=False)
    request_id = serializers.CharField(
        required=False, max_length=64, help_text="The X-Request-ID of an answer."
    )
    since = serializers.DateTimeField(required=False, help_text="Inclusive.")
    until = serializers.DateTimeField(required=False, help_text="Exclusive.")
    q = serializers.CharField(
        required=False,
        max_length=MAX_PHRASE,
        help_text=(
            "A phrase, in either case: anywhere in the id or the label of the actor as the entry "
            "has them, or in the action; or the whole of a target's id or a request id."
        ),
    )


class AuditEntrySerializer(serializers.ModelSerializer[AuditEntry]):
    at = serializers.DateTimeField(
        allow_null=True, help_text="Null when what is stored is no moment."
    )
    details = serializers.SerializerMethodField()

    class Meta:
        model = AuditEntry
        fields = [
            "id",
            "at",
            "actor_kind",
            "actor_id",
            "actor_label",
            "action",
            "target_type",
            "target_id",
            "outcome",
            "status_code",
            "n_items",
            "request_id",
            "peer_address",
            "address",
            "duration_ms",
            "details",
        ]

    def get_details(self, entry: AuditEntry) -> dict[str, Any]:
        return details_of(entry)


class AuditPage(serializers.Serializer):
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = AuditEntrySerializer(many=True)
