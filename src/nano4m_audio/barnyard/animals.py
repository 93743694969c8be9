"""Eleven animals."""

from __future__ import annotations

from nano4m_audio.barnyard.birds import BIRDS
from nano4m_audio.barnyard.quadrupeds import QUADRUPEDS
from nano4m_audio.barnyard.rigs import Rig, quadruped


def make_rig(class_name: str) -> Rig:
    """The rig of one of the eleven classes."""
    return BIRDS[class_name]() if class_name in BIRDS else quadruped(QUADRUPEDS[class_name])
