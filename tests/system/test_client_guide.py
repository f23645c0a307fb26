"""Every snippet of docs/client-guide.md, in its order, against a real server.

A block of `json` or `text` after a snippet is what it prints; `…` stands for anything.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.system.server import PROJECT, fill, make_installation, running

GUIDE = PROJECT / "docs" / "client-guide.md"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = {"json", "text"}
RUN = {"sh", "python"}


def snippets() -> list[tuple[str, str, str]]:
    """Language, code and what it shows, empty when nothing is shown."""
    blocks: list[tuple[str, str]] = FENCE.findall(GUIDE.read_text())
    following = [*blocks[1:], ("", "")]
    return [
        (language, code, output if shown in SHOWN else "")
        for (language, code), (shown, output) in zip(blocks, following, strict=True)
        if language not in SHOWN
    ]


def assert_prints(printed: str, shown: str) -> None:
    parts = map(re.escape, shown.strip().split("…"))
    assert re.fullmatch(".*?".join(parts), printed.strip(), re.DOTALL), printed


def test_every_snippet_of_the_guide_works_and_prints_what_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation = make_installation(tmp_path)
    fill(installation)
    monkeypatch.setenv("URL", f"http://127.0.0.1:{installation.port}")
    monkeypatch.setenv("KEY", installation.api_key)
    names: dict[str, Any] = {}

    with running(installation):
        for language, code, shown in snippets():
            assert language in RUN, language
            printed = run_shell(code, tmp_path) if language == "sh" else run_python(code, names)
            if shown:
                assert_prints(printed, shown)


def run_shell(code: str, directory: Path) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=directory,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, code + done.stderr
    return done.stdout


def run_python(code: str, names: dict[str, Any]) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, str(GUIDE), "exec"), names)
    return printed.getvalue()
