"""What pyproject.toml says that bitlens needs; not what some earlier installation said."""

import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    from pip._vendor import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]


def needed() -> dict[str, list[str]]:
    """Requirements by what needs them: "core", or an extra."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return {"core": project["dependencies"], **project["optional-dependencies"]}
