"""What an installed wheel holds."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="reads TOML with the standard library")
def test_every_package_is_in_the_wheel():
    import tomllib

    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = set()
    for name, folder in setuptools["package-dir"].items():
        for module in (ROOT / folder).rglob("*.py"):
            found.add(".".join((name, *module.parent.relative_to(ROOT / folder).parts)))
    assert set(setuptools["packages"]) == found
