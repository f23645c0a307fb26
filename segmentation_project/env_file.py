"""Writing `.env` with fresh secrets on the first start. Needs nothing but the standard library."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

SECRET_LENGTHS = {"SECRET_KEY": 64, "API_KEY": 32, "JWT_SECRET_KEY": 64}
"""Bytes of randomness in each secret."""


def write_env_file(path: Path) -> bool:
    """Create the file, readable by its owner only; False when there already is one.

    It appears whole or not at all, and of several processes exactly one writes it.
    """
    if path.exists():
        return False
    lines = [
        "# Secrets of this installation, made on its first start. Keep them to yourselves.",
        "# .env.example explains every variable that may stand here.",
        *(f"{name}={secrets.token_urlsafe(n)}" for name, n in SECRET_LENGTHS.items()),
    ]
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write("\n".join(lines) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True


if __name__ == "__main__":
    if write_env_file(Path(__file__).resolve().parent.parent / ".env"):
        print("Wrote .env with fresh secrets.")
