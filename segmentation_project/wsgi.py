"""The WSGI application that gunicorn serves."""

import os

from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "segmentation_project.settings")
application = get_wsgi_application()
# Load every view now: the first request waits less, and what is loaded is kept from the garbage
# collector when the worker starts to serve.
assert get_resolver().url_patterns
