"""Whoever reads old entries of the trail goes on when they were pruned."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from audit import pruning
from audit.models import AuditEntry
from monitoring import drift_inputs
from monitoring.serving import calls_ever, calls_since, roll_up
from segments.erasure_words import words_about
from segments.importing import import_customers, last_import_of
from segments.models import Segment
from segments.naming import rename_segment
from segments.table_problems import UnreadableTable
from tests.audit.sealed_trail import OLD, sealed_trail
from tests.factories import BY

pytestmark = pytest.mark.django_db


def prune_all(directory: Path) -> None:
    """Seal and prune every entry that there is; the entry of the pruning itself stays."""
    with sealed_trail(directory) as stored:
        stored.seal(at_most=1_000)
        planned = pruning.plan(
            before=timezone.now() + timedelta(days=1),
            keys=stored.signer.trusted,
            on_progress=lambda share, step: None,
        )
        assert planned is not None
        pruning.record(planned, signer=stored.signer, by=BY, at=timezone.now())
        pruning.delete(stored.signer.trusted, on_progress=lambda share, step: None)
        assert not stored.verified().n_broken
    assert AuditEntry.objects.count() == 1


def test_serving_figures_stay_as_they_were_rolled_up(tmp_path: Path) -> None:
    for number in range(3):
        AuditEntry(
            at=OLD + timedelta(hours=number),
            actor_kind="api_key",
            action="segments.predicted",
            target_type="model_version",
            target_id="kmeans 3",
            outcome="succeeded",
            n_items=2,
            duration_ms=10.0,
        ).insert()
    roll_up(at=OLD + timedelta(days=1))
    before = calls_ever(), calls_since(OLD - timedelta(days=1))
    assert before[1]

    prune_all(tmp_path)

    assert (calls_ever(), calls_since(OLD - timedelta(days=1))) == before
    assert roll_up(at=timezone.now()) == 0
    assert (calls_ever(), calls_since(OLD - timedelta(days=1))) == before


def test_a_file_with_ids_is_imported_anew_and_row_numbers_are_refused(tmp_path: Path) -> None:
    """Who imported last is no longer known: what could mix up customers is refused."""
    with_ids, without_ids = tmp_path / "ids.csv", tmp_path / "rows.csv"
    with_ids.write_text("customer_id,orders\na,1\nb,2\n")
    without_ids.write_text("orders,amount\n1,20.5\n2,21.5\n1,22.5\n")
    import_customers(with_ids, by=BY)
    assert last_import_of(with_ids) is not None

    prune_all(tmp_path)

    assert last_import_of(with_ids) is None
    assert import_customers(with_ids, by=BY).n_updated == 2
    with pytest.raises(UnreadableTable, match="name the column"):
        import_customers(without_ids, by=BY)


def test_erasures_and_names_are_asked_for_without_an_answer(tmp_path: Path) -> None:
    """A name that staff gave then goes with the last customer of its segment, as others do."""
    segment = Segment.objects.create(model_type="kmeans", name="Segment 1", created_at=OLD)
    rename_segment(segment, name="Our best", description="", by=BY)
    assert words_about([], [segment]).names == {}

    prune_all(tmp_path)

    assert words_about([], [segment]).names == {segment.pk: f"Segment {segment.pk}"}
    assert not drift_inputs.erased_since(timezone.now())
