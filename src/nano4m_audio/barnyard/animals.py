"""Eleven animals."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from nano4m_audio.barnyard.birds import Bird, bird
from nano4m_audio.barnyard.quadrupeds import Quadruped, quadruped
from nano4m_audio.barnyard.rigs import Rig


@cache
def _shapes() -> dict[str, dict[str, Any]]:
    return yaml.safe_load(Path(__file__).with_name("animals.yaml").read_text("utf-8"))


def make_rig(class_name: str) -> Rig:
    """The rig of one of the eleven classes."""
    shapes = _shapes()
    if class_name in shapes["birds"]:
        return bird(Bird(**shapes["birds"][class_name]))
    return quadruped(Quadruped(**shapes["quadrupeds"][class_name]))
