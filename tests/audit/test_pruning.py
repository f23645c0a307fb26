"""Pruning takes the oldest whole seals and nothing else, and says so for good."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from audit import append_only, pruning
from audit.models import AuditEntry, AuditLeaf, AuditSeal
from audit.whole_seals import NotWhole
from tests.audit.sealed_trail import OLD, SealedTrail, sealed_trail
from tests.expectations import one_entry
from tests.factories import BY

pytestmark = pytest.mark.django_db
YOUNG = OLD + timedelta(days=10)
BETWEEN = "2026-01-05"


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[SealedTrail]:
    """Ten old entries in seals 1 to 3 and five young ones in seals 4 and 5."""
    with sealed_trail(tmp_path) as found:
        found.add(10)
        found.seal()
        found.add(5, at=YOUNG)
        found.seal()
        yield found


def prune(before: str = BETWEEN, *options: str) -> str:
    output = StringIO()
    call_command("prune_audit", "--before", before, "--yes", *options, stdout=output)
    return output.getvalue()


def sealed_ids() -> list[int]:
    return list(AuditLeaf.objects.order_by("entry_id").values_list("entry_id", flat=True))


def test_whole_old_seals_lose_their_entries_and_the_trail_verifies(stored: SealedTrail) -> None:
    seals = list(AuditSeal.objects.order_by("no").values())
    ids = sealed_ids()

    with one_entry(action="audit.pruned", n_items=10) as entries:
        said = prune()

    assert sealed_ids() == ids[10:]
    assert set(AuditEntry.objects.values_list("pk", flat=True)) == {*ids[10:], entries[0].pk}
    assert list(AuditSeal.objects.order_by("no").values())[:5] == seals
    record = AuditSeal.objects.get(no=6)
    assert (record.kind, record.pruned_from, record.pruned_to) == ("pruned", 1, 3)
    assert record.n_entries == 10
    assert '"pruned_from":1,"pruned_to":3,"seal":6' in entries[0].details
    assert "10 entries of seals 1 to 3" in said and "10 entries were removed" in said
    assert stored.is_clean()
    assert stored.verified().n_pruned == 10


def test_pruning_goes_on_where_it_ended_over_its_own_record(stored: SealedTrail) -> None:
    prune()
    stored.seal()
    tomorrow = timezone.now() + timedelta(seconds=1)
    planned = pruning.plan(
        before=tomorrow, keys=stored.signer.trusted, on_progress=lambda share, step: None
    )
    assert planned is not None
    assert (planned.first, planned.last, planned.n_entries) == (4, 7, 6)
    assert len(planned.digests) == 4

    prune("2026-01-20")

    record = AuditSeal.objects.get(no=8)
    assert (record.pruned_from, record.pruned_to, record.n_entries) == (4, 5, 5)
    assert stored.is_clean()
    assert "Nothing to prune" in prune("2026-01-20")
    stored.seal()
    assert stored.is_clean()


def test_a_seal_with_one_young_entry_stays_and_all_after_it(stored: SealedTrail) -> None:
    third = AuditSeal.objects.get(no=3)
    last_old = AuditEntry.objects.get(pk=third.last_id).at

    prune((last_old).isoformat())

    assert AuditSeal.objects.get(no=6).pruned_to == 2
    assert third.last_id in sealed_ids()


def test_nothing_goes_without_need_or_in_a_trial(stored: SealedTrail) -> None:
    ids = sealed_ids()

    with one_entry(action="audit.pruned", outcome="refused"):
        assert "Nothing to prune" in prune("2025-12-31")
    assert "10 entries of seals 1 to 3" in prune(BETWEEN, "--dry-run")

    assert sealed_ids() == ids
    assert AuditSeal.objects.count() == 5


def test_an_empty_trail_is_said_to_be_empty() -> None:
    assert "nothing was sealed yet" in prune()


@pytest.mark.parametrize(
    ("before", "reason"),
    [("2999-01-01", "still to come"), ("soon", "no date"), ("2026-02-31", "no date")],
)
def test_a_date_that_is_none_or_to_come_is_refused(before: str, reason: str) -> None:
    with pytest.raises(CommandError, match=reason):
        prune(before)


def test_the_last_day_stays(stored: SealedTrail) -> None:
    with pytest.raises(CommandError, match="last 24 hours"):
        prune((timezone.now() - timedelta(hours=23)).isoformat())


def test_nobody_is_pruned_unasked(stored: SealedTrail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", StringIO("y\n"))

    with pytest.raises(CommandError, match="add --yes"):
        call_command("prune_audit", "--before", BETWEEN, stdout=StringIO())

    assert AuditSeal.objects.count() == 5


TAMPERINGS = {
    "entry": "UPDATE audit_auditentry SET action = 'forged' WHERE id = %s",
    "entry gone": "DELETE FROM audit_auditentry WHERE id = %s",
    "leaf gone": "DELETE FROM audit_auditleaf WHERE entry_id = %s",
    "seal": "UPDATE audit_auditseal SET n_entries = 5 WHERE no = 2 AND %s > 0",
    "seal gone": "DELETE FROM audit_auditseal WHERE no = 2 AND %s > 0",
}


@pytest.mark.parametrize("statement", TAMPERINGS.values(), ids=TAMPERINGS)
def test_evidence_of_tampering_is_not_pruned_away(stored: SealedTrail, statement: str) -> None:
    tamper(statement, sealed_ids()[5])
    before = set(AuditEntry.objects.values_list("pk", flat=True))

    with (
        one_entry(action="audit.pruned", outcome="refused"),
        pytest.raises(CommandError, match=r"(entry|Entry|seal|Seal) .*evidence.*verify_audit"),
    ):
        prune()

    assert before <= set(AuditEntry.objects.values_list("pk", flat=True))
    assert not AuditSeal.objects.filter(kind="pruned").exists()


def tamper(statement: str, *values: object) -> None:
    append_only.remove(connection)
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
    append_only.install(connection)


@pytest.mark.parametrize(
    "change",
    ["pruned_to = 4", "n_entries = 11", "pruned_from = 2", "pruned_from = 4, pruned_to = 5"],
)
def test_a_widened_or_moved_record_is_found(stored: SealedTrail, change: str) -> None:
    prune()

    tamper(f"UPDATE audit_auditseal SET {change} WHERE no = 6")

    assert stored.verified().n_broken
    with pytest.raises(CommandError, match="record of a pruning, is not signed"):
        prune("2026-01-20")


def test_a_forged_record_deletes_nothing_more(stored: SealedTrail) -> None:
    """Who can write to the database can forge one; finishing his work for him is refused."""
    row = AuditSeal.objects.get(no=5)
    row.pk, row.kind, row.pruned_from, row.pruned_to = 6, "pruned", 1, 3
    row._state.adding = True
    row.save()

    with pytest.raises(CommandError, match="not signed"):
        prune()

    assert len(sealed_ids()) == 15
    assert stored.verified().n_broken


def test_a_killed_pruning_is_clean_in_between_and_finished_by_the_next(
    stored: SealedTrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "DELETED_AT_ONCE", 3)
    shares = []

    def killed(share: float, step: str) -> None:
        shares.append(share)
        if len(shares) == 2:
            raise KeyboardInterrupt

    keys = stored.signer.trusted
    planned = pruning.plan(
        before=OLD + timedelta(days=4), keys=keys, on_progress=lambda share, step: None
    )
    assert planned is not None
    pruning.record(planned, signer=stored.signer, by=BY, at=timezone.now())
    with pytest.raises(KeyboardInterrupt):
        pruning.delete(keys, on_progress=killed)
    stored.seal()
    assert shares == [0.3, 0.6]
    assert len(sealed_ids()) == 10
    assert stored.is_clean()

    with one_entry(action="audit.pruned", n_items=4):
        said = prune()

    assert "4 entries of an interrupted pruning" in said
    assert len(sealed_ids()) == 6
    assert AuditSeal.objects.filter(kind="pruned").count() == 1
    assert stored.is_clean()


def test_of_two_prunings_at_once_one_leaves_a_record(stored: SealedTrail) -> None:
    plans = [
        pruning.plan(
            before=OLD + timedelta(days=4),
            keys=stored.signer.trusted,
            on_progress=lambda share, step: None,
        )
        for _ in range(2)
    ]
    assert plans[0] is not None and plans[1] is not None
    pruning.record(plans[0], signer=stored.signer, by=BY, at=timezone.now())

    with pytest.raises(pruning.PruningOvertaken):
        pruning.record(plans[1], signer=stored.signer, by=BY, at=timezone.now())

    assert AuditSeal.objects.filter(kind="pruned").count() == 1
    assert AuditEntry.objects.filter(action="audit.pruned").count() == 1


def test_a_sealing_between_plan_and_record_does_no_harm(
    stored: SealedTrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head moves after it was read: the record is built on the new one."""
    read = pruning.current_head
    ids = stored.add(2)

    def overtaken(signer: object) -> object:
        head = read(stored.signer)
        stored.seal()
        return head

    monkeypatch.setattr(pruning, "current_head", overtaken)

    prune()

    assert AuditSeal.objects.get(kind="pruned").no == 7
    assert set(ids) <= set(sealed_ids())
    assert stored.is_clean()


def test_the_triggers_let_pass_only_what_a_record_names(stored: SealedTrail) -> None:
    ids = sealed_ids()
    planned = pruning.plan(
        before=OLD + timedelta(days=4),
        keys=stored.signer.trusted,
        on_progress=lambda share, step: None,
    )
    assert planned is not None
    pruning.record(planned, signer=stored.signer, by=BY, at=timezone.now())

    refused = [
        f"DELETE FROM audit_auditentry WHERE id = {ids[10]}",
        "DELETE FROM audit_auditentry",
        f"DELETE FROM audit_auditleaf WHERE entry_id = {ids[0]}",
        "DELETE FROM audit_auditseal WHERE no = 1",
    ]
    for statement in refused:
        with (
            pytest.raises(DatabaseError, match=append_only.REFUSAL),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM audit_auditentry WHERE id = %s", [ids[0]])
        cursor.execute("DELETE FROM audit_auditleaf WHERE entry_id = %s", [ids[0]])
    assert sealed_ids() == ids[1:]


def test_a_missing_seal_in_between_is_named(stored: SealedTrail) -> None:
    tamper("DELETE FROM audit_auditseal WHERE no = 3")

    with pytest.raises(NotWhole, match="Seal 4 does not follow"):
        pruning.plan(
            before=YOUNG + timedelta(days=1),
            keys=stored.signer.trusted,
            on_progress=lambda share, step: None,
        )
