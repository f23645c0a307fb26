"""Every management command of ours: a run that does something, and the one entry it leaves."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.utils import timezone
from django_q import cluster

from audit.management.commands import prune_audit
from segmentation_project.management.commands import serve, worker
from tests.audit.admin_acts import (
    NEW_PASSWORD,
    Scene,
    bob,
    bob_with_a_second_factor,
    key,
)

OURS = ("access", "audit", "modelregistry", "monitoring", "segmentation_project", "segments")


@dataclass(frozen=True)
class Place:
    """What a run needs: models that serve, a directory of its own, and what to put it back by."""

    scene: Scene
    directory: Path
    monkeypatch: pytest.MonkeyPatch

    def file(self, text: str) -> str:
        path = self.directory / "table.csv"
        path.write_text(text)
        return str(path)


@dataclass(frozen=True)
class Run:
    """`run` ends well; `refused` is what it refuses, with the database at hand."""

    action: str
    prepare: Callable[[Place], list[str]]
    refused: tuple[str, ...] | None = None
    around: Callable[[Place], None] = lambda place: None


def carry_out(name: str, *arguments: str) -> None:
    """Run it to its end; codes of its own, such as that of drift, are ends too."""
    try:
        call_command(name, *arguments, stdout=StringIO(), stderr=StringIO())
    except SystemExit as end:
        if isinstance(end.code, str):
            raise CommandError(end.code) from end


def given(*arguments: str) -> Callable[[Place], list[str]]:
    return lambda place: list(arguments)


def superuser_password(place: Place) -> None:
    place.monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", NEW_PASSWORD)


def typed_password(place: Place) -> None:
    place.monkeypatch.setattr("getpass.getpass", lambda *prompt: NEW_PASSWORD)


def without_processes(place: Place) -> None:
    """The three that go on until a signal get it at once, and start nothing."""
    place.monkeypatch.setattr(signal, "signal", lambda number, heard: heard(number, None))
    place.monkeypatch.setattr(serve, "check_port", lambda host, port: None)
    place.monkeypatch.setattr(serve, "connection", SimpleNamespace(close=lambda: None))
    place.monkeypatch.setattr(serve, "start", lambda *command: SimpleNamespace())
    place.monkeypatch.setattr(serve, "stop_all", lambda processes: None)
    place.monkeypatch.setattr(worker, "async_task", lambda *arguments, **options: None)
    place.monkeypatch.setattr(cluster, "Sentinel", cluster.Sentinel)  # put back afterwards
    place.monkeypatch.setattr(cluster, "Cluster", lambda: SimpleNamespace(start=lambda: None))


def sealed(place: Place) -> list[str]:
    carry_out("seal_audit", "--quiet")
    return []


RUNS = {
    "create_api_key": Run(
        "api_key.created", given("crm"), refused=("crm", "--rate", "as much as you can")
    ),
    "rotate_api_key": Run(
        "api_key.rotated", lambda place: [key().prefix], refused=("no-such-key",)
    ),
    "revoke_api_key": Run(
        "api_key.revoked", lambda place: [key().prefix], refused=("no-such-key",)
    ),
    "createsuperuser": Run(
        "user.created",
        given("--noinput", "--username", "eve", "--email", "eve@example.org"),
        refused=("--noinput", "--username", "", "--email", "eve@example.org"),
        around=superuser_password,
    ),
    "changepassword": Run(
        "user.password_changed",
        lambda place: [bob().username],
        refused=("nobody",),
        around=typed_password,
    ),
    "unlock_sign_in": Run(
        "user.sign_in_unlocked", lambda place: [bob().username], refused=("nobody",)
    ),
    "remove_second_factor": Run(
        "user.second_factor_removed",
        lambda place: [bob_with_a_second_factor().username],
        refused=("nobody",),
    ),
    "import_customers": Run(
        "customers.imported",
        lambda place: [place.file("customer_id,orders\na,1\nb,2\n")],
        refused=("no-such-file.csv",),
    ),
    "import_transactions": Run(
        "transactions.imported",
        lambda place: [place.file("customer,date,amount\na,2026-01-02,5\na,2026-02-02,7\n")],
        refused=("no-such-file.csv",),
    ),
    "erase_customer": Run(
        "customer.erased",
        lambda place: [place.scene.trained.records[0]["customer_id"]],
        refused=("nobody",),
    ),
    "train_model": Run(
        "model_version.trained",
        given("kmeans", "--param", "k=3"),
        refused=("kmeans", "--features", "no_such_attribute"),
    ),
    "check_drift": Run(
        "drift.checked",
        given("--model-type", "kmeans", "--no-email"),
        refused=("--model-type", "kmeans", "--input", "no-such-file.csv"),
    ),
    "export_monitoring": Run("monitoring.exported", given("reports")),
    "serve": Run("server.started", given(), around=without_processes),
    "worker": Run("worker.started", given(), around=without_processes),
    "monitor": Run("monitor.started", given(), around=without_processes),
    "seal_audit": Run("audit.sealed", given("--quiet")),
    "verify_audit": Run("audit.verified", sealed),
    "export_audit": Run(
        "audit.exported", lambda place: [*sealed(place), str(place.directory / "bundle.zip")]
    ),
    "prune_audit": Run(
        "audit.pruned",
        lambda place: [*sealed(place), "--before", timezone.now().isoformat(), "--yes"],
        around=lambda place: place.monkeypatch.setattr(prune_audit, "KEPT", timedelta(0)),
    ),
}
COMPOSED = {"bootstrap": "migrations, the commands of this table, and the first user"}


def sealing_files(place: Place) -> None:
    """A key and anchors of the run's own."""
    for name in ("AUDIT_KEY_FILE", "AUDIT_PUBLIC_KEYS", "AUDIT_ANCHOR_FILE"):
        place.monkeypatch.setattr(settings, name, place.directory / name.lower())
