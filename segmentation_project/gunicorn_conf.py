"""How gunicorn serves: threads in a few processes, each importing the application by itself."""

from __future__ import annotations

import os

from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "segmentation_project.settings")
bind = f"{settings.API_HOST}:{settings.API_PORT}"
workers = settings.API_WORKERS
worker_class = "gthread"
threads = settings.API_THREADS
backlog = 2048
timeout = 60
graceful_timeout = 30
keepalive = 75  # above the idle time of the usual proxies, so that they close first
preload_app = False
control_socket_disable = True
accesslog = None
loglevel = "warning"
