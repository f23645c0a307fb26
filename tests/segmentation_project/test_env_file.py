"""The first start writes `.env` once, whole, for its owner only."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from segmentation_project.env import Environment
from segmentation_project.env_file import SECRET_LENGTHS, write_env_file


def test_the_file_holds_fresh_secrets_for_its_owner_only(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"

    assert write_env_file(first)
    assert write_env_file(second)

    assert stat.S_IMODE(first.stat().st_mode) == 0o600
    secrets = [line for line in first.read_text().splitlines() if not line.startswith("#")]
    assert [line.partition("=")[0] for line in secrets] == list(SECRET_LENGTHS)
    assert not set(secrets) & set(second.read_text().splitlines())


def test_the_secrets_are_long_enough_and_read_back_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ".env"
    write_env_file(path)

    for name in SECRET_LENGTHS:
        monkeypatch.delenv(name)

    env = Environment(path)

    for name, n_bytes in SECRET_LENGTHS.items():
        secret = env.secret(name, min_length=n_bytes, example="")
        assert f"\n{name}={secret}\n" in path.read_text()


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("SECRET_KEY=mine\n")

    assert not write_env_file(path)

    assert path.read_text() == "SECRET_KEY=mine\n"


def test_of_several_writers_exactly_one_writes(tmp_path: Path) -> None:
    path = tmp_path / ".env"

    with ThreadPoolExecutor(8) as pool:
        written = list(pool.map(lambda _: write_env_file(path), range(32)))

    assert written.count(True) == 1
    assert list(tmp_path.iterdir()) == [path]
