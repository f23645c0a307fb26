"""How gunicorn serves: threads in a few processes, each importing the application by itself."""

from __future__ import annotations

import gc
import os
from typing import Any

from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "segmentation_project.settings")
bind = f"{settings.API_HOST}:{settings.API_PORT}"
workers = settings.API_WORKERS
sendfile = False  # the kernel would write past what the worker keeps for slow readers
worker_class = "segmentation_project.gunicorn_worker.WholeRequestWorker"
threads = settings.API_THREADS
backlog = 2048
worker_connections = 1000
timeout = 60
graceful_timeout = 30
keepalive = 75  # above the idle time of the usual proxies, so that they close first
preload_app = False
control_socket_disable = True
accesslog = None
loglevel = "warning"

NEW_OBJECTS_BETWEEN_COLLECTIONS = 20_000
"""Python's own 700 means several collections for one request of 1,000 customers."""


def post_worker_init(worker: Any) -> None:
    """Never search what is loaded by now for garbage again, and the rest less often.

    Collections that look at every object of Django and the libraries took about a tenth of the
    time of predictions for 1,000 customers, who are thousands of short-lived objects themselves.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS_BETWEEN_COLLECTIONS)
