"""Schemathesis against a real server: all phases, all checks, nothing left out.

`python -m tests.contract.fuzz --seed 1 --max-examples 60 [--database-url postgresql://…]` starts an
installation of its own, fills it, and ends with the status of `schemathesis run`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.system.server import PROJECT, UNLIMITED, Installation, make_installation, running

PHASES = "examples,coverage,fuzzing,stateful"


def filled_installation(directory: Path, **variables: str) -> tuple[Installation, str]:
    """An installation with something of everything, and a key of every scope."""
    installation = make_installation(directory, BAD_KEY_LIMIT=UNLIMITED, **variables)
    return installation, installation.python("-m", "tests.contract.prepare").splitlines()[-1]


def fuzz(
    installation: Installation, key: str, *, seed: int, max_examples: int, options: list[str]
) -> subprocess.CompletedProcess[str]:
    """One run against the server of the installation, which must be up."""
    address = f"http://127.0.0.1:{installation.port}"
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"{address}/schema",
        "--header", f"X-API-Key: {key}",
        "--checks", "all", "--phases", PHASES, "--mode", "all",
        "--max-examples", str(max_examples), "--seed", str(seed),
        "--generation-database", "none", "--continue-on-failure", "--no-color",
        "--suppress-health-check", "too_slow",  # it is about this machine, not the API
        *options,
    ]  # fmt: skip
    environment = {
        "PATH": installation.variables["PATH"],
        "HOME": str(installation.directory),
        "SCHEMATHESIS_HOOKS": "tests.contract.what_schemas_cannot_say",
        "PYTHONPATH": str(PROJECT),
    }
    return subprocess.run(
        command,
        cwd=installation.directory,
        env=environment,
        text=True,
        capture_output=True,
        check=False,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--max-examples", type=int, default=60)
    parser.add_argument("--database-url", default="")
    known, options = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="segmentation-fuzzed-") as name:
        directory = Path(name)
        installation, key = filled_installation(directory, DATABASE_URL=known.database_url)
        with running(installation):
            done = fuzz(
                installation, key, seed=known.seed, max_examples=known.max_examples, options=options
            )
        print(done.stdout, done.stderr, sep="\n")
        print(installation.log()[-4000:])
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
