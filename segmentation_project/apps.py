from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig as DjangoAdminConfig


class ProjectConfig(AppConfig):
    name = "segmentation_project"
    verbose_name = "Customer Segmentation API"

    def ready(self) -> None:
        from segmentation_project import checks, openapi, schema  # noqa: F401  registered once apps are loaded


class AdminConfig(DjangoAdminConfig):
    default_site = "segmentation_project.admin_site.SegmentationAdminSite"
