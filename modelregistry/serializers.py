"""How models and versions are shown over the API."""

from __future__ import annotations

from rest_framework import serializers

from modelregistry.models import ModelType, ModelVersion, State


class VersionSerializer(serializers.ModelSerializer[ModelVersion]):
    """One version; `metrics` are None where undefined, as silhouette is for one cluster."""

    version = serializers.IntegerField(source="number")
    state = serializers.ChoiceField(choices=State.choices)
    features = serializers.SerializerMethodField()
    parameters = serializers.DictField()
    metrics = serializers.DictField()

    class Meta:
        model = ModelVersion
        fields = [
            "model_type",
            "version",
            "state",
            "parameters",
            "metrics",
            "features",
            "degenerate_reason",
            "n_customers",
            "n_fitted",
            "n_assigned",
            "artifact_sha256",
            "note",
            "trained_at",
            "trained_by",
        ]

    def get_features(self, version: ModelVersion) -> list[str]:
        return [feature["name"] for feature in version.schema["features"]]


class ModelSerializer(serializers.Serializer):
    """A model type with its versions; `candidates` are newest first."""

    model_type = serializers.ChoiceField(choices=ModelType.choices)
    generation = serializers.IntegerField(help_text="How often the active version changed.")
    active = VersionSerializer(allow_null=True)
    previous = VersionSerializer(allow_null=True)
    candidates = VersionSerializer(many=True)


class ModelsSerializer(serializers.Serializer):
    models = ModelSerializer(many=True)
