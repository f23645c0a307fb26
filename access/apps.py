from django.apps import AppConfig
from django.core.signals import request_finished


class AccessConfig(AppConfig):
    name = "access"
    verbose_name = "Access"

    def ready(self) -> None:
        from access.last_use import write_noted  # needs the models

        request_finished.connect(write_noted)
