"""The environments of conda, Docker and Apptainer have what requirements.lock has."""

from __future__ import annotations

import re
import runpy
import sys
from importlib import metadata
from typing import Any

import pytest

from tests.conftest import ROOT

ENVS = ROOT / "envs"


@pytest.fixture(scope="module")
def pins() -> dict[str, Any]:
    return runpy.run_path(str(ENVS / "pins.py"))


def test_the_conda_environment_is_that_of_the_lock(pins):
    assert (ENVS / "nano4m-audio.yaml").read_text() == pins["environment"]()


def test_its_versions_are_those_that_are_installed_here(pins):
    """Where this runs on its Python."""
    if not sys.version.startswith(pins["PYTHON"]):
        pytest.skip("another Python has other versions")
    found = dict(re.findall(r"- ([\w-]+)==(\S+)", pins["environment"]()))
    assert len(found) > 20
    assert found == {name: metadata.version(name) for name in found}


@pytest.mark.parametrize("name", ["Dockerfile", "nano4m-audio.def"])
def test_containers_install_the_lock_by_its_hashes(name):
    text = (ENVS / name).read_text()
    assert "--require-hashes -r requirements.lock" in text
    assert text.count("uv pip install") == 2 and "--no-deps --no-build-isolation -e ." in text
    version = re.search(r"python:3\.(\d+)-slim", text)
    low, high = re.findall(
        r"3\.(\d+)", (ROOT / "pyproject.toml").read_text().split("requires-python")[1]
    )[:2]
    assert version and int(low) <= int(version[1]) < int(high)
