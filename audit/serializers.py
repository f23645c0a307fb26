"""How the trail is asked for and shown over the API."""

from __future__ import annotations

import json
from typing import Any

from rest_framework import serializers

from access.pagination import PageQuery
from audit.models import AuditEntry


class AuditQuery(PageQuery):
    actor = serializers.CharField(required=False, max_length=150, help_text="An actor's id.")
    action = serializers.CharField(
        required=False, max_length=80, help_text="Such as model_version.activated."
    )
    since = serializers.DateTimeField(required=False, help_text="Inclusive.")
    until = serializers.DateTimeField(required=False, help_text="Exclusive.")


class AuditEntrySerializer(serializers.ModelSerializer[AuditEntry]):
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
        details: dict[str, Any] = json.loads(entry.details)
        return details


class AuditPage(serializers.Serializer):
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = AuditEntrySerializer(many=True)
