"""The key that seals is made once, read by its owner alone, and replaced without losing trust."""

from __future__ import annotations

import ast
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from django.conf import settings

from audit import sealing_key
from audit.seal_format import key_id_of
from audit.sealing_key import (
    KeyRefused,
    load_or_make_signer,
    make_new_key,
    private_pem,
    public_pem,
    trusted_keys,
)

ED25519, RSA = Ed25519PrivateKey.generate(), rsa.generate_private_key(65537, 2048)
RSA_PRIVATE = RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
RSA_PUBLIC = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
ENCRYPTED = ED25519.private_bytes(
    Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")
)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "key.pem", tmp_path / "key.pub"


def test_the_first_sealing_makes_a_key_that_its_owner_alone_reads(files: tuple[Path, Path]) -> None:
    made = load_or_make_signer(*files)
    loaded = load_or_make_signer(*files)

    assert files[0].stat().st_mode & 0o777 == 0o600
    assert files[1].stat().st_mode & 0o777 == 0o644
    assert loaded.key_id == made.key_id
    assert set(loaded.trusted) == set(trusted_keys(files[1])) == {made.key_id}
    assert sorted(files[0].parent.iterdir()) == sorted(files)
    assert "PRIVATE" not in repr(made) and "key=" not in repr(made)


def test_of_several_who_make_it_at_once_all_get_one_key(files: tuple[Path, Path]) -> None:
    with ThreadPoolExecutor(8) as pool:
        signers = list(pool.map(lambda n: load_or_make_signer(*files), range(8)))

    assert len({signer.key_id for signer in signers}) == 1
    assert len(trusted_keys(files[1])) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_key_that_others_reach_is_refused(files: tuple[Path, Path], mode: int) -> None:
    load_or_make_signer(*files)
    files[0].chmod(mode)

    with pytest.raises(KeyRefused, match="chmod 600"):
        load_or_make_signer(*files)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no private key"),
        (b"not a key", "no private key"),
        (private_pem(ED25519)[:60], "no private key"),
        (ENCRYPTED, "no private key without a password"),
        (RSA_PRIVATE, "none for Ed25519"),
        (public_pem(ED25519.public_key()), "no private key"),
    ],
    ids=["empty", "text", "half", "encrypted", "RSA", "public"],  # keys differ from run to run
)
def test_what_is_no_private_key_is_refused(
    files: tuple[Path, Path], content: bytes, words: str
) -> None:
    files[0].write_bytes(content)
    files[0].chmod(0o600)

    with pytest.raises(KeyRefused, match=words):
        load_or_make_signer(*files)


def test_a_key_that_is_lost_is_not_replaced_in_silence(files: tuple[Path, Path]) -> None:
    load_or_make_signer(*files)
    files[0].unlink()

    with pytest.raises(KeyRefused, match="--new-key"):
        load_or_make_signer(*files)

    assert not files[0].exists()


def test_a_key_put_in_the_place_of_the_trusted_one_is_refused(files: tuple[Path, Path]) -> None:
    load_or_make_signer(*files)
    trusted = files[1].read_bytes()
    files[0].write_bytes(private_pem(ED25519))

    with pytest.raises(KeyRefused, match="put in its place.*--new-key"):
        load_or_make_signer(*files)

    assert files[1].read_bytes() == trusted
    make_new_key(*files)
    assert key_id_of(ED25519.public_key()) not in trusted_keys(files[1])


def test_a_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyRefused, match="cannot be opened: No such file"):
        load_or_make_signer(tmp_path / "none" / "key.pem", tmp_path / "key.pub")


def test_a_new_key_takes_over_and_the_old_one_stays_trusted(files: tuple[Path, Path]) -> None:
    old = load_or_make_signer(*files)

    new = make_new_key(*files)

    assert new.key_id != old.key_id
    assert list(new.trusted) == list(trusted_keys(files[1])) == [old.key_id, new.key_id]
    assert load_or_make_signer(*files).key_id == new.key_id
    assert files[0].stat().st_mode & 0o777 == 0o600


def test_a_new_key_comes_when_the_old_one_is_lost(files: tuple[Path, Path]) -> None:
    old = load_or_make_signer(*files)
    files[0].unlink()

    assert list(make_new_key(*files).trusted)[0] == old.key_id


def test_a_public_key_that_a_crash_kept_back_follows(files: tuple[Path, Path]) -> None:
    signer = load_or_make_signer(*files)
    files[1].unlink()

    assert set(load_or_make_signer(*files).trusted) == {signer.key_id}


def test_a_replacement_that_cannot_be_written_leaves_the_old_key(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    old = load_or_make_signer(*files)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sealing_key.os, "fsync", full)
    with pytest.raises(KeyRefused, match="No space left"):
        make_new_key(*files)
    monkeypatch.undo()

    assert load_or_make_signer(*files).key_id == old.key_id
    assert sorted(files[0].parent.iterdir()) == sorted(files)


def test_a_new_key_is_trusted_before_it_is_there(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash in between leaves the old key at work."""
    old = load_or_make_signer(*files)
    write = sealing_key._write_new

    def crash(path: Path, content: bytes, *, mode: int) -> None:
        if path == files[0]:
            raise RuntimeError("killed")
        write(path, content, mode=mode)

    monkeypatch.setattr(sealing_key, "_write_new", crash)
    with pytest.raises(RuntimeError):
        make_new_key(*files)

    signer = load_or_make_signer(*files)
    assert signer.key_id == old.key_id and len(signer.trusted) == 2


def test_remarks_between_public_keys_are_kept(files: tuple[Path, Path]) -> None:
    old = load_or_make_signer(*files)
    remark = b"# since 2026, without an end of line"
    files[1].write_bytes(files[1].read_bytes() + remark)

    new = make_new_key(*files)

    assert list(trusted_keys(files[1])) == [old.key_id, new.key_id]
    assert remark + b"\n" in files[1].read_bytes()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no public key"),
        (b"# nothing but a remark", "holds no public key"),
        (private_pem(ED25519), "Block 1 of .* is not a public key"),
        (public_pem(ED25519.public_key()) + RSA_PUBLIC, "Block 2 .* none for Ed25519"),
        (public_pem(ED25519.public_key()).replace(b"MCow", b"MCox"), "Block 1"),
        (b"#" * 1_000_001, "too large"),
    ],
)
def test_what_is_no_file_of_public_keys_is_refused(
    files: tuple[Path, Path], content: bytes, words: str
) -> None:
    files[1].write_bytes(content)

    with pytest.raises(KeyRefused, match=words):
        trusted_keys(files[1])


def test_public_keys_that_are_missing_are_named(files: tuple[Path, Path]) -> None:
    with pytest.raises(KeyRefused, match="key.pub cannot be read: No such file"):
        trusted_keys(files[1])


def test_no_web_process_reads_the_private_key() -> None:
    """Who may open it is called by commands alone."""
    root = Path(settings.BASE_DIR)
    openers = {"load_or_make_signer", "load_private_key", "make_new_key", "Sealer", "SealingFiles"}

    callers = {
        str(path.relative_to(root))
        for package in ("audit", "access", "modelregistry", "segments", "monitoring")
        for path in (root / package).rglob("*.py")
        if openers & called_in(path)
    }

    assert "audit/management/commands/seal_audit.py" in callers
    assert {path for path in callers if "/commands/" not in path} == {
        "audit/sealing_key.py",
        "audit/sealer.py",
    }


def called_in(path: Path) -> set[str]:
    """The names of the functions and classes that a module calls."""
    calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    return {ast.unparse(call.func).split(".")[-1] for call in calls}
