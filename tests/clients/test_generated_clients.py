"""Clients generated from `/schema`, type-checked, call every operation of a running server.

Nothing generated is kept. Run with `--tools`; the TypeScript one needs node and npm.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.fuzz import filled_installation
from tests.system.server import Installation, ask, running

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
SECONDS = 180
NPM = ("npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error")
TSC = ("--strict", "--target", "es2022", "--module", "nodenext", "--skipLibCheck")
pytestmark = pytest.mark.tools


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installation, str]]:
    installation, key = filled_installation(tmp_path_factory.mktemp("served"))
    with running(installation):
        yield installation, key


def done(directory: Path, *command: str | Path) -> str:
    """What the command prints; it must succeed."""
    environment = {"PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin", "HOME": str(Path.home())}
    finished = subprocess.run(
        command,
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert finished.returncode == 0, (finished.stdout + finished.stderr)[-4000:]
    return finished.stdout


def schema_of(installation: Installation, directory: Path) -> dict[str, Any]:
    """As it is served, and written to schema.json."""
    answer = ask(installation.port, "GET", "/schema", headers={"Accept": "application/json"})
    (directory / "schema.json").write_bytes(answer.content)
    document: dict[str, Any] = answer.body
    return document


def not_called(schema: dict[str, Any], requested: list[str]) -> set[str]:
    """The operations that none of these requests was made to."""
    operations = {
        operation["operationId"]: re.compile(
            f"{method.upper()} " + re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))
        )
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    }
    return {name for name, form in operations.items() if not any(map(form.fullmatch, requested))}


def test_a_python_client_calls_every_operation(
    served: tuple[Installation, str], tmp_path: Path
) -> None:
    installation, key = served
    schema = schema_of(installation, tmp_path)
    generate = ("generate", "--path", "schema.json", "--meta", "none")

    done(tmp_path, BIN / "openapi-python-client", *generate, "--fail-on-warning",
         "--output-path", "segmentation_client")  # fmt: skip
    shutil.copy(HERE / "python_client.py", tmp_path)
    done(
        tmp_path,
        BIN / "mypy",
        "--strict",
        "--follow-imports=silent",
        "--config-file=",
        "python_client.py",
    )
    printed = done(tmp_path, sys.executable, "python_client.py", address(installation), key)

    assert not_called(schema, json.loads(printed)) == set()


def test_a_typescript_client_calls_every_operation(
    served: tuple[Installation, str], tmp_path: Path
) -> None:
    installation, key = served
    schema = schema_of(installation, tmp_path)
    for name in ("package.json", "typescript_client.ts"):
        shutil.copy(HERE / name, tmp_path)

    done(tmp_path, *NPM)
    done(
        tmp_path,
        "node_modules/.bin/openapi-typescript",
        "schema.json",
        "-o",
        "schema.d.ts",
        "--default-non-nullable=false",
    )
    done(tmp_path, "node_modules/.bin/tsc", *TSC, "typescript_client.ts")
    printed = done(tmp_path, "node", "typescript_client.js", address(installation), key)

    assert not_called(schema, json.loads(printed)) == set()


def address(installation: Installation) -> str:
    return f"http://127.0.0.1:{installation.port}"
