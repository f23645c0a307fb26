from django.apps import AppConfig


class ProjectConfig(AppConfig):
    name = "segmentation_project"
    verbose_name = "Customer Segmentation API"

    def ready(self) -> None:
        from segmentation_project import checks, schema  # noqa: F401  registered once apps are loaded
