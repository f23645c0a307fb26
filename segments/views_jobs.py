"""Trainings over the API: ask for one, watch its job, cancel it, try it again."""

from __future__ import annotations

from django.http import Http404
from django.urls import reverse
from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from access.api import ApiView
from access.bodies import Body, Number, Text
from access.schema import documented
from access.scopes import Scope
from ml.fitting import parameter_bounds
from modelregistry.models import JobState, ModelType, TrainingJob
from modelregistry.training import TrainingRequest
from segments.jobs import TARGET, cancel, notice_of, queue_training, retry
from segments.training_requests import MAX_NOTE


@extend_schema_field(
    {
        "type": "object",
        "properties": {
            name: {
                "type": "integer" if kind is int else "number",
                "minimum" if kind is int else "exclusiveMinimum": lowest if kind is int else 0,
                "maximum": highest,
            }
            for name, (kind, lowest, highest) in parameter_bounds().items()
        },
        "additionalProperties": False,
    }
)
class ParametersField(serializers.DictField):
    """Numbers by the name of the parameter; which names there are depends on the model type."""


class TrainBody(Body):
    parameters = ParametersField(
        child=Number(),
        default=dict,
        help_text=(
            "kmeans: n_clusters (or k), n_init, random_state; dbscan: eps, min_samples, "
            "random_state. What is left out is chosen."
        ),
    )
    features = serializers.ListField(
        child=Text(max_length=200, trim_whitespace=False),
        allow_empty=False,
        min_length=1,
        allow_null=True,
        default=None,
        help_text="Attributes to use; null: all that carry information.",
    )
    note = Text(max_length=MAX_NOTE, allow_blank=True, default="", help_text="Why it is trained.")


class NoBody(Body):
    """Nothing is told but the address."""


class LinksSerializer(serializers.Serializer):
    self = serializers.CharField()
    version = serializers.CharField(allow_null=True)


class JobSerializer(serializers.ModelSerializer[TrainingJob]):
    """A training job; `notice` says what keeps it waiting, `error` why it did not succeed."""

    model_type = serializers.ChoiceField(choices=ModelType.choices)
    state = serializers.ChoiceField(choices=JobState.choices)
    progress = serializers.FloatField(help_text="Share of the work done, 0 to 1.")
    parameters = serializers.DictField()
    features = serializers.ListField(child=serializers.CharField(), allow_null=True)
    notice = serializers.SerializerMethodField()
    error = serializers.SerializerMethodField()
    version = serializers.IntegerField(
        source="version.number", allow_null=True, default=None, help_text="Its number."
    )
    retry_of = serializers.IntegerField(source="retry_of_id", allow_null=True)
    links = serializers.SerializerMethodField()

    class Meta:
        model = TrainingJob
        fields = [
            "id",
            "model_type",
            "state",
            "progress",
            "step",
            "notice",
            "error",
            "parameters",
            "features",
            "note",
            "queued_at",
            "queued_by",
            "started_at",
            "heartbeat_at",
            "cancel_requested_at",
            "finished_at",
            "version",
            "retry_of",
            "links",
        ]

    def get_notice(self, job: TrainingJob) -> str:
        return notice_of(job, at=timezone.now())

    def get_error(self, job: TrainingJob) -> str:
        """The reason without the traceback behind it."""
        return job.error.partition("\n")[0] if job.finished_at else ""

    @extend_schema_field(LinksSerializer)
    def get_links(self, job: TrainingJob) -> dict[str, str | None]:
        version = job.version
        return {
            "self": reverse("job", args=[job.pk]),
            "version": reverse("model-version", args=[version.model_type, version.number])
            if version
            else None,
        }


class JobApiView(ApiView):
    """What the views of jobs share: the job as the answer, or 404 for one that never was."""

    names_customers = False

    def found(self, job_id: int) -> TrainingJob:
        self.audit_target = (TARGET, job_id)
        job = TrainingJob.objects.select_related("version").filter(pk=job_id).first()
        if job is None:
            raise Http404
        return job

    def accepted(self, job: TrainingJob) -> Response:
        return Response(
            JobSerializer(job).data,
            status=202,
            headers={"Location": reverse("job", args=[job.pk])},
        )


class TrainView(JobApiView):
    scope = Scope.MODELS_TRAIN
    audit_action = "training.queued"

    @extend_schema(
        summary="Train a version in the background",
        request=TrainBody,
        responses=documented(JobSerializer, 404, 409, 415, status=202),
        operation_id="train",
    )
    def post(self, request: Request, model_type: str) -> Response:
        self.audit_target = ("model_type", model_type)
        request_ = TrainingRequest(model_type, **TrainBody.of(request))
        return self.accepted(queue_training(request_, by=self.actor))


class JobView(JobApiView):
    scope = Scope.MODELS_READ
    audit_action = "training.read"

    @extend_schema(
        summary="How a training does",
        responses=documented(JobSerializer, 404),
        operation_id="job",
    )
    def get(self, request: Request, job_id: int) -> Response:
        return Response(JobSerializer(self.found(job_id)).data)


class CancelJobView(JobApiView):
    scope = Scope.MODELS_TRAIN
    audit_action = "training.cancelled"

    @extend_schema(
        summary="Cancel a training",
        description="A queued job ends at once, a running one at its next step.",
        request=None,
        responses=documented(JobSerializer, 404, 409, 415, status=202),
        operation_id="cancel_job",
    )
    def post(self, request: Request, job_id: int) -> Response:
        NoBody.of(request)
        return self.accepted(cancel(self.found(job_id).pk, by=self.actor))


class RetryJobView(JobApiView):
    scope = Scope.MODELS_TRAIN
    audit_action = "training.retried"

    @extend_schema(
        summary="Try a failed or cancelled training again",
        description="A new job with the same request; the old one stays as it is.",
        request=None,
        responses=documented(JobSerializer, 404, 409, 415, status=202),
        operation_id="retry_job",
    )
    def post(self, request: Request, job_id: int) -> Response:
        NoBody.of(request)
        return self.accepted(retry(self.found(job_id).pk, by=self.actor))
