"""Who may import whom, what a web process never loads, and a few habits that types cannot hold."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

ROOT = Path(settings.BASE_DIR)
MAY_IMPORT = {
    "ml": set(),
    "audit": set(),
    "access": {"audit"},
    "modelregistry": {"audit", "ml"},
    "segments": {"modelregistry", "audit", "ml"},
    "monitoring": {"segments", "modelregistry", "audit", "ml"},
}
PACKAGES = {*MAY_IMPORT, "segmentation_project"}
INTERFACES = {"views", "serializers", "admin", "urls", "permissions", "health"}
"""Modules that translate: they may call any app; no domain module may call them."""
MODULES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))
UNSEEDED = {"seed", "shuffle", "rand", "randn", "randint", "choice", "permutation", "normal"}


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_interface(name: str) -> bool:
    """Whether a dotted module name, such as segments.admin.pages, belongs to an interface."""
    parts = name.split(".")
    return len(parts) > 1 and (
        parts[1] in ("management", "templatetags")
        or parts[1].startswith(("admin_", "serializers_", "views_"))
        or parts[1].endswith("_page")
        or parts[1] in INTERFACES
    )


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_imports_follow_the_arrows(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    if package == "segmentation_project" or "migrations" in path.parts:
        return

    ours = {name for name in imports(path) if name.split(".")[0] in PACKAGES - {package}}

    if is_interface(dotted(path)):
        assert "segmentation_project" not in {name.split(".")[0] for name in ours}
        return
    assert {name.split(".")[0] for name in ours} <= MAY_IMPORT[package], ours
    called = {name for name in imports(path) if name.split(".")[0] in PACKAGES}
    assert not {name for name in called if is_interface(name)}, "a domain module calls an interface"


def test_the_settings_know_only_how_rates_are_written() -> None:
    for name in ("env", "api_config"):
        ours = {
            found
            for found in imports(ROOT / "segmentation_project" / f"{name}.py")
            if found.split(".")[0] in MAY_IMPORT
        }
        assert ours <= {"access.rates.RATE", "access.rates.RATE_FORM"}


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_models_are_data_and_randomness_is_passed_in(path: Path) -> None:
    assert not {"pickle", "joblib", "dill", "cloudpickle", "shelve", "marshal"} & {
        name.split(".")[0] for name in imports(path)
    }
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Attribute) and node.attr in UNSEEDED:
            assert ast.unparse(node.value) not in {"np.random", "numpy.random", "random"}, node.attr


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_booleans_are_keyword_only(path: Path) -> None:
    for node in ast.walk(parsed(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            positional = [*node.args.posonlyargs, *node.args.args]
            defaults = [None] * (len(positional) - len(node.args.defaults)) + node.args.defaults
            for argument, default in zip(positional, defaults, strict=True):
                annotation = ast.unparse(argument.annotation) if argument.annotation else ""
                is_boolean = annotation == "bool" or (
                    isinstance(default, ast.Constant) and isinstance(default.value, bool)
                )
                given_by_django = path.stem == "admin" and argument.arg == "change"
                assert given_by_django or not is_boolean, f"{path}:{node.lineno}: {argument.arg}"


def loaded_after(program: str) -> set[str]:
    """Top-level modules in a fresh interpreter after the program."""
    show = "\nimport sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    ran = subprocess.run(
        [sys.executable, "-c", program + show], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return set(ran.stdout.split())


def test_ml_loads_neither_django_nor_the_training_libraries() -> None:
    names = [f"ml.{path.stem}" for path in (ROOT / "ml").glob("*.py") if path.stem != "__init__"]

    loaded = loaded_after("".join(f"import {name}\n" for name in names))

    assert "numpy" in loaded
    assert not loaded & {"django", "rest_framework", "pandas", "sklearn"}


def test_a_web_process_loads_neither_pandas_nor_scikit_learn() -> None:
    program = (
        "import os; os.environ['DJANGO_SETTINGS_MODULE'] = 'tests.settings'\n"
        "from segmentation_project.wsgi import application\n"
        "from django.urls import get_resolver; get_resolver().url_patterns\n"
    )

    assert not loaded_after(program) & {"pandas", "sklearn"}


def test_every_package_is_known_here() -> None:
    found = {
        path.parent.name
        for path in ROOT.glob("*/__init__.py")
        if path.parent.name not in ("tests", "benchmarks")
    }

    assert found == PACKAGES
