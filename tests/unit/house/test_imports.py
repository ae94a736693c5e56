"""The house rules that hold for every file."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MAY_IMPORT = {
    "ext/fieldwatch_ext": {"fieldwatch_ext"},
    "proto/fieldwatch_proto": {"fieldwatch_proto"},
    "agent/fieldwatch_agent": {"fieldwatch_agent", "fieldwatch_ext", "fieldwatch_proto"},
    "collector/fieldwatch_collector": {"fieldwatch_collector", "fieldwatch_proto"},
}


def imported_tops(source: str) -> set[str]:
    tops = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            tops.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            tops.add(node.module.split(".")[0])
    return {top for top in tops if top.startswith("fieldwatch_")}


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_imports_go_one_way(folder: str) -> None:
    """ext and proto import nothing of ours, agent only ext and proto, collector only proto (ARCHITECTURE.md)."""
    strays = {
        str(path.relative_to(ROOT)): sorted(imported_tops(path.read_text()) - MAY_IMPORT[folder])
        for path in (ROOT / folder).rglob("*.py")
        if imported_tops(path.read_text()) - MAY_IMPORT[folder]
    }

    assert strays == {}


def test_kernel_sources_import_only_the_kernel() -> None:
    """Cython files cimport and import only fieldwatch_ext, libc, cpython and the standard library."""
    strays = [
        f"{path.name}: {line.strip()}"
        for path in (ROOT / "ext/fieldwatch_ext").glob("*.p[yx]*")
        if path.suffix in (".pyx", ".pxd", ".pxi")
        for line in path.read_text().splitlines()
        if line.lstrip().startswith(("from fieldwatch_", "import fieldwatch_", "cimport fieldwatch_"))
        and "fieldwatch_ext" not in line
    ]

    assert strays == []


def test_no_package_shadows_packaging() -> None:
    """packaging/ is a folder of files, not a package: it would hide PyPI's `packaging`."""
    assert not (ROOT / "packaging/__init__.py").exists()
