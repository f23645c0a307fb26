"""What a web process has loaded after it has served: none of the libraries that only train."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from tests.factories import make_trained_models

ROOT = Path(__file__).resolve().parents[2]
TRAINING_LIBRARIES = ("pandas", "sklearn", "joblib", "pyarrow")
# Served by the WSGI application in a process of its own, on this test's database and artifacts.
SERVE = """
import io, json, sys

from django.conf import settings

settings.MODEL_DIR = type(settings.MODEL_DIR)(sys.argv[1])
settings.DATABASES["default"]["NAME"] = sys.argv[2]
from segmentation_project.wsgi import application

records = json.load(sys.stdin)
statuses = []


def ask(method, path, body=None, query=""):
    content = b"" if body is None else json.dumps(body).encode()
    answer = application(
        {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_X_API_KEY": settings.API_KEY,
            "REMOTE_ADDR": "127.0.0.1",
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": str(len(content)),
            "wsgi.input": io.BytesIO(content),
            "wsgi.url_scheme": "http",
            "wsgi.errors": sys.stderr,
        },
        lambda status, headers: statuses.append([method, path, status[:3]]),
    )
    b"".join(answer)
    answer.close()


for model_type in ("kmeans", "dbscan"):
    ask("POST", f"/predict/{model_type}", records)
    ask("POST", f"/predict/{model_type}", records, "explain=true")
    ask("GET", f"/segments/{model_type}")
    ask("GET", f"/segments/{model_type}/profiles")
    ask("GET", f"/model/status/{model_type}")
ask("POST", "/monitor/drift", records, "model_type=kmeans")
ask("GET", "/models")
ask("GET", "/audit/logs")
ask("GET", "/docs")
ask("GET", "/schema")
ask("GET", "/readyz")
ask("GET", "/admin/login/")
loaded = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps({"statuses": statuses, "loaded": loaded}))
"""


def shareable_database(directory: Path) -> str:
    """The name of this test's database, or of a copy where it is in this process's memory."""
    if connection.vendor != "sqlite":
        return str(connection.settings_dict["NAME"])
    copy = str(directory / "customers.db")
    with connection.cursor() as cursor:
        cursor.execute("VACUUM INTO %s", [copy])
    return copy


@pytest.mark.django_db(transaction=True)
def test_serving_loads_no_library_that_only_training_needs(tmp_path: Path) -> None:
    trained = make_trained_models()
    database = shareable_database(tmp_path)

    served = subprocess.run(
        [sys.executable, "-c", SERVE, str(settings.MODEL_DIR), database],
        cwd=ROOT,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"},
        input=json.dumps(trained.records),
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert served.returncode == 0, served.stderr[-3_000:]
    report = json.loads(served.stdout)
    assert [asked for asked in report["statuses"] if asked[2] != "200"] == []
    assert {"numpy", "scipy", "rest_framework", "unfold"} <= set(report["loaded"])
    assert set(report["loaded"]).isdisjoint(TRAINING_LIBRARIES)
