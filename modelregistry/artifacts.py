"""Artifacts: a trained model as data, one safetensors file with a JSON header. Never code.

A file is written whole (temporary file, fsync, rename, hash) before any row names it, and is
trusted only when its SHA-256 equals the row's and a stored golden batch predicts identically.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import stat
import tempfile
import threading
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from ml.clusterers import MODEL_CLASSES, ClusterModel
from ml.encoder import FeatureEncoder
from ml.explanation import Explainer
from ml.features import FeatureSchema
from ml.golden import golden_records
from ml.reference_profile import ReferenceProfile

FORMAT_VERSION = 3
READ_FORMAT_VERSIONS = (1, 2, 3)
"""The first had a smaller reference profile: drift then looks at less. Before the third no model
knew its owners: an erasure then looks for the values that a customer has by now."""
MAX_ARTIFACT_BYTES = 1_000_000_000
MAX_HEADER_BYTES = 50_000_000
N_CACHED = 8
"""Loaded versions kept in a process: active and previous of each type, and some candidates."""
N_GOLDEN = 32
FILE_NAME = re.compile(r"^(kmeans|dbscan)-[0-9a-f]{32}\.safetensors$")
LIBRARIES = ("numpy", "scipy", "scikit-learn", "pandas", "safetensors")


class DamagedArtifact(Exception):
    """The artifact of a version is missing, altered or not of its stated form."""


@dataclass(frozen=True)
class TrainedModel:
    """What a version needs to serve, to be explained and to be watched."""

    model_type: str
    encoder: FeatureEncoder
    clusters: ClusterModel
    profile: ReferenceProfile
    _building: threading.Lock = field(
        default_factory=threading.Lock, init=False, repr=False, compare=False
    )

    def explainer(self) -> Explainer:
        """Why customers are where they are; built when first asked for, once for all threads."""
        with self._building:
            return self._explainer

    @cached_property
    def _explainer(self) -> Explainer:
        return Explainer(self.clusters, self.encoder.schema)


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file under MODEL_DIR: its name, digest and size."""

    name: str
    sha256: str
    n_bytes: int


@functools.cache
def library_versions() -> Mapping[str, str]:
    """By library; each look-up searches the installed packages."""
    return {name: library_version(name) for name in LIBRARIES}


def new_name(model_type: str) -> str:
    """A file name that no artifact has."""
    return f"{model_type}-{uuid.uuid4().hex}.safetensors"


def save(
    model: TrainedModel,
    *,
    name: str,
    parameters: Mapping[str, Any],
    directory: Path,
    written_with: Mapping[str, str] | None = None,
) -> Artifact:
    """Write the artifact durably under `directory` and return its digest.

    `written_with` are the libraries of its training, those of now if left out.
    """
    content = to_bytes(model, parameters=parameters, written_with=written_with)
    write_durably(directory / name, content)
    return Artifact(name, hashlib.sha256(content).hexdigest(), len(content))


def to_bytes(
    model: TrainedModel,
    *,
    parameters: Mapping[str, Any],
    written_with: Mapping[str, str] | None = None,
) -> bytes:
    schema = model.encoder.schema
    golden = golden_records(schema, n_records=N_GOLDEN, random_state=0)
    prediction = model.clusters.predict(model.encoder.encode_records(golden))
    header = {
        "format_version": FORMAT_VERSION,
        "model_type": model.model_type,
        "schema": schema.to_dict(),
        "parameters": dict(parameters),
        "profile": model.profile.to_dict(),
        "golden_records": golden,
        "library_versions": dict(written_with or library_versions()),
    }
    arrays = {f"model.{name}": array for name, array in model.clusters.arrays().items()}
    arrays["golden.labels"] = prediction.labels
    arrays["golden.distances"] = prediction.distances
    return save_arrays(arrays, metadata={"header": json.dumps(header, allow_nan=False)})


def write_durably(path: Path, content: bytes) -> None:
    """All of `content` under `path`, or nothing: temporary file, fsync, rename, fsync."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".tmp-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o640)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read(artifact: Artifact, *, directory: Path) -> TrainedModel:
    """Read and verify an artifact: name, size, digest, header, arrays, golden batch.

    Raises `DamagedArtifact`, which names the check that failed.
    """
    content = _read_bytes(artifact, directory=directory)
    if hashlib.sha256(content).hexdigest() != artifact.sha256:
        raise DamagedArtifact(f"{artifact.name}: the SHA-256 digest is not the recorded one.")
    try:
        return from_bytes(content)
    except (ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise DamagedArtifact(f"{artifact.name}: {error}") from error


def from_bytes(content: bytes) -> TrainedModel:
    """The model in `content`. Raises ValueError, KeyError or TypeError for a wrong form."""
    header = _header(content)
    if header["format_version"] not in READ_FORMAT_VERSIONS:
        raise ValueError(f"format {header['format_version']} is not known")
    arrays = load_arrays(content)
    own = {name[6:]: array for name, array in arrays.items() if name.startswith("model.")}
    model = TrainedModel(
        model_type=header["model_type"],
        encoder=FeatureEncoder(FeatureSchema.from_dict(header["schema"])),
        clusters=MODEL_CLASSES[header["model_type"]].from_arrays(own),
        profile=ReferenceProfile.from_dict(header["profile"]),
    )
    prediction = model.clusters.predict(model.encoder.encode_records(header["golden_records"]))
    if not np.array_equal(prediction.labels, arrays["golden.labels"]) or not np.allclose(
        prediction.distances, arrays["golden.distances"], rtol=1e-9, atol=1e-12
    ):
        raise ValueError("the golden batch predicts otherwise than at training")
    return model


def _header(content: bytes) -> dict[str, Any]:
    n_bytes = int.from_bytes(content[:8], "little")
    if not 0 < n_bytes <= min(MAX_HEADER_BYTES, len(content) - 8):
        raise ValueError("the header has an impossible size")
    header: dict[str, Any] = json.loads(
        json.loads(content[8 : 8 + n_bytes])["__metadata__"]["header"]
    )
    return header


def _read_bytes(artifact: Artifact, *, directory: Path) -> bytes:
    if not FILE_NAME.match(artifact.name):
        raise DamagedArtifact(f"{artifact.name!r} is not the name of an artifact.")
    path = directory / artifact.name
    try:
        # Without O_NONBLOCK a pipe of that name would keep the request for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise DamagedArtifact(f"{artifact.name} cannot be read: {error.strerror}.") from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise DamagedArtifact(f"{artifact.name} is not a file.")
    with os.fdopen(descriptor, "rb") as file:
        n_bytes = found.st_size
        if n_bytes != artifact.n_bytes or n_bytes > MAX_ARTIFACT_BYTES:
            raise DamagedArtifact(f"{artifact.name} has {n_bytes:,} bytes, not the recorded size.")
        return file.read(artifact.n_bytes)


class ArtifactCache:
    """Verified models by digest, so that a request never reads an unchanged file twice.

    A file whose size, times or inode changed since it was verified is read and verified anew.
    """

    def __init__(self, n_cached: int = N_CACHED) -> None:
        self._n_cached = n_cached
        self._lock = threading.Lock()
        self._models: OrderedDict[str, tuple[FileState, TrainedModel]] = OrderedDict()

    def get(self, artifact: Artifact, *, directory: Path) -> TrainedModel:
        state = file_state(directory / artifact.name)
        with self._lock:
            cached = self._models.get(artifact.sha256)
            if cached is not None and cached[0] == state:
                self._models.move_to_end(artifact.sha256)
                return cached[1]
        model = read(artifact, directory=directory)
        with self._lock:
            self._models[artifact.sha256] = (state, model)
            while len(self._models) > self._n_cached:
                self._models.popitem(last=False)
        return model

    def drop(self, sha256: str) -> None:
        """Let go of a model whose artifact was replaced."""
        with self._lock:
            self._models.pop(sha256, None)


FileState = tuple[int, int, int, int]


def file_state(path: Path) -> FileState:
    """What changes when a file does: inode, size, and times of content and of metadata."""
    try:
        found = os.stat(path, follow_symlinks=False)
    except OSError as error:
        raise DamagedArtifact(f"{path.name} cannot be read: {error.strerror}.") from error
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


cache = ArtifactCache()


def sweep(*, directory: Path, named: set[str], older_than: float) -> list[str]:
    """Remove files that no row names and that are older than the moment `older_than` (epoch s)."""
    removed = []
    for path in directory.iterdir():
        is_ours = FILE_NAME.match(path.name) or path.name.startswith(".tmp-")
        if not is_ours or path.name in named:
            continue
        try:
            if path.stat(follow_symlinks=False).st_mtime < older_than:
                path.unlink()
                removed.append(path.name)
        except FileNotFoundError:  # another training renamed or swept it
            continue
    return removed
