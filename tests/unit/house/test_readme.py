"""What the README tells people to type is there when they type it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_install_by_hand_puts_every_program_on_the_path() -> None:
    """Every remedy names a program by its name alone."""
    readme = (ROOT / "README.md").read_text()
    programs = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]

    linked = " ".join(re.findall(r"^sudo ln -sf (.*) /usr/local/bin/$", readme, re.MULTILINE)).split()

    assert {f"/opt/fieldwatch/bin/{name}" for name in programs} == set(linked)
