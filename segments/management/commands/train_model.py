"""`manage.py train_model kmeans|dbscan`: train a version, and activate it if told so."""

from __future__ import annotations

import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from audit import trail
from audit.refusals import refusals_recorded
from modelregistry.activation import ACTIVATED, ActivationConflict, ActivationRefused
from modelregistry.artifacts import DamagedArtifact
from modelregistry.models import ModelType, ModelVersion
from modelregistry.training import TrainingRequest, TrainingStopped
from segments.assignment import activate
from segments.gates import GateLimits
from segments.jobs import train_now
from segments.progress import progress_bar

REFUSALS = (ActivationRefused, ActivationConflict, DamagedArtifact)
INTERRUPTED = 130
"""The exit status of what Ctrl-C ended."""


class Command(BaseCommand):
    help = "Train a model on all stored customers; parameters that are not given are chosen."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("model_type", choices=ModelType.values)
        parser.add_argument(
            "--param",
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help="k, n_init, eps, min_samples or random_state; may be repeated",
        )
        parser.add_argument("--features", help="the attributes to use, separated by commas")
        parser.add_argument("--note", default="", help="why it was trained")
        parser.add_argument("--activate", action="store_true", help="let it serve at once")
        parser.add_argument(
            "--force", action="store_true", help="activate although a gate is breached; say why"
        )
        parser.add_argument("--reason", help="why it is activated; needed with --force")

    def handle(self, *args: Any, **options: Any) -> None:
        by = trail.Actor.command("train_model")
        if options["force"] and not options["reason"]:
            raise CommandError("--force needs a --reason.")
        try:
            request = TrainingRequest(
                model_type=options["model_type"],
                parameters=given(options["param"]),
                features=names(options["features"]),
                note=options["note"],
            )
            with progress_bar(f"Training {request.model_type}", sys.stderr) as report:
                version = train_now(
                    request, directory=settings.MODEL_DIR, by=by, on_progress=report
                )
        except (ValueError, TrainingStopped) as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt as error:
            raise CommandError("Cancelled.", returncode=INTERRUPTED) from error
        self.describe(version)
        if options["activate"]:
            reason = options["reason"] or "Activated after training."
            self.activate(version, by=by, reason=reason, force=options["force"])

    def describe(self, version: ModelVersion) -> None:
        self.stdout.write(f"{version} trained on {version.n_customers:,} customers.")
        if version.selection:
            self.stdout.write(version.selection["reason"])
        for row in version.segments.select_related("segment"):
            self.stdout.write(
                f"  segment {row.segment_id}: {row.segment.name}, "
                f"{row.n_customers:,} customers ({row.share:.0%})"
            )
        if version.degenerate_reason:
            self.stdout.write(f"Degenerate: {version.degenerate_reason}")

    def activate(self, version: ModelVersion, *, by: trail.Actor, reason: str, force: bool) -> None:
        target = ("model_version", str(version))
        try:
            with refusals_recorded(ACTIVATED, *REFUSALS, by=by, target=target):
                activate(
                    version,
                    reason=reason,
                    by=by,
                    at=timezone.now(),
                    directory=settings.MODEL_DIR,
                    limits=GateLimits(**settings.GATE_LIMITS),
                    force=force,
                )
        except REFUSALS as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{version} is active.")


def given(pairs: list[str]) -> dict[str, str]:
    """The NAME=VALUE pairs as a mapping. Raises ValueError for a pair without `=` or a twin."""
    parameters: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or name in parameters:
            raise ValueError(f"--param {pair!r} is not one NAME=VALUE for each name")
        parameters[name.strip()] = value.strip()
    return parameters


def names(text: str | None) -> list[str] | None:
    """The names between commas, possibly none at all; None where nothing was said."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]
