"""Trees, leaves and seals: what is hashed and signed, against the definitions themselves."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from audit import merkle
from audit.leaf import FIELDS, Unreadable, encoded, leaf_hash
from audit.models import AuditEntry
from audit.seal_format import NO_SEAL, Seal, key_id_of

AT = datetime(2026, 11, 23, 5, 0, 0, 123456, tzinfo=UTC)
LEAVES = [sha256(b"\0%d" % number).digest() for number in range(70)]


def root_by_definition(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1: split at the largest power of two below the number of leaves."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    left, right = root_by_definition(leaves[:split]), root_by_definition(leaves[split:])
    return sha256(b"\1" + left + right).digest()


def test_the_root_is_that_of_the_definition_and_every_path_leads_to_it() -> None:
    assert merkle.root([]).hex() == sha256().hexdigest()
    for n_leaves in (*range(1, 34), 64, 65, 70):
        leaves = LEAVES[:n_leaves]
        root = root_by_definition(leaves)
        assert merkle.root(leaves) == root
        for position, leaf in enumerate(leaves):
            siblings = merkle.path(leaves, position)
            assert merkle.root_from_path(leaf, position, n_leaves, siblings) == root


def test_a_last_leaf_given_twice_has_another_root() -> None:
    assert merkle.root(LEAVES[:3]) != merkle.root([*LEAVES[:3], LEAVES[2]])


def test_a_proof_fits_one_leaf_at_one_place() -> None:
    root, siblings = merkle.root(LEAVES[:7]), merkle.path(LEAVES[:7], 2)

    assert merkle.root_from_path(LEAVES[3], 2, 7, siblings) != root
    assert merkle.root_from_path(LEAVES[2], 3, 7, siblings) != root
    for wrong in (siblings[:-1], [*siblings, LEAVES[0]]):
        with pytest.raises(ValueError, match="too"):
            merkle.root_from_path(LEAVES[2], 2, 7, wrong)
    with pytest.raises(ValueError, match="no leaf 7"):
        merkle.root_from_path(LEAVES[2], 7, 7, siblings)
    with pytest.raises(IndexError):
        merkle.path(LEAVES[:7], 7)


def test_every_column_of_an_entry_is_hashed() -> None:
    assert tuple(field.column for field in AuditEntry._meta.concrete_fields) == FIELDS


VALUES = st.lists(
    st.one_of(
        st.none(), st.integers(), st.text(), st.floats(allow_nan=False), st.just(AT)
    ),
    max_size=4,
)  # fmt: skip


@given(VALUES, VALUES)
def test_different_values_have_different_bytes(one: list[object], other: list[object]) -> None:
    same = [(type(value), repr(value)) for value in one] == [
        (type(value), repr(value)) for value in other
    ]

    assert (encoded(one) == encoded(other)) == same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["ab", "c"], ["a", "bc"]), ([None], [""]), ([1], ["1"]), ([1], [1.0]),
        (["\u00e9"], ["e\u0301"]), (["a", ""], ["a"]), (["S"], ["N"]),
    ],
)  # fmt: skip
def test_neither_a_shift_nor_another_type_keeps_the_hash(one: list, other: list) -> None:
    assert leaf_hash(one) != leaf_hash(other)


def test_the_hash_of_an_entry_stays_what_it_was_in_every_release() -> None:
    """A change of these bytes makes every trail sealed so far look broken."""
    values = [7, AT, "user", "anna", "Anna", "user.changed", "user", "bo", "succeeded", None, 3]
    values += ["r-1", "10.0.0.1", "", 1.5, '{"a":1}']

    assert leaf_hash(values).hex() == (
        "629ab9ac022be94d4218d4f39dc35bcc575b6a6958cfdddb8720f57b10f538a1"
    )


def test_the_same_moment_in_another_zone_is_the_same() -> None:
    elsewhere = AT.astimezone(timezone(timedelta(hours=5, minutes=30)))

    assert leaf_hash([elsewhere]) == leaf_hash([AT])


@pytest.mark.parametrize("value", [b"bytes", True, AT.replace(tzinfo=None), [1]])
def test_what_no_entry_holds_is_refused(value: object) -> None:
    with pytest.raises(Unreadable):
        leaf_hash([value])


KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEYS = {key_id_of(KEY.public_key()): KEY.public_key()}
SEAL = Seal(
    no=1,
    kind="entries",
    previous=NO_SEAL,
    n_entries=2,
    first_id=1,
    last_id=2,
    pruned_from=None,
    pruned_to=None,
    root="ab" * 32,
    sealed_at=AT,
    key_id=key_id_of(KEY.public_key()),
)


@pytest.mark.parametrize(
    "change",
    [
        {"no": 2}, {"kind": "pruned"}, {"previous": "1" * 64}, {"n_entries": 3}, {"first_id": 0},
        {"last_id": None}, {"pruned_from": 1}, {"pruned_to": 1}, {"root": "ac" * 32},
        {"sealed_at": AT + timedelta(microseconds=1)}, {"key_id": "0" * 16},
    ],
)  # fmt: skip
def test_a_signature_fits_one_seal_and_every_field_of_it(change: dict) -> None:
    signature = SEAL.signature(KEY)

    assert SEAL.is_signed(signature, KEYS)
    assert not replace(SEAL, **change).is_signed(signature, KEYS)
    assert replace(SEAL, **change).digest(signature) != SEAL.digest(signature)


@pytest.mark.parametrize("signature", ["", "0" * 128, "x" * 128, "00" * 63])
def test_no_other_text_is_a_signature(signature: str) -> None:
    assert not SEAL.is_signed(signature, KEYS)


def test_only_a_trusted_key_counts() -> None:
    other = Ed25519PrivateKey.from_private_bytes(bytes(32))
    other_id = key_id_of(other.public_key())
    forged = replace(SEAL, key_id=other_id)

    assert not forged.is_signed(forged.signature(other), KEYS)
    assert forged.is_signed(forged.signature(other), {other_id: other.public_key()})


def test_the_digest_of_a_seal_stays_what_it_was_in_every_release() -> None:
    assert SEAL.digest(SEAL.signature(KEY)) == (
        "5f1a22d3cc7a9d2839e4775e942f479c8badcebd5697342eaffcbd19e56d4775"
    )
