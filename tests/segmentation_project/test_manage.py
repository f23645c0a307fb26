"""`manage.py` ends in one line where a traceback would help nobody."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

MANAGE = Path(settings.BASE_DIR) / "manage.py"


@pytest.mark.parametrize("command", ["bootstrap", "migrate"])
def test_a_setting_that_makes_no_sense_is_one_line(command: str) -> None:
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "segmentation_project.settings",
        "API_KEY": "too-short",
        "SECRET_KEY": "tests-sign-cookies-" + "x" * 50,
    }

    done = subprocess.run(
        [sys.executable, str(MANAGE), command],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "API_KEY (from the environment) must have at least 32 characters."
    ]


def test_ctrl_c_is_one_line_and_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(argv: list[str]) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("django.core.management.execute_from_command_line", interrupted)

    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(MANAGE), run_name="__main__")

    assert ended.value.code == 130
    assert capsys.readouterr().err == "Interrupted.\n"
