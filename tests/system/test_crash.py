"""Killed trainings and damaged artifacts: nothing half made serves, nothing damaged answers.

SYSTEM_KILLS sets how many moments of a training are tried besides the named ones.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from django.conf import settings
from django.utils import timezone

from modelregistry.activation import pointer_of
from modelregistry.artifacts import FORMAT_VERSION, DamagedArtifact
from modelregistry.models import ModelVersion
from segments.assignment import activate
from tests.factories import BY, TrainedModels, make_version
from tests.system.server import Answer, Installation, ask, fill, make_installation, running

N_KILLS = int(os.environ.get("SYSTEM_KILLS", "1"))
N_TRUNCATIONS = 20
N_FLIPS = 200
N_CUSTOMERS = 300
TWO_DAYS = 2 * 86_400
TRAINED_LATER = """
import django; django.setup()
from django.core.management import call_command
call_command("train_model", "kmeans", param=["k=2"], features="age,orders")
"""


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    made = make_installation(tmp_path_factory.mktemp("damaged"))
    fill(made)
    return made


@pytest.fixture(scope="module")
def serving(installation: Installation) -> Iterator[Installation]:
    with running(installation):
        yield installation


@pytest.fixture
def artifact(serving: Installation) -> Iterator[Path]:
    """The file of the active version, put back afterwards."""
    [(name,)] = serving.rows(
        "SELECT v.artifact FROM modelregistry_modelversion v"
        " JOIN modelregistry_activemodel m ON m.active_id = v.id WHERE m.model_type = ?",
        "kmeans",
    )
    path = serving.models / name
    whole = path.read_bytes()
    yield path
    replace(path, whole)
    assert predict(serving).status == 200


def replace(path: Path, content: bytes) -> None:
    if path.is_symlink() or path.exists():
        path.unlink()
    path.write_bytes(content)


def predict(installation: Installation) -> Answer:
    return ask(
        installation.port,
        "POST",
        "/predict/kmeans?store=false",
        key=installation.api_key,
        body=installation.records[:3],
    )


def assert_refused(answer: Answer) -> None:
    assert answer.status == 503, answer.content
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.body["code"] == "damaged-artifact"
    assert b"segment_name" not in answer.content


def test_a_killed_training_leaves_no_version_without_its_artifact_and_nothing_half_assigned(
    tmp_path: Path,
) -> None:
    installation = make_installation(tmp_path)
    fill(installation, n_customers=N_CUSTOMERS)

    ends = json.loads(
        installation.python("-m", "tests.system.killed_trainings", str(N_KILLS), seconds=600)
    )

    named = {name: end for name, end in ends.items() if not name.startswith("after 0")}
    assert list(ends.values()).count(-signal.SIGKILL) >= len(ends) // 2
    assert set(named.values()) <= {-signal.SIGKILL, 0}
    assert_rows_have_their_artifacts(installation)
    assert_active_version_is_whole(installation)
    assert_lost_trainings_fail_and_strays_go(installation)
    assert_rows_have_their_artifacts(installation)


def assert_rows_have_their_artifacts(installation: Installation) -> None:
    for name, sha256, n_bytes in installation.rows(
        "SELECT artifact, artifact_sha256, artifact_bytes FROM modelregistry_modelversion"
    ):
        content = (installation.models / name).read_bytes()
        assert len(content) == n_bytes
        assert hashlib.sha256(content).hexdigest() == sha256


def assert_active_version_is_whole(installation: Installation) -> None:
    """What serves is trained, and everybody has a segment in it."""
    [(stage, n_assigned)] = installation.rows(
        "SELECT v.stage, (SELECT COUNT(*) FROM segments_assignment a WHERE a.version_id = v.id)"
        " FROM modelregistry_modelversion v JOIN modelregistry_activemodel m ON m.active_id = v.id"
        " WHERE v.model_type = ?",
        "kmeans",
    )
    assert (stage, n_assigned) == ("trained", N_CUSTOMERS)
    unfinished = installation.rows(
        "SELECT v.id FROM modelregistry_modelversion v"
        " JOIN modelregistry_activation m ON m.to_version_id = v.id WHERE v.stage <> ?",
        "trained",
    )
    assert unfinished == []


def assert_lost_trainings_fail_and_strays_go(installation: Installation) -> None:
    """The next training fails the jobs without a heartbeat and sweeps old files of no version."""
    lost = installation.rows(
        "SELECT id, version_id FROM modelregistry_trainingjob WHERE state = ?", "running"
    )
    assert lost, "no kill fell into a running job"
    known = {
        name for (name,) in installation.rows("SELECT artifact FROM modelregistry_modelversion")
    }
    strays = [path for path in installation.models.iterdir() if path.name not in known]
    assert any(path.name.startswith(".tmp-") for path in strays)
    assert any(path.suffix == ".safetensors" for path in strays)
    long_ago = time.time() - TWO_DAYS
    for path in strays:
        os.utime(path, (long_ago, long_ago))
    installation.rows(
        "UPDATE modelregistry_trainingjob SET heartbeat_at = ? WHERE state = ?",
        "2020-01-01 00:00:00",
        "running",
    )

    installation.python("-c", TRAINED_LATER)

    assert [path for path in strays if path.exists()] == []
    states = dict(
        installation.rows(
            "SELECT id, state FROM modelregistry_trainingjob WHERE state <> ?", "queued"
        )
    )
    assert {states[job] for job, _ in lost} == {"failed"}
    half_made = [version for _, version in lost if version is not None]
    stages = dict(installation.rows("SELECT id, stage FROM modelregistry_modelversion"))
    assert {stages[version] for version in half_made} <= {"failed", "trained"}
    assert "training" not in stages.values()


def test_a_truncated_active_artifact_is_503(serving: Installation, artifact: Path) -> None:
    whole = artifact.read_bytes()

    for n_bytes in np.linspace(0, len(whole) - 1, N_TRUNCATIONS, dtype=int):
        artifact.write_bytes(whole[:n_bytes])
        assert_refused(predict(serving))
        assert ask(serving.port, "GET", "/readyz").status == 503


def test_an_active_artifact_with_one_flipped_bit_is_503(
    serving: Installation, artifact: Path
) -> None:
    whole = artifact.read_bytes()

    for bit in np.random.default_rng(1).integers(0, 8 * len(whole), N_FLIPS).tolist():
        artifact.write_bytes(flipped(whole, bit))
        assert_refused(predict(serving))


def flipped(whole: bytes, bit: int) -> bytes:
    damaged = bytearray(whole)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def a_link(path: Path, whole: bytes) -> None:
    aside = path.with_name("aside")
    aside.write_bytes(whole)
    path.unlink()
    path.symlink_to(aside)


def nothing(path: Path, whole: bytes) -> None:
    path.unlink()


def a_directory_of_that_name(path: Path, whole: bytes) -> None:
    path.rename(path.with_name("aside"))
    path.mkdir()


def a_pipe_of_that_name(path: Path, whole: bytes) -> None:
    path.unlink()
    os.mkfifo(path)


def another_format_version(path: Path, whole: bytes) -> None:
    stated = b'format_version\\": '
    path.write_bytes(whole.replace(stated + str(FORMAT_VERSION).encode(), stated + b"9"))


def an_edited_header(path: Path, whole: bytes) -> None:
    path.write_bytes(whole.replace(b"total_spend", b"total_spent"))


def a_pickle(path: Path, whole: bytes) -> None:
    path.write_bytes(b"cos\nsystem\n(S'false'\ntR.".ljust(len(whole), b"\0"))


def a_zip(path: Path, whole: bytes) -> None:
    path.write_bytes(b"PK\x03\x04".ljust(len(whole), b"\0"))


def an_array_file(path: Path, whole: bytes) -> None:
    with path.open("wb") as file:
        np.savez(file, model=np.arange(3))


def another_version(path: Path, whole: bytes) -> None:
    other = next(p for p in path.parent.glob("dbscan-*.safetensors"))
    path.write_bytes(other.read_bytes())


DAMAGES = [
    a_link,
    nothing,
    a_directory_of_that_name,
    a_pipe_of_that_name,
    another_format_version,
    an_edited_header,
    a_pickle,
    a_zip,
    an_array_file,
    another_version,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_what_is_put_in_the_place_of_an_active_artifact_is_503(
    serving: Installation, artifact: Path, damage: Callable[[Path, bytes], None]
) -> None:
    whole = artifact.read_bytes()

    damage(artifact, whole)

    try:
        assert artifact.is_symlink() or not artifact.is_file() or artifact.read_bytes() != whole
        assert_refused(predict(serving))
        assert_refused(predict(serving))
    finally:
        if artifact.is_dir():
            artifact.rmdir()


def test_an_artifact_under_another_name_is_503(serving: Installation, artifact: Path) -> None:
    name = artifact.name
    statement = "UPDATE modelregistry_modelversion SET artifact = ? WHERE artifact = ?"
    for other in ("../damaged.safetensors", "/etc/passwd", "kmeans-1.safetensors"):
        serving.rows(statement, other, name)
        try:
            assert_refused(predict(serving))
        finally:
            serving.rows(statement, name, other)


@pytest.fixture
def candidate(trained: TrainedModels) -> Iterator[tuple[ModelVersion, Path]]:
    """A version that does not serve, and its file."""
    version = make_version(parameters={"n_clusters": 3})
    path = settings.MODEL_DIR / version.artifact
    yield version, path
    if path.is_dir():
        path.rmdir()
    path.unlink(missing_ok=True)


def assert_not_activated(version: ModelVersion) -> None:
    before = pointer_of(version.model_type)
    with pytest.raises(DamagedArtifact):
        activate(
            version,
            reason="damaged",
            by=BY,
            at=timezone.now(),
            directory=settings.MODEL_DIR,
            force=True,
        )
    after = pointer_of(version.model_type)
    assert (after.active_id, after.generation) == (before.active_id, before.generation)


def test_truncated_or_flipped_a_version_is_not_activated(
    candidate: tuple[ModelVersion, Path],
) -> None:
    version, path = candidate
    whole = path.read_bytes()

    for n_bytes in np.linspace(0, len(whole) - 1, N_TRUNCATIONS, dtype=int):
        path.write_bytes(whole[:n_bytes])
        assert_not_activated(version)
    for bit in np.random.default_rng(2).integers(0, 8 * len(whole), N_FLIPS).tolist():
        path.write_bytes(flipped(whole, bit))
        assert_not_activated(version)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_what_is_put_in_the_place_of_an_artifact_is_not_activated(
    candidate: tuple[ModelVersion, Path], damage: Callable[[Path, bytes], None]
) -> None:
    version, path = candidate

    damage(path, path.read_bytes())

    assert_not_activated(version)
