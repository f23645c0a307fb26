"""`/healthz`: the process answers. `/readyz`: it could serve a prediction now."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse

from modelregistry import activation
from modelregistry.artifacts import DamagedArtifact

MIN_FREE_SHARE = 0.05
"""Share of the disk under DATA_DIR that must be free."""


def healthz(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "alive"})


def readyz(request: HttpRequest) -> JsonResponse:
    """Each check with `ok` or what is wrong; 503 unless all are ok."""
    checks: dict[str, Callable[[], str]] = {
        "database": check_database,
        "migrations": check_migrations,
        "artifacts": check_artifacts,
        "disk": check_disk,
    }
    results = {}
    for name, check in checks.items():
        try:
            results[name] = check()
        except DatabaseError as error:
            results[name] = type(error).__name__
    ready = all(result == "ok" for result in results.values())
    return JsonResponse(
        {"status": "ready" if ready else "not ready", "checks": results},
        status=200 if ready else 503,
    )


def check_database() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return "ok"


def check_migrations() -> str:
    executor = MigrationExecutor(connection)
    pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return f"{len(pending)} to apply" if pending else "ok"


def check_artifacts() -> str:
    """Each active version can be loaded; a type without one is not an error."""
    for version in activation.active_versions():
        try:
            activation.load(version, directory=settings.MODEL_DIR)
        except DamagedArtifact as error:
            return f"{version}: {error}"
    return "ok"


def check_disk() -> str:
    usage = shutil.disk_usage(settings.DATA_DIR)
    return "ok" if usage.free / usage.total >= MIN_FREE_SHARE else "nearly full"
