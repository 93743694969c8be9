"""Write nano4m-audio.yaml from pyproject.toml and requirements.lock.

python envs/pins.py > envs/nano4m-audio.yaml
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PYTHON = "3.11"
HEAD = f"""\
# Written by envs/pins.py from requirements.lock, for clusters that build environments with conda:
#   conda env create -f envs/nano4m-audio.yaml && conda activate nano4m-audio
#   pip install --no-deps -e .
# What these packages need in turn is not fixed here; requirements.lock fixes all.
name: nano4m-audio
channels: [conda-forge]
dependencies:
  - python={PYTHON}
  - pip
  - pip:
"""


def locked() -> dict[str, str]:
    """The version of every package of the lock for this Python."""
    lines = re.findall(
        r"^\w[^\\\n]+", (ROOT / "requirements.lock").read_text("utf-8"), re.MULTILINE
    )
    here = {"python_version": PYTHON, "python_full_version": f"{PYTHON}.0"}
    wanted = [row for row in map(Requirement, lines) if not row.marker or row.marker.evaluate(here)]
    return {canonicalize_name(row.name): str(row.specifier).removeprefix("==") for row in wanted}


def environment() -> str:
    """The text of nano4m-audio.yaml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    names = sorted(canonicalize_name(Requirement(line).name) for line in project["dependencies"])
    versions = locked()
    return HEAD + "".join(f"      - {name}=={versions[name]}\n" for name in names)


if __name__ == "__main__":
    print(environment(), end="")
