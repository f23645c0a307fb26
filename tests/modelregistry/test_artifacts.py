"""Artifacts are written whole and read only unaltered: any single flipped bit is noticed."""

from __future__ import annotations

import hashlib
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from django.conf import settings
from django.test import Client

from ml.clusterers import ClusterModel
from ml.explanation import Explainer
from ml.features import FeatureSchema
from modelregistry import artifacts
from modelregistry.activation import artifact_of, load
from modelregistry.artifacts import Artifact, ArtifactCache, DamagedArtifact
from tests.expectations import one_entry, problem_of
from tests.factories import TrainedModels

MODEL_TYPES = ("kmeans", "dbscan")


@pytest.fixture(params=MODEL_TYPES)
def artifact(request: pytest.FixtureRequest, trained: TrainedModels, tmp_path: Path) -> Artifact:
    """A copy in tmp_path, to be damaged."""
    original = artifact_of(getattr(trained, request.param))
    (tmp_path / original.name).write_bytes((Path(settings.MODEL_DIR) / original.name).read_bytes())
    return original


def rewritten(artifact: Artifact, path: Path, content: bytes) -> Artifact:
    """The artifact as if `content` had been recorded: only its form can give it away."""
    (path / artifact.name).write_bytes(content)
    return Artifact(artifact.name, hashlib.sha256(content).hexdigest(), len(content))


def test_what_is_read_predicts_as_what_was_trained(
    trained: TrainedModels, artifact: Artifact, tmp_path: Path
) -> None:
    read = artifacts.read(artifact, directory=tmp_path)

    version = trained.kmeans if read.model_type == "kmeans" else trained.dbscan
    trained_model = load(version, directory=settings.MODEL_DIR)
    encoded = read.encoder.encode_records(trained.records)
    np.testing.assert_array_equal(encoded, trained_model.encoder.encode_records(trained.records))
    np.testing.assert_array_equal(
        read.clusters.predict(encoded).labels, trained_model.clusters.predict(encoded).labels
    )


def test_a_flipped_bit_anywhere_is_noticed(artifact: Artifact, tmp_path: Path) -> None:
    path = tmp_path / artifact.name
    content = path.read_bytes()
    for place in range(0, len(content), max(len(content) // 60, 1)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)

        with pytest.raises(DamagedArtifact, match="SHA-256"):
            artifacts.read(artifact, directory=tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.999])
def test_a_cut_file_is_noticed(artifact: Artifact, tmp_path: Path, share: float) -> None:
    path = tmp_path / artifact.name
    path.write_bytes(path.read_bytes()[: int(artifact.n_bytes * share)])

    with pytest.raises(DamagedArtifact, match="size"):
        artifacts.read(artifact, directory=tmp_path)


def test_a_wrong_form_is_refused_even_with_the_right_digest(
    artifact: Artifact, tmp_path: Path
) -> None:
    content = (tmp_path / artifact.name).read_bytes()
    n_header = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + n_header])
    inner = json.loads(header["__metadata__"]["header"])

    def with_header(**changes: object) -> bytes:
        changed = {key: value for key, value in (inner | changes).items() if value is not ...}
        header["__metadata__"]["header"] = json.dumps(changed)
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text + content[8 + n_header :]

    other = "dbscan" if inner["model_type"] == "kmeans" else "kmeans"
    forged = [
        b"",
        b"\0" * 100,
        (2**40).to_bytes(8, "little") + content[8:],
        content[: 8 + n_header],
        with_header(format_version=artifacts.FORMAT_VERSION + 1),
        with_header(model_type=other),
        with_header(model_type="pickle"),
        with_header(schema=...),
        with_header(schema={}),
        with_header(profile={}),
        with_header(golden_records=inner["golden_records"][::-1]),
        with_header(golden_records=[]),
    ]

    assert artifacts.read(rewritten(artifact, tmp_path, with_header()), directory=tmp_path)
    for number, forgery in enumerate(forged):
        with pytest.raises(DamagedArtifact):
            artifacts.read(rewritten(artifact, tmp_path, forgery), directory=tmp_path)
            pytest.fail(f"forgery {number} was read")


def test_a_file_of_an_earlier_release_knows_no_owners(artifact: Artifact, tmp_path: Path) -> None:
    content = (tmp_path / artifact.name).read_bytes()
    assert artifacts.read(artifact, directory=tmp_path).clusters.owners is not None
    arrays = artifacts.load_arrays(content)
    header = json.dumps(artifacts._header(content) | {"format_version": 2})
    del arrays["model.owner_digests"]
    half = artifacts.save_arrays(arrays, metadata={"header": header})
    del arrays["model.owner_places"]
    earlier = artifacts.save_arrays(arrays, metadata={"header": header})

    model = artifacts.read(rewritten(artifact, tmp_path, earlier), directory=tmp_path)

    assert model.clusters.owners is None
    with pytest.raises(DamagedArtifact, match="expected the arrays"):
        artifacts.read(rewritten(artifact, tmp_path, half), directory=tmp_path)


def test_altered_centres_fail_the_golden_batch(artifact: Artifact, tmp_path: Path) -> None:
    content = (tmp_path / artifact.name).read_bytes()
    arrays = artifacts.load_arrays(content)
    name = "model.centers" if "model.centers" in arrays else "model.core_samples"
    arrays[name] = arrays[name] + 1.0
    header = artifacts._header(content)
    forged = artifacts.save_arrays(arrays, metadata={"header": json.dumps(header)})

    with pytest.raises(DamagedArtifact, match="golden batch"):
        artifacts.read(rewritten(artifact, tmp_path, forged), directory=tmp_path)


@pytest.mark.parametrize(
    "name", ["../kmeans.safetensors", "/etc/passwd", "kmeans-1.pickle", "", "kmeans-x.safetensors"]
)
def test_only_names_of_artifacts_below_the_directory_are_opened(name: str, tmp_path: Path) -> None:
    with pytest.raises(DamagedArtifact, match="not the name"):
        artifacts.read(Artifact(name, "0" * 64, 1), directory=tmp_path)


def test_a_link_is_not_followed(artifact: Artifact, tmp_path: Path) -> None:
    path = tmp_path / artifact.name
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(DamagedArtifact, match="cannot be read"):
        artifacts.read(artifact, directory=tmp_path)


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)

    with pytest.raises(OSError, match="No space"):
        artifacts.write_durably(tmp_path / "file", b"content")

    assert list(tmp_path.iterdir()) == []


def test_the_cache_reads_a_changed_file_anew(artifact: Artifact, tmp_path: Path) -> None:
    cache = ArtifactCache()
    first = cache.get(artifact, directory=tmp_path)
    assert cache.get(artifact, directory=tmp_path) is first

    content = bytearray((tmp_path / artifact.name).read_bytes())
    content[-1] ^= 1
    (tmp_path / artifact.name).write_bytes(content)

    with pytest.raises(DamagedArtifact):
        cache.get(artifact, directory=tmp_path)


def test_the_cache_keeps_the_latest_used(trained: TrainedModels, tmp_path: Path) -> None:
    cache = ArtifactCache(n_cached=1)
    kmeans, dbscan = artifact_of(trained.kmeans), artifact_of(trained.dbscan)
    first = cache.get(kmeans, directory=settings.MODEL_DIR)

    cache.get(dbscan, directory=settings.MODEL_DIR)

    assert cache.get(kmeans, directory=settings.MODEL_DIR) is not first


def test_only_old_files_that_no_row_names_are_swept(tmp_path: Path) -> None:
    names = {letter: f"kmeans-{letter * 32}.safetensors" for letter in "abc"} | {
        "tmp": ".tmp-left",
        "other": "notes.txt",
    }
    for name in names.values():
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (1, 1))
    os.utime(tmp_path / names["b"])

    removed = artifacts.sweep(
        directory=tmp_path, named={names["a"]}, older_than=time.time() - 3_600
    )

    assert sorted(removed) == sorted([names["c"], names["tmp"]])
    assert {path.name for path in tmp_path.iterdir()} == {names["a"], names["b"], names["other"]}


def test_a_damaged_active_artifact_gives_503_and_never_a_label(
    trained: TrainedModels, api: Client
) -> None:
    path = Path(settings.MODEL_DIR) / trained.kmeans.artifact
    content = path.read_bytes()
    damaged = bytearray(content)
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)

    try:
        with one_entry(action="segments.predicted", outcome="failed", status_code=503):
            predicted = api.post(
                "/predict/kmeans", trained.records[:3], content_type="application/json"
            )
        drift = api.generic("POST", "/monitor/drift")
        ready = api.get("/readyz")
    finally:
        path.write_bytes(content)

    problem_of(predicted, status=503, code="damaged-artifact")
    problem_of(drift, status=503, code="damaged-artifact")
    assert ready.status_code == 503
    assert api.get("/readyz").status_code == 200


def test_the_explainer_is_built_once_for_all_threads(
    trained: TrainedModels, artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_built = 0

    class SlowExplainer(Explainer):
        def __init__(self, model: ClusterModel, schema: FeatureSchema) -> None:
            nonlocal n_built
            n_built += 1
            time.sleep(0.05)  # long enough for all to find it missing
            super().__init__(model, schema)

    monkeypatch.setattr(artifacts, "Explainer", SlowExplainer)
    model = artifacts.read(artifact, directory=tmp_path)
    assert n_built == 0, "nobody asked for it"

    with ThreadPoolExecutor(8) as pool:
        explainers = list(pool.map(lambda _: model.explainer(), range(16)))

    assert n_built == 1
    assert len({id(explainer) for explainer in explainers}) == 1
