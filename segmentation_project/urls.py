"""Every address of the server."""

from django.contrib import admin
from django.urls import path, register_converter
from django.urls.converters import StringConverter
from drf_spectacular.views import (
    SpectacularAPIView,
    SpectacularRedocView,
    SpectacularSwaggerSplitView,
)

from access.views import TokenView
from audit.views import AuditLogsView
from modelregistry.models import ModelType
from modelregistry.views import ModelsView
from monitoring.health import healthz, readyz
from monitoring.views import DriftReportView, DriftView, QualityView, StatusView
from monitoring.views_alerts import (
    AcknowledgeView,
    AlertsView,
    AlertView,
    ResolveView,
    SilenceView,
    UnsilenceView,
)
from monitoring.views_metrics import MetricsView
from segmentation_project import views
from segments.views import PredictView, ProfilesView, SegmentsView
from segments.views_changes import ChangesView
from segments.views_customers import CustomersView, CustomerView
from segments.views_export import ExportView
from segments.views_jobs import CancelJobView, JobView, RetryJobView, TrainView
from segments.views_versions import ActivateView, CompareView, RollBackView, VersionView


class ModelTypeConverter:
    """A model type in a path; any other word is a 404."""

    regex = "|".join(ModelType.values)

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


class CustomerIdConverter(StringConverter):
    """The rest of a path, whatever it is: ids are the clients' own."""

    regex = "(?s:.+)"


swagger = SpectacularSwaggerSplitView.as_view(url_name="schema")
redoc = SpectacularRedocView.as_view(url_name="schema")

register_converter(ModelTypeConverter, "model_type")
register_converter(CustomerIdConverter, "customer_id")

urlpatterns = [
    path("", views.root, name="root"),
    path("healthz", views.read_only(healthz), name="healthz"),
    path("readyz", views.read_only(readyz), name="readyz"),
    path("schema", views.read_only(SpectacularAPIView.as_view()), name="schema"),
    path("docs", views.read_only(swagger), name="docs"),
    path("docs/guide", views.client_guide, name="client-guide"),
    path("docs/problems", views.problem_types, name="problem-types"),
    path("redoc", views.read_only(redoc), name="redoc"),
    path("auth/token", TokenView.as_view(), name="auth-token"),
    path("models", ModelsView.as_view(), name="models"),
    path("models/<model_type:model_type>/train", TrainView.as_view(), name="train"),
    path(
        "models/<model_type:model_type>/versions/<int:number>",
        VersionView.as_view(),
        name="model-version",
    ),
    path(
        "models/<model_type:model_type>/versions/<int:number>/compare",
        CompareView.as_view(),
        name="model-version-compare",
    ),
    path(
        "models/<model_type:model_type>/versions/<int:number>/activate",
        ActivateView.as_view(),
        name="model-version-activate",
    ),
    path("models/<model_type:model_type>/rollback", RollBackView.as_view(), name="model-rollback"),
    path("jobs/<int:job_id>", JobView.as_view(), name="job"),
    path("jobs/<int:job_id>/cancel", CancelJobView.as_view(), name="job-cancel"),
    path("jobs/<int:job_id>/retry", RetryJobView.as_view(), name="job-retry"),
    path("predict/<model_type:model_type>", PredictView.as_view(), name="predict"),
    path("model/status/<model_type:model_type>", StatusView.as_view(), name="model-status"),
    path("monitor/drift", DriftView.as_view(), name="monitor-drift"),
    path("monitor/drift/<int:report_id>", DriftReportView.as_view(), name="drift-report"),
    path("monitor/alerts", AlertsView.as_view(), name="alerts"),
    path("monitor/alerts/<int:alert_id>", AlertView.as_view(), name="alert"),
    path(
        "monitor/alerts/<int:alert_id>/acknowledge",
        AcknowledgeView.as_view(),
        name="alert-acknowledge",
    ),
    path("monitor/alerts/<int:alert_id>/silence", SilenceView.as_view(), name="alert-silence"),
    path(
        "monitor/alerts/<int:alert_id>/unsilence", UnsilenceView.as_view(), name="alert-unsilence"
    ),
    path("monitor/alerts/<int:alert_id>/resolve", ResolveView.as_view(), name="alert-resolve"),
    path("monitor/quality/<model_type:model_type>", QualityView.as_view(), name="quality"),
    path("customers", CustomersView.as_view(), name="customers"),
    path("customers/<customer_id:customer_id>", CustomerView.as_view(), name="customer"),
    path("segments/<model_type:model_type>", SegmentsView.as_view(), name="segments"),
    path(
        "segments/<model_type:model_type>/profiles",
        ProfilesView.as_view(),
        name="segment-profiles",
    ),
    path("segments/<model_type:model_type>/changes", ChangesView.as_view(), name="segment-changes"),
    path("segments/<model_type:model_type>/export", ExportView.as_view(), name="segments-export"),
    path("metrics", MetricsView.as_view(), name="metrics"),
    path("audit/logs", AuditLogsView.as_view(), name="audit-logs"),
    path("admin/", admin.site.urls),
]

handler400 = "segmentation_project.views.bad_request"
handler403 = "segmentation_project.views.forbidden"
handler404 = "segmentation_project.views.not_found"
handler500 = "segmentation_project.views.server_error"
